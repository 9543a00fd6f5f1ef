"""Runs: what answers one slot of a job, or one request, as plan and world tell it. Pure.

A run is nothing that acts. It opens when its slot has come and something is owed, it is told by
the actions that name it, and it is over when nothing of it is wanted any more. What the planner
does not want any more because somebody cancelled the run, or because it took too long, ended so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from reconciler.desired.state import Desired, Job, JobSchedule
from reconciler.ids import JobName, RunId, ScheduleId, VmUuid, run_id
from reconciler.observed.progress import Progress
from reconciler.plan.actions import Action, id_of, run_of
from reconciler.plan.plan import Plan
from reconciler.plan.reasons import Reason

MISSED_MAX = 100
"""Slots of one schedule that are told one by one after a long absence."""


class RunState(StrEnum):
    PENDING = "Pending"  # its slot has come, and nothing of it has begun
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    PARTIALLY_FAILED = "PartiallyFailed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    TIMED_OUT = "TimedOut"
    INTERRUPTED = "Interrupted"  # begun and not finished, and nobody is at it now
    SKIPPED = "Skipped"  # its slot came while the job was suspended, or chose no VM
    MISSED = "Missed"  # its slot passed, and a later one answers for it


class Trigger(StrEnum):
    SCHEDULED = "Scheduled"
    CATCH_UP = "CatchUp"
    REQUESTED = "Requested"


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that something is wanted of. running: whether any of it is under way."""

    run: RunId
    job: JobName
    due: datetime
    cause: Trigger
    vms: frozenset[VmUuid]
    running: bool
    why: str


@dataclass(frozen=True, slots=True)
class PassedSlot:
    """A slot that passed, and what it became at once: `Missed`, `Skipped`, or None: it is due."""

    run: RunId
    job: JobName
    schedule: ScheduleId
    due: datetime
    state: RunState | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class NotedRun:
    """One run as it was noted. closed_at: None while something is left to do."""

    id: RunId
    job: JobName
    due: datetime
    cause: Trigger
    state: RunState
    why: str
    vms: int
    opened_at: datetime
    closed_at: datetime | None


def open_runs(plan: Plan, progress: Progress) -> dict[RunId, OpenRun]:
    """Return the runs that the plan wants something of, or holds something of."""
    ended = frozenset({Reason.RUN_CANCELLED, Reason.TIMED_OUT})
    wanted: list[tuple[Action, str]] = [(action, "") for action in plan.actions]
    wanted += [
        (held.action, held.why)
        for held in plan.held
        if held.action is not None and held.reason not in ended
    ]
    parts: dict[RunId, list[tuple[Action, str]]] = {}
    for action, why in wanted:
        run = run_of(action)
        if run is not None:
            parts.setdefault(run, []).append((action, why))
    return {run: _open_run(run, mine, progress) for run, mine in parts.items()}


def _open_run(run: RunId, parts: Sequence[tuple[Action, str]], progress: Progress) -> OpenRun:
    """Join what is wanted of one run. `why`: the first, if all of it is held."""
    first, _ = parts[0]
    return OpenRun(
        run=run,
        job=getattr(first, "job", None) or JobName(""),
        due=min(action.due for action, _ in parts),
        cause=_trigger_of(first),
        vms=frozenset(action.vm for action, _ in parts if action.vm is not None),
        running=bool(progress.running)
        and any(id_of(action) in progress.running for action, _ in parts),
        why="" if any(not why for _, why in parts) else parts[0][1],
    )


def _trigger_of(action: Action) -> Trigger:
    match action.reason:
        case Reason.CATCH_UP:
            return Trigger.CATCH_UP
        case Reason.REQUESTED:
            return Trigger.REQUESTED
        case _:
            return Trigger.SCHEDULED


def passed_slots(
    desired: Desired,
    noticed: Mapping[tuple[JobName, ScheduleId], datetime],
    without_vms: frozenset[JobName],
    now: datetime,
) -> Iterable[PassedSlot]:
    """Return the slots that have come since they were last noticed, oldest first per schedule.

    noticed: newest slot known of each schedule; one that is not there is new, and owes no past.
    without_vms: jobs that choose no VM just now.
    """
    for job in desired.jobs.values():
        for schedule in job.schedules:
            since = noticed.get((job.name, schedule.id))
            if since is not None:
                yield from _passed(job, schedule, since, job.name in without_vms, now)


def _passed(
    job: Job, schedule: JobSchedule, since: datetime, without_vms: bool, now: datetime
) -> Iterable[PassedSlot]:
    slots = _slots_after(schedule, since, now)
    for position, at in enumerate(slots):
        state: RunState | None = None
        why = ""
        if job.suspend or schedule.suspend:
            state, why = (
                RunState.SKIPPED,
                f"the {'job' if job.suspend else 'schedule'} is suspended",
            )
        elif position < len(slots) - 1:
            state, why = RunState.MISSED, "it passed unseen; the next run answers for it"
        elif without_vms:
            state, why = RunState.SKIPPED, "the job chooses no VM"
        yield PassedSlot(run_id(job.name, at), job.name, schedule.id, at, state, why)


def _slots_after(schedule: JobSchedule, since: datetime, now: datetime) -> list[datetime]:
    """Return the slots in (since, now]: the newest MISSED_MAX of them."""
    slots: list[datetime] = []
    at = schedule.schedule.last_due(now)
    while at is not None and at > since and len(slots) < MISSED_MAX:
        slots.append(at)
        at = schedule.schedule.last_due(at - timedelta.resolution)
    return slots[::-1]
