"""Rule: replicas on SRs: what an update stands on, which ones leave, what is left over.

A replica's point can be updated by a difference if the snapshots that its disks equal are still
on the pool of the VM. A replica that somebody started or changed is theirs: the next update makes
a new one beside it, from the last point, and only points of the old one leave, when their time has
come. One that another tool made under the job's id is that tool's: a point to restore from, which
answers its slot, and nothing else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reconciler.desired.state import JobMode
from reconciler.ids import DiskSnapshotUuid, PoolName, Stamp, VmUuid
from reconciler.observed.pool import DiskSnapshot, PoolView
from reconciler.observed.progress import PlaceKind
from reconciler.observed.replica import Replica, ReplicaDisk, ReplicaKind, ReplicaState
from reconciler.observed.replica_marks import replica_name
from reconciler.plan.actions import CleanReplica, DiskExport, ExportKind, PruneReplica
from reconciler.plan.draft import Draft
from reconciler.plan.lineage import has_base, keeps_failing
from reconciler.plan.reasons import Reason
from reconciler.plan.scope import MarkedSnapshot, Scope, Target
from reconciler.plan.slots import Point
from reconciler.plan.world import Obstacle, World

# ── updates ───────────────────────────────────────────────────────────────────────────────────────


def disks(
    scope: Scope, target: Target, snapshot: MarkedSnapshot, *, deltas_fail: bool = False
) -> tuple[VmUuid | None, Stamp | None, tuple[DiskExport, ...]]:
    """Say which replica is updated, from which point of it, and how each disk gets there.

    No replica: a new one is made, from a point if there is one. A disk that cannot be updated
    comes whole, and only this disk, only there. deltas_fail: the pool could not read them, several
    times.
    """
    newest = _newest(target)
    found = snapshot.disks
    if newest is None:
        return None, None, tuple(_export(disk, Reason.FIRST_BACKUP) for disk in found)
    held = {disk.disk: disk for disk in newest.disks if disk.disk is not None}
    exports = []
    for disk in found:
        known = None if disk.disk is None else held.get(disk.disk)
        if known is None:
            exports.append(_export(disk, Reason.DISK_ADDED))
        elif (unfit := _unfit(scope, known, disk, snapshot.stamp)) is not None:
            exports.append(_export(disk, unfit))
        elif deltas_fail:
            exports.append(_export(disk, Reason.DELTA_FAILED))
        else:
            reason = Reason.BASE_PRESENT if newest.clean else Reason.REPLICA_CHANGED
            exports.append(_export(disk, reason, known.source))
    return newest.replica if newest.clean else None, newest.stamp, tuple(exports)


def bases(scope: Scope, target: Target) -> set[DiskSnapshotUuid]:
    """Return the disk snapshots that the next update of an SR's replica is a difference to."""
    newest = _newest(target) if target.site.kind is PlaceKind.SR else None
    if newest is None or scope.job.mode is not JobMode.INCREMENTAL:
        return set()
    return {disk.source for disk in newest.disks}


def wait_for(world: World, target: Target) -> Obstacle | None:
    """Say what is removed first, by this same plan, unless that keeps failing."""
    if len(target.replicas) == len(target.points):
        return None  # all of them are whole
    for replica in target.replicas:
        if _is_left_over(replica, target.replicas):
            clean = _clean(target.site.pool, target.site.sr_name, replica)
            if not keeps_failing(world, clean):
                why = "what an interrupted replication left is removed first"
                return Obstacle(Reason.REPLICA_INTERRUPTED, why)
    return None


def _newest(target: Target) -> Replica | None:
    """Return the newest point there of a replica of ours that is updated."""
    for replica in reversed(target.replicas):
        if replica.state is ReplicaState.WHOLE and is_base(replica):
            return replica
    return None


def is_base(point: Replica) -> bool:
    """Say whether a point is of a replica that updates go on from."""
    return point.kind is ReplicaKind.UPDATED and point.ours


def _unfit(scope: Scope, known: ReplicaDisk, disk: DiskSnapshot, stamp: Stamp) -> Reason | None:
    """Say why a disk of a replica cannot take a difference; None if it can."""
    assert disk.disk is not None
    if not has_base(scope, known.source, disk.disk, stamp):
        return Reason.REFERENCE_SNAPSHOT_LOST
    return Reason.DISK_SHRUNK if known.size_bytes > disk.size_bytes else None


def _export(disk: DiskSnapshot, reason: Reason, base: DiskSnapshotUuid | None = None) -> DiskExport:
    assert disk.disk is not None, "a snapshot with a nameless disk is not exported"
    return DiskExport(
        disk=disk.disk,
        snapshot=disk.uuid,
        kind=ExportKind.FULL if base is None else ExportKind.DELTA,
        reason=reason,
        base=base,
        estimate_bytes=disk.size_bytes if base is None else 0,
    )


# ── what leaves ───────────────────────────────────────────────────────────────────────────────────


def prunes(scope: Scope, target: Target, doomed: Sequence[Point]) -> list[PruneReplica]:
    """Return the actions that take points off an SR.

    A replica that is not updated any more, and of which all points go, goes with the last of them;
    one that somebody uses stays theirs.
    """
    going = [point for point in doomed if isinstance(point, Replica)]
    gone = {id(point) for point in going}
    current = _newest(target)
    kept = {
        each.replica
        for each in target.replicas
        if each.state is ReplicaState.WHOLE and id(each) not in gone
    }
    if current is not None:
        kept.add(current.replica)
    return [
        _prune(
            scope,
            target,
            point,
            with_replica=point.kind is ReplicaKind.UPDATED
            and point.clean
            and point.replica not in kept,
        )
        for point in going
    ]


def _prune(scope: Scope, target: Target, point: Replica, *, with_replica: bool) -> PruneReplica:
    return PruneReplica(
        target_pool=target.site.pool,
        sr=target.site.sr,
        vm=scope.vm.uuid,
        vm_name=scope.vm.name,
        job=scope.job.name,
        job_id=scope.job.id,
        stamp=point.stamp,
        replica=point.replica,
        snapshot=point.snapshot,
        due=target.points[-1].taken_at,
        reason=Reason.RETENTION_EXCEEDED,
        with_replica=with_replica,
        sr_name=target.site.sr_name,
    )


# ── what is left over ─────────────────────────────────────────────────────────────────────────────


def clean_interrupted(world: World, pool: PoolName, view: PoolView, draft: Draft) -> None:
    """Plan to remove what interrupted replications of our jobs left, where none is under way.

    One that ended as a replica's disks changed over left all points, and a name that is not true.
    """
    renamed: set[VmUuid] = set()
    for replica in view.replicas:
        is_whole = replica.state is ReplicaState.WHOLE
        if is_whole and not (replica.importing and replica.ours and replica.clean):
            continue
        job = world.jobs_by_id.get(replica.job)
        if job is None or job.suspend or job.id in world.desired.protected_jobs:
            continue
        if world.mode_on_sr(pool, replica.sr, replica.vm) is not None:
            continue
        clean = _clean(pool, view.sr_name(replica.sr), replica)
        if is_whole and replica.replica not in renamed:
            renamed.add(replica.replica)
            draft.do(replace(clean, rename=replica_name(replica.vm_name, job.name)))
        elif _is_left_over(replica, world.replicas(view, replica.sr, replica.vm)):
            draft.do(clean)


def _is_left_over(replica: Replica, beside: Iterable[Replica]) -> bool:
    """Say whether an unfinished replica is nothing that a restore point stands on."""
    return replica.state is ReplicaState.INTERRUPTED and not any(
        each.replica == replica.replica and each.state is ReplicaState.WHOLE for each in beside
    )


def _clean(pool: PoolName, sr_name: str, replica: Replica) -> CleanReplica:
    return CleanReplica(
        target_pool=pool,
        sr=replica.sr,
        vm=replica.vm,
        vm_name=replica.vm_name,
        job_id=replica.job,
        replica=replica.replica,
        due=replica.taken_at,
        reason=Reason.REPLICA_INTERRUPTED,
        sr_name=sr_name,
    )
