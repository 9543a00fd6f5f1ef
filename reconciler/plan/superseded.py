"""Rule: which snapshots of a job the pool need not keep, because no next delta stands on them.

A snapshot costs space for as long as it stands, and is the base of the next delta for as long as
some destination has its point as the newest. Nothing goes on a doubt: while a destination is not
seen, all stay.
"""

from reconciler.desired.state import JobMode
from reconciler.ids import JobName, instant_of
from reconciler.observed.chain import RestorePoint
from reconciler.observed.progress import PlaceKind
from reconciler.observed.replica import Replica
from reconciler.plan import replica
from reconciler.plan.actions import CleanSnapshot
from reconciler.plan.draft import Draft
from reconciler.plan.files import files_of
from reconciler.plan.reasons import Reason
from reconciler.plan.scope import MarkedSnapshot, Scope, Target
from reconciler.plan.snapshot import excluded_disks
from reconciler.plan.world import World


def rule(world: World, scope: Scope, draft: Draft) -> None:
    """Plan to remove snapshots of a job that no destination needs any more.

    A job whose manifest has problems may have destinations that nobody can read of just now: its
    oldest snapshot, probably their base, stays too (only that one: a full backup costs less than a
    storage that snapshots have filled). Of those that are restore points retention decides.
    """
    if not scope.snapshots or scope.job.mode is JobMode.SNAPSHOT or _is_plainly_needed(scope):
        return
    going = unneeded(world, scope)
    protected = scope.job.id in world.desired.protected_jobs
    for snapshot in scope.snapshots[1:] if protected else scope.snapshots:
        if snapshot in going and not snapshot.marks.rolling:
            draft.do(clean_snapshot(scope, snapshot, _why(scope, snapshot)))


def _why(scope: Scope, snapshot: MarkedSnapshot) -> Reason:
    """Say why a snapshot is not needed: points were made of it, or newer ones, or nobody waits."""
    stopped = {target.stopped for target in scope.targets} - {None}
    if snapshot is not scope.newest_snapshot() or not stopped:
        return Reason.SNAPSHOT_SUPERSEDED
    return Reason.RUN_CANCELLED if Reason.RUN_CANCELLED in stopped else Reason.TIMED_OUT


def unneeded(world: World, scope: Scope) -> list[MarkedSnapshot]:
    """Return the snapshots that no destination of a job needs, oldest first.

    Needed is the newest one while some destination lacks its point, and each one of which a disk
    is the tip of a chain on some remote of the job, or what a replica on some SR equals: the next
    delta stands on it. While a destination (or the VM's part of it) is not seen, all are.
    """
    if any(target.history is None for target in scope.targets) or scope.vm.busy:
        return []
    if world.mode_on_pool(scope.pool, scope.vm.uuid) is not None:
        return []
    exported = scope.newest_snapshot() if any(each.exporting for each in scope.targets) else None
    bases = _bases(world, scope)
    return [
        snapshot
        for snapshot in scope.snapshots
        if snapshot is not exported
        and not any(disk.uuid in bases for disk in snapshot.snapshot.disks)
    ]


def _is_plainly_needed(scope: Scope) -> bool:
    """Recognise the usual states at a glance: each snapshot is the newest point somewhere, but for
    the one that is being sent.
    """
    if scope.job.mode is not JobMode.INCREMENTAL:
        return False
    newest = {
        target.points[-1].stamp for target in scope.targets if target.points and _is_base(target)
    }
    if any(target.exporting for target in scope.targets):
        sent = scope.newest_snapshot()
        return all(each is sent or each.stamp in newest for each in scope.snapshots)
    return all(each.stamp in newest for each in scope.snapshots)


def _is_base(target: Target) -> bool:
    match target.points[-1]:
        case RestorePoint(archive=archive):
            return not archive
        case Replica() as point:
            return replica.is_base(point)
        case _:
            return False


def _bases(world: World, scope: Scope) -> set[str]:
    """Return the uuids of the disk snapshots that the next delta to any destination stands on.

    On a remote those are of the newest files of the disks that snapshots are of.
    """
    if scope.job.mode is not JobMode.INCREMENTAL:
        return set()
    disks = {disk.disk for snapshot in scope.snapshots for disk in snapshot.snapshot.disks}
    disks.difference_update(excluded_disks(scope.job, scope.vm))
    found: set[str] = set()
    for target in scope.targets:
        if target.site.kind is not PlaceKind.REMOTE:
            found |= replica.bases(scope, target)
            continue
        assert target.history is not None
        files = files_of(world, target.site.remote, target.history)
        for disk in disks:
            tip = files.tip(f"vdis/{scope.job.id}/{disk}")
            if tip is not None:
                found.add(tip.uuid)
    return found


def clean_snapshot(
    scope: Scope, snapshot: MarkedSnapshot, reason: Reason, job: JobName | None = None
) -> CleanSnapshot:
    """Return the action that removes a snapshot. job: whose retention lets go of it."""
    return CleanSnapshot(
        pool=scope.pool,
        vm=scope.vm.uuid,
        vm_name=scope.vm.name,
        snapshot=snapshot.uuid,
        disks=tuple(disk.uuid for disk in snapshot.snapshot.disks),
        due=instant_of(scope.snapshots[-1].stamp),
        reason=reason,
        job=job,
    )
