"""Runs, told from records: what was tried for one job and one due time, and how it stands.

A run is not a thing that exists anywhere; it is the sum of the tries that settle one debt. Its
state follows from the newest try of each thing it was to do. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from reconciler.executor.records import Try
from reconciler.ids import stamp_of
from reconciler.units import render_size, render_span

_BACKUP_VERBS = frozenset({"snapshot", "export"})


class RunState(StrEnum):
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    PARTIALLY_FAILED = "PartiallyFailed"
    FAILED = "Failed"
    INTERRUPTED = "Interrupted"  # begun and not finished, and nobody is at it now


@dataclass(frozen=True, slots=True)
class Run:
    """job, due: which debt. points: restore points made. failures: things whose newest try failed.

    bytes: moved, by every try. tries: newest first, all of them.
    """

    job: str
    due: datetime
    state: RunState
    vms: int
    points: int
    failures: int
    bytes: int
    started_at: datetime
    ended_at: datetime | None
    tries: tuple[Try, ...]

    @property
    def name(self) -> str:
        return f"{self.job}/{stamp_of(self.due)}"

    @property
    def duration(self) -> timedelta | None:
        return None if self.ended_at is None else self.ended_at - self.started_at

    def why(self) -> str:
        """The newest failure's words; "" if the run has none."""
        return next((each.why for each in self.tries if each.outcome == "Failed"), "")


def runs_of(tries: Iterable[Try]) -> list[Run]:
    """Group tries (newest first) into runs, newest first. Housekeeping alone is no run."""
    groups: dict[tuple[str, datetime], list[Try]] = {}
    for each in tries:
        if each.job is not None:
            groups.setdefault((each.job, each.due), []).append(each)
    runs = [
        _run(job, due, group)
        for (job, due), group in groups.items()
        if any(each.verb in _BACKUP_VERBS for each in group)
    ]
    return sorted(runs, key=lambda run: (run.due, run.job), reverse=True)


def _run(job: str, due: datetime, group: list[Try]) -> Run:
    newest: dict[tuple[str, str | None, str], Try] = {}
    for each in group:
        newest.setdefault((each.verb, each.vm, each.place), each)
    state = _state(newest)
    ends = [each.ended_at for each in group if each.ended_at is not None]
    return Run(
        job=job,
        due=due,
        state=state,
        vms=len({each.vm for each in group if each.verb in _BACKUP_VERBS}),
        points=sum(1 for (verb, _, _), each in newest.items() if verb == "export" and _done(each)),
        failures=sum(1 for each in newest.values() if each.outcome == "Failed"),
        bytes=sum(each.bytes for each in group),
        started_at=min(each.started_at for each in group),
        ended_at=max(ends) if ends and state is not RunState.RUNNING else None,
        tries=tuple(group),
    )


def _state(newest: dict[tuple[str, str | None, str], Try]) -> RunState:
    """A snapshot whose VM has no export yet is half a backup, whatever became of it since.

    One that a kill kept from noting its end, but that was exported later, was whole all the same.
    """
    exported = {vm for verb, vm, _ in newest if verb == "export"}
    outcomes = {
        each.outcome
        for (verb, vm, _), each in newest.items()
        if not (verb == "snapshot" and vm in exported)
    }
    half = any(
        verb == "snapshot" and _done(each) and vm not in exported
        for (verb, vm, _), each in newest.items()
    )
    if "Running" in outcomes:
        return RunState.RUNNING
    if half or outcomes & {"Interrupted", "Cancelled"}:
        return RunState.INTERRUPTED
    if "Failed" not in outcomes:
        return RunState.SUCCEEDED
    made = any(verb == "export" and _done(each) for (verb, _, _), each in newest.items())
    return RunState.PARTIALLY_FAILED if made else RunState.FAILED


def _done(each: Try) -> bool:
    return each.outcome == "Succeeded"


def run_dict(run: Run) -> dict[str, Any]:
    """Render a run for a program; times are UTC, sizes bytes, spans seconds."""
    return {
        "name": run.name,
        "job": run.job,
        "due": run.due.isoformat(),
        "state": run.state.value,
        "vms": run.vms,
        "points": run.points,
        "failures": run.failures,
        "bytes": run.bytes,
        "startedAt": run.started_at.isoformat(),
        "endedAt": None if run.ended_at is None else run.ended_at.isoformat(),
        "durationSeconds": None if run.duration is None else run.duration.total_seconds(),
        "why": run.why() or None,
    }


def try_dict(each: Try) -> dict[str, Any]:
    """Render one try for a program."""
    return {
        "action": each.action,
        "verb": each.verb,
        "vm": each.vm,
        "vmName": each.vm_name,
        "place": each.place,
        "stamp": each.stamp,
        "reason": each.reason,
        "outcome": each.outcome,
        "outcomeReason": each.outcome_reason or None,
        "why": each.why or None,
        "bytes": each.bytes,
        "startedAt": each.started_at.isoformat(),
        "endedAt": None if each.ended_at is None else each.ended_at.isoformat(),
    }


RUN_HEADERS = ("NAME", "STATE", "VMS", "POINTS", "FAILED", "SIZE", "STARTED", "TOOK", "WHY")
RUN_NARROW = 8


def run_row(run: Run) -> list[str]:
    """Render a run as a row of a table."""
    return [
        run.name,
        run.state.value,
        str(run.vms),
        str(run.points),
        str(run.failures),
        render_size(run.bytes),
        f"{run.started_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        "" if run.duration is None else render_span(run.duration),
        run.why(),
    ]
