"""Import one snapshot whole into an SR, as a VM of its own: disaster recovery.

Each copy is a restore point and needs no other. It cannot be started by accident; who wants to use
it unblocks it, and it is theirs then. The pool makes the VM from the archive's description; it is
marked as in the making before it can be whole, and as a point when it is. Old copies are taken away
by actions of their own, once this one is seen.
"""

import asyncio
from typing import Any

from reconciler.executor.imported_vm import find_new
from reconciler.executor.pool_objects import disks_of, read_vm
from reconciler.executor.pool_streams import vm_stream
from reconciler.executor.readings import Readings
from reconciler.executor.refusal import Refused
from reconciler.executor.replica_config import blocked
from reconciler.executor.tools import Tools
from reconciler.executor.vm_records import collect
from reconciler.ids import DiskSnapshotUuid, DiskUuid
from reconciler.observed.marks import SOURCE_KEY
from reconciler.observed.replica_marks import (
    DiskOrigin,
    ReplicaMarks,
    read_point,
    write_disk_point,
    write_point,
    write_unfinished,
)
from reconciler.plan.actions import CopyVm, id_of
from reconciler.plan.reasons import Reason
from reconciler.transfer.vm_import_sink import VmImportSink
from reconciler.xapi.archives import VmImport, open_vm_import
from reconciler.xapi.client import XapiClient
from reconciler.xapi.records import VmRecord

_TAG = "Disaster Recovery"


async def run(action: CopyVm, tools: Tools) -> None:
    """Import the VM, then mark it as a point; nothing is done if it is there.

    Raises XapiError, StreamError, Refused.
    """
    assert tools.readings is not None, "a copy reads from a pool"
    pool = await tools.pool(action.pool)
    target = await tools.pool(action.target_pool)
    marks = ReplicaMarks(
        action.job_id, action.schedules, action.stamp, action.vm, action.vm_name, action.sr
    )
    if await _is_there(target, action, marks):
        return
    records = await collect(pool, action.vm, action.snapshot)
    origins = {
        str(vbd["userdevice"]): _origin(records.vdis[str(vbd["VDI"])])
        for vbd in records.vbds.values()
    }
    sr = str(await target.call("SR.get_by_uuid", action.sr))
    vm = await _import(action, tools, tools.readings, pool, target, sr, records.snapshot, marks)
    await _finish(target, action, marks, vm, origins)


def _label(action: CopyVm) -> str:
    """As Xen Orchestra calls a copy; its tools find the date at the end."""
    return f"{action.vm_name} - {action.job} - ({action.stamp})"


def _origin(vdi: Any) -> DiskOrigin:
    disk = vdi.get("$snapshot_of$uuid")
    return DiskOrigin(DiskSnapshotUuid(vdi["uuid"]), DiskUuid(disk) if disk else None)


async def _is_there(client: XapiClient, action: CopyVm, marks: ReplicaMarks) -> bool:
    for ref in await client.call("VM.get_by_name_label", _label(action)):
        vm = await read_vm(client, ref)
        if read_point(vm.other_config, vm.uuid) == marks:
            return True
    return False


async def _import(
    action: CopyVm,
    tools: Tools,
    readings: Readings,
    pool: XapiClient,
    target: XapiClient,
    sr: str,
    snapshot: Any,
    marks: ReplicaMarks,
) -> VmRecord:
    async def opened() -> VmImport:
        return await open_vm_import(target, sr, label=action.vm_name)

    sink = VmImportSink(opened)

    async def mark() -> None:
        new = await find_new(target, await sink.task(), [snapshot["name_label"]])
        await _mark_new(target, new, marks)
        sink.release()

    async with asyncio.TaskGroup() as group:
        marking = group.create_task(mark())
        await readings.receive_archive(
            id_of(action),
            action.compression,
            sink,
            lambda: vm_stream(action, tools, pool),
            tools.gauge,
        )
        if not marking.done():
            marking.cancel()  # it was over too soon for anybody to look
    if len(sink.made) != 1:
        raise Refused(Reason.WORLD_CHANGED, f"{len(sink.made)} VMs came of one archive")
    vm = await read_vm(target, sink.made[0])
    await _mark_new(target, vm, marks)
    return await read_vm(target, vm.ref)


async def _mark_new(client: XapiClient, vm: VmRecord, marks: ReplicaMarks) -> None:
    """Say that a VM is in the making, and keep it from being started."""
    config = write_unfinished(marks, vm.uuid, vm.other_config)
    await client.call("VM.set_other_config", vm.ref, {**config})
    await client.call("VM.set_blocked_operations", vm.ref, {**blocked()})
    await client.call("VM.set_name_label", vm.ref, f"[Importing…] {marks.vm_name}")


async def _finish(
    client: XapiClient,
    action: CopyVm,
    marks: ReplicaMarks,
    vm: VmRecord,
    origins: dict[str, DiskOrigin],
) -> None:
    await client.call("VM.set_is_a_template", vm.ref, False)
    await client.call("VM.set_ha_restart_priority", vm.ref, "")
    await client.call("VM.add_tags", vm.ref, _TAG)
    for vbd, disk in await disks_of(client, vm):
        origin = origins.get(vbd.position)
        if origin is None:
            raise Refused(Reason.WORLD_CHANGED, f"disk {vbd.position} of {vm.name} is unexpected")
        config = write_disk_point(marks, origin, origin.source, disk.uuid, disk.other_config)
        await client.call("VDI.set_other_config", disk.ref, {**config})
    await client.call("VM.set_name_label", vm.ref, _label(action))
    config = write_point(marks, vm.uuid, vm.other_config) | {SOURCE_KEY: action.snapshot}
    await client.call("VM.set_other_config", vm.ref, {**config})
