"""All metrics at one instant, read off a report and a tally. Pure; web/ only writes them down."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import get_args

from reconciler.desired.document import Identity
from reconciler.desired.manifest import JOB, POOL, REMOTE, RESTORE
from reconciler.desired.state import Desired, Job
from reconciler.ids import JobName, ScheduleId
from reconciler.observed.pool import PoolView
from reconciler.observed.remote import RemoteView
from reconciler.plan.actions import Action, CleanSnapshot, Prune, PruneReplica, id_of
from reconciler.plan.reasons import Reason
from reconciler.plan.retention import Deletion
from reconciler.plan.slots import Slot, slots_of
from reconciler.status import metrics as m
from reconciler.status.holdings import Spot
from reconciler.status.metrics import Family
from reconciler.status.objects import object_statuses
from reconciler.status.report import Report
from reconciler.status.runs import RunState, Trigger, open_runs
from reconciler.status.standing import VmState
from reconciler.status.tally import Tally, Way
from reconciler.status.vm_series import Series, promises, vm_families

VERBS = tuple(dict.fromkeys(kind.verb for kind in get_args(Action)))


def families(
    report: Report | None,
    tally: Tally,
    moving: Sequence[tuple[Way, int, int]],
    now: datetime,
    *,
    build: tuple[str, str],
    leading: bool = True,
) -> list[Family]:
    """Return every family. report: None before the first. moving: what is under way, bytes moved
    and bytes expected (0: not known).

    build: versions of the program and of Python.
    """
    found = [
        Family(m.BUILD_INFO, [(build, 1)]),
        Family(m.LEADER, [((), int(leading))]),
        *_of_tally(tally, moving),
        Family(m.TRANSFER_PROGRESS, _progress(moving)),
    ]
    if report is not None:
        found += _of_jobs(report, tally, now)
        found += _of_plan(report)
        found += _of_places(report)
        found += vm_families(report, now)
    return found


# ── what happened ─────────────────────────────────────────────────────────────────────────────────


def _of_tally(tally: Tally, moving: Sequence[tuple[Way, int, int]]) -> Iterable[Family]:
    moved: dict[Way, int] = defaultdict(int, tally.moved_bytes)
    for way, count, _ in moving:
        moved[way] += count
    yield Family(m.ACTION_TOTAL, [(key, count) for key, count in sorted(tally.tries.items())])
    yield Family(
        m.ACTION_SECONDS, [((verb,), each) for verb, each in sorted(tally.try_seconds.items())]
    )
    yield Family(
        m.TRANSFER_BYTES,
        [((way.direction, way.remote, way.sr), count) for way, count in moved.items()],
    )
    yield Family(m.FULL_FALLBACK, [(key, count) for key, count in sorted(tally.fulls.items())])
    yield Family(m.RUN_SECONDS, [((job,), each) for job, each in sorted(tally.run_seconds.items())])
    yield Family(m.RECONCILE_SECONDS, [((), tally.tick_seconds)])


def _progress(moving: Sequence[tuple[Way, int, int]]) -> Series:
    moved: Counter[Way] = Counter()
    expected: Counter[Way] = Counter()
    for way, count, total in moving:
        if total:
            moved[way] += count
            expected[way] += total
    return [
        ((way.direction, way.remote, way.sr), moved[way] / total) for way, total in expected.items()
    ]


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────

_COUNTED_FROM_ZERO = (RunState.SUCCEEDED, RunState.PARTIALLY_FAILED, RunState.FAILED)
"""Results that are there from the start, so that the first one is seen to be one more."""


def _of_jobs(report: Report, tally: Tally, now: datetime) -> Iterable[Family]:
    jobs = report.desired.jobs
    slots = {name: slots_of(job, now) for name, job in sorted(jobs.items())}
    runs: dict[tuple[JobName, Trigger, RunState], int] = {
        (job, Trigger.SCHEDULED, state): 0 for job in sorted(jobs) for state in _COUNTED_FROM_ZERO
    }
    runs.update(tally.runs)
    active = Counter(
        run.job for run in open_runs(report.plan, report.progress).values() if run.running
    )
    yield Family(m.RUN_TOTAL, [(key, count) for key, count in runs.items() if key[0] in jobs])
    yield Family(m.RUN_ACTIVE, [((job,), active[job]) for job in sorted(jobs)])
    yield Family(
        m.JOB_INFO,
        [
            ((name, job.mode.value, str(job.suspend).lower()), 1)
            for name, job in sorted(jobs.items())
        ],
    )
    yield Family(
        m.JOB_VMS,
        [
            ((standing.job.name, state.value), standing.count(state))
            for standing in report.standings
            for state in VmState
        ],
    )
    none_blocked = {(job, Reason.MASS_DELETION_BLOCKED): 0 for job in sorted(jobs)}
    blocked = {**none_blocked, **tally.blocked}
    yield Family(m.PRUNE_BLOCKED, list(blocked.items()))
    yield Family(m.JOB_FAILURES, [((job,), tally.failed_in_a_row.get(job, 0)) for job in slots])
    yield from _of_schedules(jobs, slots, tally)
    yield Family(m.RESOURCE_CONDITION, list(_conditions(report)))


def _of_schedules(
    jobs: Mapping[JobName, Job],
    slots: Mapping[JobName, Mapping[ScheduleId, Slot]],
    tally: Tally,
) -> Iterable[Family]:
    intervals: Series = []
    upcoming: Series = []
    missed: Series = []
    targets: Series = []
    for name, of_job in slots.items():
        job = jobs[name]
        for schedule in job.schedules:
            labels = name, schedule.name
            missed.append((labels, tally.missed.get((name, schedule.id), 0)))
            slot = of_job.get(schedule.id)
            if slot is not None and slot.next is not None:
                intervals.append((labels, (slot.next - slot.at).total_seconds()))
                if not (job.suspend or schedule.suspend):
                    upcoming.append((labels, slot.next.timestamp()))
        target = rpo_target_s(job, of_job)
        if target is not None:
            targets.append(((name,), target))
    yield Family(m.JOB_INTERVAL, intervals)
    yield Family(m.JOB_NEXT_RUN, upcoming)
    yield Family(m.JOB_MISSED, missed)
    yield Family(m.JOB_RPO_TARGET, targets)


def rpo_target_s(job: Job, slots: Mapping[ScheduleId, Slot]) -> float | None:
    """Return the exposure that a job allows just now, in seconds; None if it promises nothing.

    After a long gap (a weekend) the newest point is as old as the gap until the slot after it is
    answered, so the gap counts until the one after it begins.
    """
    mine = [slot for slot in slots.values() if not slot.schedule.suspend]
    if not promises(job) or not mine:
        return None
    last = max(slot.at for slot in mine)
    before = [slot.before if slot.at == last else slot.at for slot in mine]
    upcoming = [slot.next for slot in mine if slot.next is not None]
    gaps = [last - max(each for each in before if each)] if any(before) else []
    gaps += [min(upcoming) - last] if upcoming else []
    if not gaps:
        return None
    return (max(gaps) + max(slot.schedule.deadline for slot in mine)).total_seconds()


def declared_in(desired: Desired) -> list[Identity]:
    """Return the objects that stand in force, by kind and name; runs are told of apart."""
    return [
        Identity.named(kind, name)
        for kind, names in (
            (POOL, desired.pools),
            (REMOTE, desired.remotes),
            (JOB, desired.jobs),
            (RESTORE, desired.restores),
        )
        for name in sorted(names)
    ]


def _conditions(report: Report) -> Iterable[tuple[tuple[str, ...], float]]:
    for identity, status in object_statuses(report, declared_in(report.desired)).items():
        for each in status.conditions:
            condition = each.type.value, each.status.value, each.reason.value
            yield (identity.kind, identity.full_name, *condition), 1


# ── the plan ──────────────────────────────────────────────────────────────────────────────────────


def _of_plan(report: Report) -> Iterable[Family]:
    running = report.progress.running
    pending = Counter(
        action.verb for action in report.plan.actions if not running or id_of(action) not in running
    )
    at_work = Counter(id_.rpartition("-")[0] for id_ in running)
    held = Counter(
        (each.action.verb if each.action is not None else "", each.reason.value)
        for each in report.plan.held
    )
    yield Family(m.ACTION_PENDING, [((verb,), pending[verb]) for verb in VERBS])
    yield Family(m.ACTION_RUNNING, [((verb,), at_work[verb]) for verb in VERBS])
    yield Family(m.ACTION_HELD, [(key, count) for key, count in sorted(held.items())])
    points: Counter[tuple[str, ...]] = Counter()
    blocked: Counter[str] = Counter()
    for each in report.plan.held:
        if isinstance(each.action, Deletion):
            job, spot = each.action.job or "", _spot_of(each.action)
            points[job, spot.remote, spot.sr, each.reason.value] += 1
            blocked[job] += each.reason is Reason.MASS_DELETION_BLOCKED
    yield Family(m.HELD_POINTS, [(key, count) for key, count in sorted(points.items())])
    yield Family(m.GUARD_PENDING, [((job,), blocked[job]) for job in sorted(report.desired.jobs)])


def _spot_of(action: Deletion) -> Spot:
    match action:
        case Prune():
            return Spot(remote=action.remote)
        case PruneReplica():
            return Spot(sr=f"{action.target_pool}/{action.sr}")
        case CleanSnapshot():
            return Spot()


# ── destinations and pools ────────────────────────────────────────────────────────────────────────


def _of_places(report: Report) -> Iterable[Family]:
    remotes = sorted(report.observed.remotes.items())
    pools = sorted(report.observed.pools.items())
    seen = [(name, view) for name, view in remotes if isinstance(view, RemoteView)]
    yield Family(
        m.REMOTE_UP, [((name,), int(isinstance(view, RemoteView))) for name, view in remotes]
    )
    yield Family(
        m.REMOTE_FREE,
        [((name,), view.free_bytes) for name, view in seen if view.free_bytes is not None],
    )
    yield Family(
        m.REMOTE_SIZE,
        [((name,), view.total_bytes) for name, view in seen if view.total_bytes is not None],
    )
    yield Family(m.POOL_UP, [((name,), int(isinstance(view, PoolView))) for name, view in pools])
    srs = [
        ((f"{name}/{sr.uuid}", sr.name), sr)
        for name, view in pools
        if isinstance(view, PoolView)
        for sr in view.srs.values()
    ]
    yield Family(m.SR_FREE, [(key, sr.free_bytes) for key, sr in srs if sr.free_bytes is not None])
    yield Family(
        m.SR_COALESCE,
        [(key, sr.coalesce_backlog) for key, sr in srs if sr.coalesce_backlog is not None],
    )
    yield Family(m.MANIFEST_PROBLEMS, [((), len(report.desired.problems))])
    yield Family(m.LAST_TICK, [((), report.at.timestamp())])
