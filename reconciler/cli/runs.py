"""Runs, told from records: what was tried for one job and one due time, and how it stands.

A run that was noted stands as it was noted; one of an older history is the sum of the tries that
settle one debt, and its state follows from the newest try of each thing it was to do. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.cli.exits import Failure
from reconciler.executor.outcomes import SENDING, Thing, newest_by_thing
from reconciler.executor.records import Try
from reconciler.ids import stamp_of
from reconciler.status.runs import NotedRun, RunState
from reconciler.units import render_size, render_span

_KNOWN_SHOWN = 5
_BACKUP_VERBS = SENDING | {"snapshot"}


@dataclass(frozen=True, slots=True)
class Run:
    """job, due: which debt. points: restore points made. failures: things whose newest try failed.

    cause: what asked for it, "" where that was not noted. started_at: of the first try; None while
    there is none. bytes: moved, by every try. tries: newest first, all of them. noted_why: what is,
    or was, in the way of the whole.
    """

    job: str
    due: datetime
    state: RunState
    cause: str
    vms: int
    points: int
    failures: int
    bytes: int
    started_at: datetime | None
    ended_at: datetime | None
    tries: tuple[Try, ...]
    noted_why: str = ""

    @property
    def name(self) -> str:
        return f"{self.job}/{stamp_of(self.due)}"

    @property
    def duration(self) -> timedelta | None:
        if self.ended_at is None or self.started_at is None:
            return None
        return self.ended_at - self.started_at

    def why(self) -> str:
        """The newest failure's words, else what is noted of the whole; "" if all is well."""
        if self.state is RunState.SUCCEEDED:
            return ""
        return next((each.why for each in self.tries if each.outcome == "Failed"), self.noted_why)

    def parts(self) -> list[Try]:
        """The newest try of each point that the run was to make, by VM and place."""
        found = [each for each in newest_by_thing(self.tries).values() if each.verb in SENDING]
        return sorted(found, key=lambda each: (each.vm_name, each.place))


def runs_of(tries: Iterable[Try], rows: Iterable[NotedRun] = ()) -> list[Run]:
    """Group tries (newest first) into runs, newest first. Housekeeping alone is no run.

    rows: the runs that were noted, with or without tries.
    """
    groups: dict[tuple[str, datetime], list[Try]] = {}
    for each in tries:
        if each.job is not None:
            groups.setdefault((each.job, each.due), []).append(each)
    noted = {(str(row.job), row.due): row for row in rows}
    runs = [
        _run(job, due, group, noted.get((job, due)))
        for (job, due), group in groups.items()
        if (job, due) in noted or any(each.verb in _BACKUP_VERBS for each in group)
    ]
    runs += [_run(*key, [], row) for key, row in noted.items() if key not in groups]
    return sorted(runs, key=lambda run: (run.due, run.job), reverse=True)


def _run(job: str, due: datetime, group: Sequence[Try], row: NotedRun | None) -> Run:
    newest = newest_by_thing(group)
    state = _state(newest) if row is None else row.state
    ends = [each.ended_at for each in group if each.ended_at is not None]
    is_open = state in (RunState.RUNNING, RunState.PENDING)
    vms = len({each.vm for each in group if each.verb in _BACKUP_VERBS})
    return Run(
        job=job,
        due=due,
        state=state,
        cause="" if row is None else row.cause.value,
        vms=vms if row is None else max(vms, row.vms),
        points=sum(1 for (verb, _, _), each in newest.items() if verb in SENDING and _done(each)),
        failures=sum(1 for each in newest.values() if each.outcome == "Failed"),
        bytes=sum(each.bytes for each in group),
        started_at=min((each.started_at for each in group), default=None),
        ended_at=max(ends) if ends and not is_open else None,
        tries=tuple(group),
        noted_why="" if row is None else row.why,
    )


def _state(newest: dict[Thing, Try]) -> RunState:
    """A snapshot whose VM has no export yet is half a backup, whatever became of it since.

    One that a kill kept from noting its end, but that was exported later, was whole all the same.
    """
    exported = {vm for verb, vm, _ in newest if verb in SENDING}
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
    made = any(verb in SENDING and _done(each) for (verb, _, _), each in newest.items())
    return RunState.PARTIALLY_FAILED if made else RunState.FAILED


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def _done(each: Try) -> bool:
    return each.outcome == "Succeeded"


def run_named(runs: Sequence[Run], name: str) -> Run:
    """Find a run. Raises Failure: no such run is recorded."""
    for run in runs:
        if run.name == name:
            return run
    known = ", ".join(run.name for run in runs[:_KNOWN_SHOWN])
    raise Failure("no such run is recorded", subject=name, hint=f"the last: {known or 'none'}")


def run_dict(run: Run) -> dict[str, Any]:
    """Render a run for a program; times are UTC, sizes bytes, spans seconds."""
    return {
        "name": run.name,
        "job": run.job,
        "due": run.due.isoformat(),
        "state": run.state.value,
        "cause": run.cause or None,
        "vms": run.vms,
        "points": run.points,
        "failures": run.failures,
        "bytes": run.bytes,
        "startedAt": _iso(run.started_at),
        "endedAt": _iso(run.ended_at),
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
        "totalBytes": each.total_bytes or None,
        "startedAt": each.started_at.isoformat(),
        "endedAt": _iso(each.ended_at),
    }


PART_HEADERS = ("VM", "PLACE", "STATE", "SIZE", "OF", "TOOK", "RATE", "LEFT", "REASON")


def part_row(part: Try, now: datetime) -> list[str]:
    """Render one point of a run, made or not, as a row of a table."""
    took = (part.ended_at or now) - part.started_at
    rate = part.bytes / took.total_seconds() if took > timedelta() else 0.0
    is_running = part.outcome == "Running"
    left_s = (part.total_bytes - part.bytes) / rate if is_running and rate else 0.0
    return [
        part.vm_name,
        part.place,
        part.outcome,
        render_size(part.bytes),
        render_size(part.total_bytes) if is_running and part.total_bytes else "",
        render_span(timedelta(seconds=round(took.total_seconds()))),
        f"{render_size(round(rate))}/s" if rate else "",
        render_span(timedelta(seconds=round(left_s))) if left_s > 0 else "",
        part.outcome_reason,
    ]


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
        "" if run.started_at is None else f"{run.started_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        "" if run.duration is None else render_span(run.duration),
        run.why(),
    ]
