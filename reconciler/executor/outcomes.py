"""How a run ended, by the newest try of each thing that it was to do. Pure."""

from collections.abc import Iterable, Sequence

from reconciler.executor.records import Try
from reconciler.status.runs import RunState

SENDING = frozenset({"export", "replicate"})
"""Verbs of what makes restore points."""

Thing = tuple[str, str | None, str]
"""A verb, a VM and a place."""


def state_of(  # noqa: PLR0911 (it is a table)
    tries: Sequence[Try], *, cancelled: bool = False, last_why: str = ""
) -> tuple[RunState, str]:
    """Return the state of a run that is over, and why it is not a success.

    tries: of this run, in any order. cancelled: somebody asked for its end. last_why: what was in
    the way when it was last wanted.
    """
    newest = newest_of(tries)
    bad = [each for each in newest if each.outcome != "Succeeded"]
    made = any(each.outcome == "Succeeded" and each.verb in SENDING for each in newest)
    why = next((each.why for each in bad if each.why), last_why)
    if cancelled:
        return RunState.CANCELLED, why or "somebody cancelled it"
    if not newest:
        return RunState.MISSED, last_why or "nothing of it was begun"
    if not bad:
        return RunState.SUCCEEDED, ""
    outcomes = {each.outcome for each in bad}
    if outcomes == {"TimedOut"}:
        return RunState.TIMED_OUT, why
    if outcomes == {"Cancelled"}:
        return RunState.CANCELLED, why
    if outcomes <= {"Interrupted", "Running"}:
        return RunState.INTERRUPTED, why
    return (RunState.PARTIALLY_FAILED if made else RunState.FAILED), why


def newest_by_thing(tries: Iterable[Try]) -> dict[Thing, Try]:
    """Return the newest try of each thing, the newest first."""
    newest: dict[Thing, Try] = {}
    for each in sorted(tries, key=lambda one: one.id, reverse=True):
        newest.setdefault((each.verb, each.vm, each.place), each)
    return newest


def newest_of(tries: Iterable[Try]) -> list[Try]:
    """Return the newest try of each thing.

    A snapshot that a kill kept from noting its end, but whose point was made, was whole.
    """
    newest = newest_by_thing(tries)
    sent = {vm for verb, vm, _ in newest if verb in SENDING}
    return [
        each
        for (verb, vm, _), each in newest.items()
        if not (verb == "snapshot" and vm in sent and each.outcome != "Succeeded")
    ]
