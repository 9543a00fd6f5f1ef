"""Remove a snapshot of ours from a pool, or what an interrupted removal left of one.

Nothing is destroyed on the plan's word alone: each object is read again and must say that it is
ours, by its marks or by the name that a snapshot has until it is marked. Whatever is gone already
is done. A disk that is in use is waited for, for a while; nobody's device is unplugged.

A snapshot's disks are found by their marks once the snapshot itself is gone. So disks that have no
marks yet get them first.
"""

from functools import partial

from reconciler.executor.given_up import note
from reconciler.executor.pool_objects import (
    destroy_disk,
    destroy_vm,
    disks_of,
    find_vm,
    is_held,
    read_disk,
)
from reconciler.executor.refusal import Refused
from reconciler.executor.tools import Tools
from reconciler.ids import UUID, JobId, VmUuid, stamp_of
from reconciler.observed.marks import read_marks, write_disk_marks
from reconciler.observed.pool import SNAPSHOT_IN_PROGRESS, GivenUp, Marks
from reconciler.plan.actions import GIVEN_UP, CleanSnapshot
from reconciler.plan.reasons import Reason
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import GONE, XapiFailure
from reconciler.xapi.records import VdiRecord, VmRecord


async def run(action: CleanSnapshot, tools: Tools) -> None:
    """Destroy the snapshot and its disks. Raises XapiError, Refused."""
    client = await tools.pool(action.pool)
    owned: list[str] = []
    if action.snapshot is not None:
        snapshot = await find_vm(client, action.snapshot)
        if snapshot is not None:
            marks = await _ours(client, snapshot, action, tools)
            await _note_given_up(client, marks, action)
            owned = await _claim_disks(client, snapshot, marks)
            await destroy_vm(client, snapshot.ref)
    for uuid in dict.fromkeys([*owned, *action.disks]):
        await destroy_disk(client, uuid, partial(_require_ours, client))


async def _ours(
    client: XapiClient, snapshot: VmRecord, action: CleanSnapshot, tools: Tools
) -> Marks:
    """The marks of a snapshot that is ours to destroy, or those it was to have, by its name.

    Raises Refused if it is not ours.
    """
    where = f"snapshot {snapshot.name} ({snapshot.uuid})"
    if not snapshot.is_snapshot:
        raise Refused(Reason.WORLD_CHANGED, f"{where} is no snapshot")
    if busy := [operation for operation in snapshot.operations if operation != "destroy"]:
        raise Refused(Reason.VM_BUSY, f"{where} is busy: {', '.join(busy)}")
    try:
        marks = read_marks(snapshot.other_config, snapshot.uuid)
    except ValueError:
        marks = None
    if marks is not None and action.reason is Reason.SNAPSHOT_ORPHANED:
        # It was marked after the plan looked: a whole snapshot, which a point may be made from.
        raise Refused(Reason.WORLD_CHANGED, f"{where} is marked by now, and no orphan")
    if marks is None:
        marks = await _marks_by_name(client, snapshot, action, tools)
    if marks is None:
        raise Refused(Reason.WORLD_CHANGED, f"{where} is not marked as ours")
    if action.vm is not None and marks.vm != action.vm:
        raise Refused(Reason.WORLD_CHANGED, f"{where} is one of another VM")
    return marks


async def _note_given_up(client: XapiClient, marks: Marks, action: CleanSnapshot) -> None:
    """Say on the VM what is not taken up again, before all that tells of it is gone."""
    vm = await find_vm(client, marks.vm) if action.reason in GIVEN_UP else None
    if vm is not None and not vm.is_snapshot:
        said = GivenUp(marks.job, marks.stamp, marks.schedules, marks.requested, action.reason)
        await note(client, vm, said)


async def _marks_by_name(
    client: XapiClient, snapshot: VmRecord, action: CleanSnapshot, tools: Tools
) -> Marks | None:
    prefix, _, job = snapshot.name.partition(f"{SNAPSHOT_IN_PROGRESS}-")
    if prefix or not UUID.fullmatch(job):
        return None
    # of a VM that is gone, the plan's word will do, and else any: these marks only say "ours"
    vm = await _origin(client, snapshot) or action.vm or snapshot.uuid
    taken_at = snapshot.snapshot_time or tools.clock.now()
    return Marks(JobId(job), (), stamp_of(taken_at), VmUuid(vm))


async def _origin(client: XapiClient, snapshot: VmRecord) -> str | None:
    """Uuid of the VM that a snapshot is of, if it is still there."""
    if snapshot.snapshot_of is None:
        return None
    try:
        return str(await client.call("VM.get_uuid", snapshot.snapshot_of))
    except XapiFailure as failure:
        if failure.code in GONE:
            return None
        raise


async def _claim_disks(client: XapiClient, snapshot: VmRecord, marks: Marks) -> list[str]:
    """Mark the snapshot's disks that nobody else has, where they are not marked; their uuids.

    Its memory, if it has any, is one of them.
    """
    claimed = []
    disks = [disk for _, disk in await disks_of(client, snapshot)]
    if snapshot.memory is not None:
        disks += await _still_there(client, snapshot.memory)
    for disk in disks:
        if not disk.is_snapshot or await is_held(client, disk, but_for=snapshot.ref):
            continue
        if not _is_marked(disk):
            config = write_disk_marks(marks, disk.uuid, disk.other_config)
            await client.call("VDI.set_other_config", disk.ref, {**config})
        claimed.append(disk.uuid)
    return claimed


async def _still_there(client: XapiClient, ref: str) -> list[VdiRecord]:
    """A disk, unless it is gone."""
    try:
        return [await read_disk(client, ref)]
    except XapiFailure as failure:
        if failure.code in GONE:
            return []
        raise


async def _require_ours(client: XapiClient, disk: VdiRecord) -> None:
    if not disk.is_snapshot or not _is_marked(disk):
        raise Refused(Reason.WORLD_CHANGED, f"disk {disk.uuid} is not a snapshot of ours")
    if await is_held(client, disk) or await _is_memory(client, disk):
        raise Refused(Reason.WORLD_CHANGED, f"disk {disk.uuid} belongs to a VM")


async def _is_memory(client: XapiClient, disk: VdiRecord) -> bool:
    """Whether a snapshot of the VM that the disk is marked for has its memory there."""
    marks = read_marks(disk.other_config, disk.uuid)
    vm = await find_vm(client, marks.vm) if marks is not None and disk.type == "suspend" else None
    if vm is None:
        return False
    snapshots = await client.call("VM.get_snapshots", vm.ref)
    for ref in snapshots if isinstance(snapshots, list) else ():
        try:
            if await client.call("VM.get_suspend_VDI", ref) == disk.ref:
                return True
        except XapiFailure as failure:
            if failure.code not in GONE:
                raise
    return False


def _is_marked(disk: VdiRecord) -> bool:
    try:
        return read_marks(disk.other_config, disk.uuid) is not None
    except ValueError:
        return False
