"""Rule: which points of a job leave a destination, because no schedule keeps them any more.

A point stays if the retention of *any* of its schedules keeps it. Each schedule counts only the
points that were made for it, wherever they lie, and only those that are whole. What stays in any
case:

- points of no schedule the job has (made by hand, for a schedule that was removed, adopted);
- points of a suspended schedule: a pause must not age anything away;
- points with a broken chain: a person may still mend them;
- replicas that another tool made under the job's id: they are that tool's;
- all points of a VM that the job does not choose, or cannot see, any more;
- the newest good ones, as many as the guard's `goodMin` says.

New before old: a VM that is owed a point at a destination loses none there.

Snapshots that a job made while its mode was Snapshot are restore points for as long as they stand,
whatever its mode is now. No new ones come, so that counts (`last: 7`) keep what they kept; and one
that the next backup goes on from stays until that one is made.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.desired.state import Job
from reconciler.ids import ScheduleId, VmUuid
from reconciler.observed.chain import History, RestorePoint
from reconciler.observed.progress import PlaceKind
from reconciler.observed.replica import Replica
from reconciler.plan import replica
from reconciler.plan.actions import CleanSnapshot, Prune, PruneReplica
from reconciler.plan.draft import Draft
from reconciler.plan.reasons import Reason
from reconciler.plan.scope import MarkedSnapshot, Scope, Target, vm_at
from reconciler.plan.slots import Point
from reconciler.plan.superseded import clean_snapshot, unneeded
from reconciler.plan.world import CLOCK_TOLERANCE, World

Deletion = Prune | PruneReplica | CleanSnapshot
"""What takes a restore point away, by the kind of its destination."""


@dataclass(slots=True)
class Ledger:
    """What retention would do to one job at one destination; `guard` decides whether it may.

    points_total: of the VMs looked at. prunes: wanted now, by VM. going: how many of each VM are
    wanted, now or once the VM has its new point. kept: points that stay in either case, by VM.
    """

    points_total: int = 0
    prunes: list[tuple[Deletion, ...]] = field(default_factory=list)
    going: list[int] = field(default_factory=list)
    kept: list[tuple[VmUuid, Sequence[Point]]] = field(default_factory=list)


def rule(world: World, scope: Scope, target: Target, ledger: Ledger, draft: Draft) -> None:
    """Add to the ledger what of one VM leaves one destination.

    What has to wait is counted all the same: a plan that would delete much must look so at once,
    not pass the guard one VM at a time, as each gets its new point.
    """
    if target.history is None or not target.points:
        return
    ledger.points_total += len(target.points)
    doomed, good = _doomed(world, scope, target)
    _wake_when_points_age(scope.job, target.points, draft)
    if not doomed:
        ledger.kept.append((scope.vm.uuid, target.points))
        return
    may = _may_prune(target, target.history)
    doomed = _without_spared(scope, target, doomed, good, draft if may else None)
    if target is scope.rolled:
        free = unneeded(world, scope)
        doomed = [point for point in doomed if point in free]
    gone = {id(point) for point in doomed}
    stays = [point for point in target.points if id(point) not in gone]
    ledger.kept.append((scope.vm.uuid, stays))
    ledger.going.append(len(doomed))
    if may and doomed:
        ledger.prunes.append(tuple(_deletions(scope, target, doomed)))


def _may_prune(target: Target, history: History) -> bool:
    """Say whether nothing speaks against pruning now; what does is reported elsewhere."""
    return not (
        target.owed
        or target.requested
        or target.exporting
        or target.obstacle
        or history.unreadable
        or history.merges
    )


def _doomed(world: World, scope: Scope, target: Target) -> tuple[Sequence[Point], Sequence[Point]]:
    """Return the points that no rule keeps, and the good ones they are of, oldest first."""
    points = target.points
    kept = _kept_of(scope, points, world.now)
    if len(kept) == len(points):
        # Broken points would not count, which makes others stay longer: still nothing goes.
        return (), ()
    good = good_points(world, scope, target)
    if len(good) < len(points):
        kept = _kept_of(scope, good, world.now)
    return [point for index, point in enumerate(good) if index not in kept], good


def good_points(world: World, scope: Scope, target: Target) -> list[Point]:
    """Return the points at a destination that was seen that retention counts, oldest first: ours,
    that can be restored.
    """
    assert target.history is not None
    match target.site.kind:
        case PlaceKind.REMOTE:
            chains = world.chains(target.site.remote, target.history)
            good: list[Point] = [
                point
                for point in reversed(target.points)  # whole chains at once
                if isinstance(point, RestorePoint) and chains.is_whole(point)
            ]
            good.reverse()
            return good
        case PlaceKind.SR:
            return [point for point in target.points if isinstance(point, Replica) and point.ours]
        case PlaceKind.POOL:
            return [
                point
                for point in target.points
                if isinstance(point, MarkedSnapshot) and not scope.lacks_a_disk(point)
            ]


def _kept_of(scope: Scope, points: Sequence[Point], now: datetime) -> Set[int]:
    """Return the positions of the points that stay; what holds for one place is not worked out
    again for the next, where the same points lie as a rule.
    """
    taken = [point.taken_at for point in points]
    made_for = [point.schedules for point in points]
    if scope.judged is not None and scope.judged[:2] == (taken, made_for):
        return scope.judged[2]
    kept = _kept(scope.job, taken, made_for, now)
    scope.judged = taken, made_for, kept
    return kept


def _kept(
    job: Job,
    taken: Sequence[datetime],
    made_for: Sequence[tuple[ScheduleId, ...]],
    now: datetime,
) -> set[int]:
    """Return the positions of the points that stay. taken, made_for: of each, oldest first."""
    kept: set[int] = set()
    counted: set[int] = set()
    for schedule in job.schedules:
        identity, rules = schedule.id, schedule.retention
        mine = [index for index, schedules in enumerate(made_for) if identity in schedules]
        counted.update(mine)
        if schedule.suspend or rules.keeps_everything:
            kept.update(mine)
        elif len(mine) == len(taken):
            kept.update(rules.kept(taken, now))
        elif mine:
            stay = rules.kept([taken[index] for index in mine], now)
            kept.update([mine[position] for position in stay])
    if len(counted) < len(taken):
        kept.update(set(range(len(taken))) - counted)
    return kept


def _without_spared(
    scope: Scope,
    target: Target,
    doomed: Sequence[Point],
    good: Sequence[Point],
    draft: Draft | None,
) -> Sequence[Point]:
    """Take out of the doomed what is safer kept. draft: where to say so, if it is time to."""
    subject = vm_at(scope.vm.name, target.site)
    last_good = {point.stamp for point in good[-max(scope.job.guard.good_min, 1) :]}
    going = [point for point in doomed if point.stamp not in last_good]
    if draft is None:
        return going
    for point in doomed:
        if point.stamp in last_good:
            why = "no rule keeps it, but too few good points would be left"
            (prune,) = _deletions(scope, target, [point])
            draft.hold(subject, Reason.LAST_GOOD_POINT, why, prune)
    newest = target.points[-1].taken_at
    if newest > draft.now + CLOCK_TOLERANCE:
        return ()  # the planner says so, of the VM as a whole
    if newest > draft.now:
        why = f"its newest point is of {newest:%Y-%m-%d %H:%M:%S} UTC, and nothing goes before that"
        draft.hold(subject, Reason.CLOCK_BEHIND, why, until=newest)
        return ()
    return going


def _wake_when_points_age(job: Job, points: Sequence[Point], draft: Draft) -> None:
    """Ask for a new plan when a point outlives a `within` rule: the only rule with a clock."""
    for schedule in job.schedules:
        within = schedule.retention.within
        if within is None or schedule.suspend:
            continue
        for point in points:
            ages_at = point.taken_at + within + timedelta.resolution
            if ages_at > draft.now and schedule.id in point.schedules:
                draft.wake(ages_at)
                break


def _deletions(scope: Scope, target: Target, doomed: Sequence[Point]) -> Sequence[Deletion]:
    match target.site.kind:
        case PlaceKind.REMOTE:
            return [
                _prune(scope, target, point) for point in doomed if isinstance(point, RestorePoint)
            ]
        case PlaceKind.SR:
            return replica.prunes(scope, target, doomed)
        case PlaceKind.POOL:
            return [
                clean_snapshot(scope, point, Reason.RETENTION_EXCEEDED, scope.job.name)
                for point in doomed
                if isinstance(point, MarkedSnapshot)
            ]


def _prune(scope: Scope, target: Target, point: RestorePoint) -> Prune:
    return Prune(
        remote=target.site.remote,
        vm=scope.vm.uuid,
        vm_name=scope.vm.name,
        job=scope.job.name,
        stamp=point.stamp,
        freed_bytes=point.size_bytes,
        due=target.points[-1].taken_at,
        reason=Reason.RETENTION_EXCEEDED,
    )
