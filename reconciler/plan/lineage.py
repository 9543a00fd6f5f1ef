"""Rule: which snapshot becomes a restore point where, and each disk's way there: full or delta.

Each remote follows its own reference. A disk goes as a delta only if the newest file of its chain
*on that remote* was exported from a snapshot that is still on the pool: the id in the file's own
footer says so, no record of ours does. Otherwise it goes whole, with the reason why, and only this
disk, only there. A chain of files that cannot be followed to its full is never added to.

A disk whose file for this snapshot is already there and whole (the export was interrupted later)
is not sent again. The action names it all the same: a point has all the disks of its snapshot.
"""

from collections.abc import Mapping
from datetime import datetime

from reconciler.ids import DiskUuid, JobId, ScheduleId, Stamp, instant_of
from reconciler.observed.chain import DiskFile, History
from reconciler.observed.pool import DiskSnapshot
from reconciler.plan.actions import Action, DiskExport, Export, ExportKind, id_of
from reconciler.plan.debris import clean_garbage
from reconciler.plan.draft import Draft
from reconciler.plan.files import directory_of, files_of
from reconciler.plan.merge import merge_to_finish
from reconciler.plan.reasons import Reason
from reconciler.plan.shelf import Files
from reconciler.plan.world import (
    MarkedSnapshot,
    Obstacle,
    Scope,
    Slot,
    Target,
    World,
    answered,
    slot_at,
    vm_on_remote,
)

_FAILURES_MAX = 3  # of tidying up a chain; then exports wait for it no longer


def rule(world: World, scope: Scope, slots: Mapping[ScheduleId, Slot], draft: Draft) -> None:
    """Plan the export of the newest snapshot to each target that lacks its point.

    slots: of all schedules of the job, suspended ones too: what was begun is finished.
    """
    if not scope.snapshots or not any(_may_lack(target, scope) for target in scope.targets):
        return
    snapshot = scope.newest_snapshot()
    if snapshot is None:
        return
    for target in scope.targets:
        if target.history is None or not _lacks(target, snapshot):
            continue
        wanted = _wanted(scope, target, snapshot, slots)
        if wanted is None:
            continue
        target.exporting = True
        schedules, due = wanted
        files = files_of(world, target.remote, target.history)
        action = Export(
            pool=scope.pool,
            remote=target.remote,
            vm=scope.vm.uuid,
            vm_name=scope.vm.name,
            job=scope.job.name,
            job_id=scope.job.id,
            schedules=schedules,
            snapshot=snapshot.uuid,
            stamp=snapshot.stamp,
            disks=_disks(scope, target, snapshot, files),
            due=due,
            reason=Reason.POINT_MISSING if schedules else Reason.REQUESTED,
        )
        obstacle = target.obstacle or _wait_for(world, target, target.history, files, action)
        if obstacle is None:
            draft.do(action)
        else:
            subject = vm_on_remote(scope.vm.name, target.remote)
            draft.hold(subject, obstacle.reason, obstacle.why, action)


def _directory(job: JobId, disk: DiskUuid) -> str:
    return f"vdis/{job}/{disk}"


def _may_lack(target: Target, scope: Scope) -> bool:
    return target.history is not None and _lacks(target, scope.snapshots[-1])


def _lacks(target: Target, snapshot: MarkedSnapshot) -> bool:
    return not target.points or target.points[-1].stamp < snapshot.stamp


def _wanted(
    scope: Scope, target: Target, snapshot: MarkedSnapshot, slots: Mapping[ScheduleId, Slot]
) -> tuple[tuple[ScheduleId, ...], datetime] | None:
    """Return the schedules that the point is for on this remote, and since when it is owed.

    None: nobody asks for it here. The slots may be answered here already (the snapshot was taken
    for another remote), or their schedules are gone. A snapshot made by hand is for all remotes.
    """
    open_slots: dict[ScheduleId, datetime] = {}
    for schedule in snapshot.marks.schedules:
        if schedule in slots and (scope.matched or slots[schedule].stamp <= snapshot.stamp):
            at = slot_at(slots, schedule, snapshot.stamp)
            if not answered(target.points, schedule, at):
                open_slots[schedule] = at
    if open_slots:
        return tuple(open_slots), min(open_slots.values())
    if not scope.matched:
        return None  # the job chose the VM when the snapshot was made, and does not any more
    if target.requested is not None and instant_of(snapshot.stamp) >= target.requested:
        return (), target.requested
    return None if snapshot.marks.schedules else ((), instant_of(snapshot.stamp))


def _disks(
    scope: Scope, target: Target, snapshot: MarkedSnapshot, files: Files
) -> tuple[DiskExport, ...]:
    exports = []
    for disk in snapshot.snapshot.disks:
        assert disk.disk is not None, "a snapshot with a nameless disk is not exported"
        directory = _directory(scope.job.id, disk.disk)
        name = f"{snapshot.stamp}.vhd"
        present = files.chains.files.get(f"{directory}/{name}")
        if (
            present is not None
            and present.uuid == disk.uuid
            and files.chains.depth(present.path) > 0
        ):
            exports.append(
                DiskExport(
                    disk=disk.disk,
                    snapshot=disk.uuid,
                    kind=ExportKind.FULL if present.parent is None else ExportKind.DELTA,
                    reason=Reason.ALREADY_EXPORTED,
                    base=present.parent_uuid,
                    base_file=present.parent,
                )
            )
            continue
        exports.append(_disk(scope, target, disk, disk.disk, name, files))
    return tuple(exports)


def _disk(
    scope: Scope, target: Target, disk: DiskSnapshot, live: DiskUuid, name: str, files: Files
) -> DiskExport:
    tip = files.tip(_directory(scope.job.id, live))
    if tip is None:
        full = Reason.DISK_ADDED if target.points else Reason.FIRST_BACKUP
    elif (unfit := _unfit(scope, tip, disk, live, name, files)) is not None:
        full = unfit
    else:
        return DiskExport(
            disk=live,
            snapshot=disk.uuid,
            kind=ExportKind.DELTA,
            reason=Reason.BASE_PRESENT,
            base=tip.uuid,
            base_file=tip.file_name,
            # What changed is not known before it is read; the last delta is the best guess.
            estimate_bytes=tip.data_bytes if tip.parent is not None else 0,
        )
    return DiskExport(
        disk=live,
        snapshot=disk.uuid,
        kind=ExportKind.FULL,
        reason=full,
        estimate_bytes=disk.size_bytes,
    )


def _unfit(
    scope: Scope, tip: DiskFile, disk: DiskSnapshot, live: DiskUuid, name: str, files: Files
) -> Reason | None:
    """Say why no delta can stand on the tip; None if one can."""
    length = files.chains.depth(tip.path)
    if length == 0 or tip.file_name >= name or files.chains.carries(tip):
        return Reason.CHAIN_BROKEN
    if scope.job.full_every and length >= scope.job.full_every:
        return Reason.KEY_INTERVAL_REACHED
    if not _has_base(scope, tip, live, Stamp(name.removesuffix(".vhd"))):
        return Reason.REFERENCE_SNAPSHOT_LOST
    return Reason.DISK_SHRUNK if tip.virtual_bytes > disk.size_bytes else None


def _has_base(scope: Scope, tip: DiskFile, live: DiskUuid, before: Stamp) -> bool:
    return any(
        disk.uuid == tip.uuid and disk.disk == live
        for snapshot in scope.snapshots
        if snapshot.stamp < before
        for disk in snapshot.snapshot.disks
    )


def _wait_for(
    world: World, target: Target, history: History, files: Files, action: Export
) -> Obstacle | None:
    """Say what is done to the chains first, by this same plan.

    Tidying up that keeps failing holds up no backup: then the disk goes whole, into a new chain.
    """
    if not history.merges and not files.garbage:
        return None
    to_send = action.disks_to_send
    directories = {_directory(action.job_id, disk.disk) for disk in to_send}
    for merge in history.merges:
        if directory_of(merge.source) in directories and not _keeps_failing(
            world, merge_to_finish(world, target.remote, history, merge)
        ):
            why = "a begun merge of its chain is finished first"
            return Obstacle(Reason.MERGE_INTERRUPTED, why)
    in_the_way = {
        _directory(action.job_id, disk.disk) for disk in to_send if disk.kind is ExportKind.FULL
    }
    if not history.unreadable and any(directory_of(path) in in_the_way for path in files.garbage):
        clean = clean_garbage(world, target.remote, history, files)
        if clean is not None and not _keeps_failing(world, clean):
            why = "left-over files of its chain are removed first"
            return Obstacle(Reason.FILE_UNREFERENCED, why)
    return None


def _keeps_failing(world: World, action: Action) -> bool:
    attempt = world.observed.progress.ended.get(id_of(action))
    if attempt is None or attempt.succeeded:
        return False
    return attempt.not_before is None or attempt.count >= _FAILURES_MAX
