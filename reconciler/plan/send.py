"""Rule: which snapshot becomes a restore point where.

One action for each destination that lacks the point of the newest snapshot. They share nothing
here: each has its own base, its own obstacles, its own way to end. That those of one snapshot
start together is for `admit` to see to.

    mode         on a remote               on an SR
    Incremental  Export: disks, chained    Replicate: the replica is updated
    Full         Archive: the whole VM     CopyVm: the whole VM, as one more
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TypedDict

from reconciler.desired.state import JobMode
from reconciler.ids import (
    JobId,
    JobName,
    PoolName,
    ScheduleId,
    SnapshotUuid,
    Stamp,
    VmUuid,
    instant_of,
)
from reconciler.observed.progress import PlaceKind
from reconciler.plan import cancel, lineage, replica
from reconciler.plan.actions import (
    Archive,
    CopyVm,
    DiskExport,
    Export,
    Replicate,
    Sending,
)
from reconciler.plan.draft import Draft
from reconciler.plan.reasons import Reason
from reconciler.plan.scope import MarkedSnapshot, Scope, Target, vm_at
from reconciler.plan.slots import Slot, answered, slot_at
from reconciler.plan.world import Obstacle, World

_Debt = tuple[tuple[ScheduleId, ...], datetime]
"""The schedules that a point is for at a destination, and since when it is owed there."""


class _Named(TypedDict):
    """What all that sends a snapshot says of it."""

    pool: PoolName
    vm: VmUuid
    vm_name: str
    job: JobName
    job_id: JobId
    schedules: tuple[ScheduleId, ...]
    snapshot: SnapshotUuid
    stamp: Stamp
    due: datetime
    reason: Reason


def rule(world: World, scope: Scope, slots: Mapping[ScheduleId, Slot], draft: Draft) -> None:
    """Plan to send the newest snapshot to each target that lacks its point.

    slots: of all schedules of the job, suspended ones too: what was begun is finished.
    """
    if not scope.snapshots or scope.job.mode is JobMode.SNAPSHOT:
        return
    if world.observed.progress.running:
        _end_older(world, scope, slots, draft)
    if not any(_may_lack(target, scope) for target in scope.targets):
        return
    snapshot = scope.newest_snapshot()
    if snapshot is None:
        return
    for target in scope.targets:
        if target.history is None or not _lacks(target, snapshot):
            continue
        wanted = _wanted(world, scope, target, snapshot, slots)
        if wanted is None:
            continue
        action = _action(world, scope, target, snapshot, wanted)
        if cancel.stops(world, scope, target, action, slots, draft):
            continue
        target.exporting = True
        obstacle = target.obstacle or _wait_for(world, scope, target, action)
        if obstacle is None:
            draft.do(action)
        else:
            subject = vm_at(scope.vm.name, target.site)
            draft.hold(subject, obstacle.reason, obstacle.why, action)


def _may_lack(target: Target, scope: Scope) -> bool:
    return target.history is not None and _lacks(target, scope.snapshots[-1])


def _lacks(target: Target, snapshot: MarkedSnapshot) -> bool:
    return not target.points or target.points[-1].stamp < snapshot.stamp


def _end_older(world: World, scope: Scope, slots: Mapping[ScheduleId, Slot], draft: Draft) -> None:
    """End what still sends an older snapshot, and is over."""
    for target in scope.targets:
        if not target.receiving or len(scope.snapshots) < 2:
            continue
        for snapshot in scope.snapshots:
            if snapshot is not scope.newest_snapshot():
                debt = _wanted(world, scope, target, snapshot, slots)
                wanted = debt or ((), snapshot.taken_at)
                action = _made(scope, target, snapshot, wanted)
                cancel.end_if_over(world, scope, action, draft)


def _wanted(
    world: World,
    scope: Scope,
    target: Target,
    snapshot: MarkedSnapshot,
    slots: Mapping[ScheduleId, Slot],
) -> _Debt | None:
    """Return the schedules that the point is for at this destination, and since when it is owed.

    None: nobody asks for it here. The schedules may have other destinations, the slots may be
    answered here already (the snapshot was taken for another), or their schedules are gone. One
    that answers a request is for all destinations.
    """
    open_slots: dict[ScheduleId, datetime] = {}
    for schedule in snapshot.marks.schedules:
        if schedule not in slots or schedule not in target.site.schedules:
            continue
        if scope.matched or slots[schedule].stamp <= snapshot.stamp:
            at = slot_at(slots, schedule, snapshot.stamp)
            if not answered(target.points, schedule, at):
                open_slots[schedule] = at
    if open_slots:
        return tuple(open_slots), min(open_slots.values())
    if not scope.matched:
        return None  # the job chose the VM when the snapshot was made, and does not any more
    if target.requested is not None and instant_of(snapshot.stamp) >= target.requested:
        return (), target.requested
    if snapshot.marks.requested is not None:
        return (), instant_of(snapshot.marks.requested)
    return None if snapshot.marks.schedules else ((), instant_of(snapshot.stamp))


def _action(
    world: World, scope: Scope, target: Target, snapshot: MarkedSnapshot, debt: _Debt
) -> Sending:
    """Make the action that sends a snapshot to a target."""
    fail = bool(world.observed.progress.ended) and lineage.deltas_fail(
        world, _made(scope, target, snapshot, debt)
    )
    if scope.job.mode is JobMode.FULL:
        return _made(scope, target, snapshot, debt)
    if target.site.kind is PlaceKind.REMOTE:
        disks = lineage.disks(world, scope, target, snapshot, deltas_fail=fail)
        blocks = lineage.in_blocks(world, target.site.remote)
        return _made(scope, target, snapshot, debt, disks, blocks=blocks)
    updated, base, disks = replica.disks(scope, target, snapshot, deltas_fail=fail)
    return _made(scope, target, snapshot, debt, disks, updated=updated, base=base)


def _made(
    scope: Scope,
    target: Target,
    snapshot: MarkedSnapshot,
    debt: _Debt,
    disks: tuple[DiskExport, ...] = (),
    *,
    blocks: bool = False,
    updated: VmUuid | None = None,
    base: Stamp | None = None,
) -> Sending:
    """Make it with what is known of its disks: its id is right without any."""
    schedules, due = debt
    site, settings = target.site, scope.job.settings
    named = _Named(
        pool=scope.pool,
        vm=scope.vm.uuid,
        vm_name=scope.vm.name,
        job=scope.job.name,
        job_id=scope.job.id,
        schedules=schedules,
        snapshot=snapshot.uuid,
        stamp=snapshot.stamp,
        due=due,
        reason=Reason.POINT_MISSING if schedules else Reason.REQUESTED,
    )
    if scope.job.mode is not JobMode.FULL:
        if site.kind is PlaceKind.REMOTE:
            return Export(
                **named,
                remote=site.remote,
                disks=disks,
                blocks=blocks,
                checksums=scope.job.verification is not None,
            )
        return Replicate(
            **named,
            target_pool=site.pool,
            sr=site.sr,
            sr_name=site.sr_name,
            replica=updated,
            base=base,
            disks=disks,
        )
    size = sum(disk.size_bytes for disk in snapshot.snapshot.disks)
    if site.kind is PlaceKind.REMOTE:
        return Archive(
            **named, remote=site.remote, compression=settings.compression, estimate_bytes=size
        )
    return CopyVm(
        **named,
        target_pool=site.pool,
        sr=site.sr,
        sr_name=site.sr_name,
        compression=settings.compression,
        estimate_bytes=size,
    )


def _wait_for(world: World, scope: Scope, target: Target, action: Sending) -> Obstacle | None:
    match action:
        case Export():
            return lineage.wait_for(world, target, action)
        case Replicate() | CopyVm():
            return replica.wait_for(world, target)
        case Archive():
            return None
