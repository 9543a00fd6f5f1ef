"""Rule: which points of a job leave a remote, because none of its schedules keeps them any more.

A point stays if the retention of *any* of its schedules keeps it. Each schedule counts only the
points that were made for it, and only those whose chains are whole. What stays in any case:

- points of no schedule the job has (made by hand, for a schedule that was removed, adopted);
- points of a suspended schedule: a pause must not age anything away;
- points with a broken chain: a person may still mend them;
- all points of a VM that the job does not choose, or cannot see, any more;
- the newest good ones, as many as the guard's `goodMin` says.

New before old: a VM that is owed a point on a remote loses none there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.desired.state import Job
from reconciler.observed.chain import Chains, History, RestorePoint
from reconciler.plan.actions import Prune
from reconciler.plan.draft import Draft
from reconciler.plan.reasons import Reason
from reconciler.plan.world import CLOCK_TOLERANCE, Scope, Target, World, vm_on_remote


@dataclass(slots=True)
class Ledger:
    """What retention would do to one job on one remote; `guard` decides whether it may.

    points_total: of the VMs looked at. prunes: wanted now, by VM. waiting: how many more of each
    VM will be wanted once the VM has its new point. kept: points that stay in either case, by VM.
    """

    points_total: int = 0
    prunes: list[tuple[Prune, ...]] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    kept: list[Sequence[RestorePoint]] = field(default_factory=list)


def rule(world: World, scope: Scope, target: Target, ledger: Ledger, draft: Draft) -> None:
    """Add to the ledger what of one VM leaves one remote.

    What has to wait is counted all the same: a plan that would delete much must look so at once,
    not pass the guard one VM at a time, as each gets its new point.
    """
    if target.history is None or not target.points:
        return
    ledger.points_total += len(target.points)
    chains = world.chains(target.remote, target.history)
    doomed, good = _doomed(scope.job, target.points, chains, world.now)
    _wake_when_points_age(scope.job, target.points, draft)
    if not doomed:
        ledger.kept.append(target.points)
        return
    may = _may_prune(target, target.history)
    doomed = _without_spared(scope, target, doomed, good, draft if may else None)
    gone = {point.stamp for point in doomed}
    ledger.kept.append([point for point in target.points if point.stamp not in gone])
    if may:
        ledger.prunes.append(tuple(_prune(scope, target, point) for point in doomed))
    else:
        ledger.waiting.append(len(doomed))


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


def _doomed(
    job: Job, points: Sequence[RestorePoint], chains: Chains, now: datetime
) -> tuple[Sequence[RestorePoint], Sequence[RestorePoint]]:
    """Return the points that no rule keeps, and the good ones they are of, oldest first."""
    kept = _kept(job, points, now)
    if len(kept) == len(points):
        # Broken points would not count, which makes others stay longer: still nothing goes.
        return (), ()
    good = [point for point in reversed(points) if chains.is_whole(point)]  # whole chains at once
    good.reverse()
    if len(good) < len(points):
        kept = _kept(job, good, now)
    return [point for index, point in enumerate(good) if index not in kept], good


def _kept(job: Job, points: Sequence[RestorePoint], now: datetime) -> set[int]:
    """Return the positions of the points that stay."""
    kept: set[int] = set()
    counted: set[int] = set()
    for schedule in job.schedules:
        identity, rules = schedule.id, schedule.retention
        mine = [index for index, point in enumerate(points) if identity in point.schedules]
        counted.update(mine)
        if schedule.suspend or rules.keeps_everything:
            kept.update(mine)
        elif len(mine) == len(points):
            kept.update(rules.keep([point.taken_at for point in points], now))
        elif mine:
            stay = rules.keep([points[index].taken_at for index in mine], now)
            kept.update([mine[position] for position in stay])
    if len(counted) < len(points):
        kept.update(set(range(len(points))) - counted)
    return kept


def _without_spared(
    scope: Scope,
    target: Target,
    doomed: Sequence[RestorePoint],
    good: Sequence[RestorePoint],
    draft: Draft | None,
) -> Sequence[RestorePoint]:
    """Take out of the doomed what is safer kept. draft: where to say so, if it is time to."""
    subject = vm_on_remote(scope.vm.name, target.remote)
    last_good = {point.stamp for point in good[-max(scope.job.guard.good_min, 1) :]}
    going = [point for point in doomed if point.stamp not in last_good]
    if draft is None:
        return going
    for point in doomed:
        if point.stamp in last_good:
            why = "no rule keeps it, but too few good points would be left"
            draft.hold(subject, Reason.LAST_GOOD_POINT, why, _prune(scope, target, point))
    newest = target.points[-1].taken_at
    if newest > draft.now + CLOCK_TOLERANCE:
        return ()  # the planner says so, of the VM as a whole
    if newest > draft.now:
        why = f"its newest point is of {newest:%Y-%m-%d %H:%M:%S} UTC, and nothing goes before that"
        draft.hold(subject, Reason.CLOCK_BEHIND, why, until=newest)
        return ()
    return going


def _wake_when_points_age(job: Job, points: Sequence[RestorePoint], draft: Draft) -> None:
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


def _prune(scope: Scope, target: Target, point: RestorePoint) -> Prune:
    return Prune(
        remote=target.remote,
        vm=scope.vm.uuid,
        vm_name=scope.vm.name,
        job=scope.job.name,
        stamp=point.stamp,
        freed_bytes=point.size_bytes,
        due=target.points[-1].taken_at,
        reason=Reason.RETENTION_EXCEEDED,
    )
