"""What has happened since the process began, counted: events that no look at the world shows.

A value; whoever sees an event puts the tally after it in place of the one before: the executor the
ends of tries, the keeper of runs the ends of runs, the loop its ticks. It is lost at a restart, as
counters are, and nothing that decides reads it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import TypeVar

from reconciler.ids import ActionId, JobName, ScheduleId
from reconciler.observed.progress import Attempt
from reconciler.plan.actions import (
    Action,
    Archive,
    CopyVm,
    Export,
    ExportKind,
    Merge,
    Replicate,
    Verify,
    id_of,
)
from reconciler.plan.plan import Plan
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import RestoreDisk, RestoreVm
from reconciler.plan.retention import Deletion
from reconciler.status.runs import RunState, Trigger

K = TypeVar("K")

WORK_S = (1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0)
"""Bounds of buckets, in seconds, for what moves data: from a prune to a first full."""
TICK_S = (0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds of buckets, in seconds, for a tick of the loop."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Values sorted into buckets. counts: of each bucket alone, and of what is above the last."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def with_value(self, value: float) -> "Histogram":
        counts = list(self.counts)
        counts[bisect_left(self.bounds, value)] += 1
        return replace(self, counts=tuple(counts), total=self.total + value)


def empty(bounds: tuple[float, ...]) -> Histogram:
    return Histogram(bounds, (0,) * (len(bounds) + 1))


@dataclass(frozen=True, slots=True)
class Way:
    """Where bytes go. direction: "backup", "merge", "restore" or "verify". remote, sr: the one that
    is not a pool's own, "" for the other; an SR is `<pool>/<uuid>`.
    """

    direction: str
    remote: str = ""
    sr: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """tries: by verb, result ("Succeeded", "Failed", "Cancelled", "Interrupted") and reason.

    moved_bytes: of tries that are over. fulls: disks that were sent whole, by why. failed_in_a_row:
    runs of a job since its last good one; those that were cancelled or cut short do not count.
    blocked: deletions that were held, each counted once for as long as it stays so.
    """

    tries: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    try_seconds: Mapping[str, Histogram] = field(default_factory=dict)
    moved_bytes: Mapping[Way, int] = field(default_factory=dict)
    fulls: Mapping[tuple[JobName, Reason], int] = field(default_factory=dict)
    runs: Mapping[tuple[JobName, Trigger, RunState], int] = field(default_factory=dict)
    run_seconds: Mapping[JobName, Histogram] = field(default_factory=dict)
    failed_in_a_row: Mapping[JobName, int] = field(default_factory=dict)
    missed: Mapping[tuple[JobName, ScheduleId], int] = field(default_factory=dict)
    blocked: Mapping[tuple[JobName, Reason], int] = field(default_factory=dict)
    tick_seconds: Histogram = field(default_factory=lambda: empty(TICK_S))

    def after_try(
        self, action: Action, attempt: Attempt, *, seconds: float, moved_bytes: int
    ) -> "Tally":
        """Count a try that is over, however it ended."""
        result = _result_of(attempt)
        moved, fulls = self.moved_bytes, self.fulls
        way = way_of(action)
        if way is not None and moved_bytes:
            moved = _with_more(moved, way, moved_bytes)
        if attempt.succeeded and isinstance(action, Export | Replicate):
            for disk in action.disks:
                if disk.kind is ExportKind.FULL and disk.reason is not Reason.ALREADY_EXPORTED:
                    fulls = _with_more(fulls, (action.job, disk.reason))
        return replace(
            self,
            tries=_with_more(self.tries, (action.verb, result, attempt.reason)),
            try_seconds=_with_value(self.try_seconds, action.verb, seconds),
            moved_bytes=moved,
            fulls=fulls,
        )

    def after_run(self, job: JobName, trigger: Trigger, state: RunState, seconds: float) -> "Tally":
        """Count a run that is over."""
        failed = self.failed_in_a_row
        if state is RunState.SUCCEEDED:
            failed = {**failed, job: 0}
        elif state in _BAD:
            failed = _with_more(failed, job)
        return replace(
            self,
            runs=_with_more(self.runs, (job, trigger, state)),
            run_seconds=_with_value(self.run_seconds, job, seconds),
            failed_in_a_row=failed,
        )

    def after_missed(self, job: JobName, schedule: ScheduleId) -> "Tally":
        """Count a slot that passed, and that a later one answers for."""
        return replace(self, missed=_with_more(self.missed, (job, schedule)))

    def after_plan(self, plan: Plan, before: Plan | None) -> "Tally":
        """Count the deletions that this plan holds and the one before it did not."""
        known = _blocked_by(before) if before is not None else {}
        blocked = self.blocked
        for id_, key in _blocked_by(plan).items():
            if known.get(id_) != key:
                blocked = _with_more(blocked, key)
        return self if blocked is self.blocked else replace(self, blocked=blocked)

    def knowing(self, failed_in_a_row: Mapping[JobName, int]) -> "Tally":
        """Return it with what was noted of runs before this process began."""
        return replace(self, failed_in_a_row={**failed_in_a_row, **self.failed_in_a_row})

    def after_tick(self, seconds: float) -> "Tally":
        """Count a tick of the loop."""
        return replace(self, tick_seconds=self.tick_seconds.with_value(seconds))

    def of_jobs(self, jobs: Set[JobName]) -> "Tally":
        """Forget the jobs that are no more: names come and go, and memory is bounded."""
        return replace(
            self,
            fulls={key: count for key, count in self.fulls.items() if key[0] in jobs},
            runs={key: count for key, count in self.runs.items() if key[0] in jobs},
            run_seconds={job: each for job, each in self.run_seconds.items() if job in jobs},
            failed_in_a_row={job: n for job, n in self.failed_in_a_row.items() if job in jobs},
            missed={key: count for key, count in self.missed.items() if key[0] in jobs},
            blocked={key: count for key, count in self.blocked.items() if key[0] in jobs},
        )


_BAD = frozenset({RunState.FAILED, RunState.PARTIALLY_FAILED, RunState.TIMED_OUT})


def failures_in_a_row(ended: Iterable[tuple[JobName, RunState]]) -> dict[JobName, int]:
    """Count a job's runs that failed since its last good one. ended: the newest first."""
    counts: dict[JobName, int] = {}
    over: set[JobName] = set()
    for job, state in ended:
        counts.setdefault(job, 0)
        if state is RunState.SUCCEEDED:
            over.add(job)
        elif state in _BAD and job not in over:
            counts[job] += 1
    return counts


def _blocked_by(plan: Plan) -> dict[ActionId, tuple[JobName, Reason]]:
    return {
        id_of(each.action): (each.action.job, each.reason)
        for each in plan.held
        if isinstance(each.action, Deletion) and each.action.job is not None
    }


_TOLD_TO = {Reason.CANCELLED: "Cancelled", Reason.INTERRUPTED: "Interrupted"}


def way_of(action: Action) -> Way | None:
    """Say where an action moves bytes to or from; None if it moves none."""
    match action:
        case Export() | Archive():
            return Way("backup", remote=action.remote)
        case Replicate() | CopyVm():
            return Way("backup", sr=f"{action.target_pool}/{action.sr}")
        case Merge():
            return Way("merge", remote=action.remote)
        case Verify():
            return Way("verify", remote=action.remote)
        case RestoreVm() | RestoreDisk():
            return Way("restore", remote=action.remote)
        case _:
            return None


def _result_of(attempt: Attempt) -> str:
    if attempt.succeeded:
        return "Succeeded"
    return next((word for reason, word in _TOLD_TO.items() if attempt.reason == reason), "Failed")


def _with_more(counts: Mapping[K, int], key: K, count: int = 1) -> dict[K, int]:
    return {**counts, key: counts.get(key, 0) + count}


def _with_value(histograms: Mapping[K, Histogram], key: K, seconds: float) -> dict[K, Histogram]:
    return {**histograms, key: histograms.get(key, empty(WORK_S)).with_value(seconds)}
