"""Replicas on their pool: found, and taken away VM by VM, disk by disk.

What is taken away is marked first as in the making, in one call, so that it is no restore point
from then on, and whatever interrupts the rest is seen and finished by the next plan. A VM goes
after its disks, so that none of them is ever left without one. Only disks that we made are
destroyed, and only where no other VM has them.
"""

from functools import partial

from reconciler.executor.pool_objects import (
    destroy_disk,
    destroy_vm,
    disks_of,
    is_held,
    read_disk,
    read_vm,
)
from reconciler.executor.refusal import Refused
from reconciler.observed.marks import OWNER, OWNER_KEY, SR_KEY
from reconciler.observed.pool import PowerState
from reconciler.observed.replica_marks import (
    ReplicaMarks,
    read_point,
    staging_name,
    write_unfinished,
)
from reconciler.plan.reasons import Reason
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import GONE, XapiFailure
from reconciler.xapi.records import VdiRecord, VmRecord


async def points_of(client: XapiClient, replica: str) -> list[tuple[ReplicaMarks, VmRecord]]:
    """The points of a replica (a reference), its marked snapshots. Raises XapiError."""
    found = []
    for ref in await client.call("VM.get_snapshots", replica):
        try:
            snapshot = await read_vm(client, ref)
        except XapiFailure as failure:
            if failure.code in GONE:
                continue
            raise
        marks = read_point(snapshot.other_config, snapshot.uuid)
        if marks is not None:
            found.append((marks, snapshot))
    return found


def require_unused(vm: VmRecord) -> None:
    """Raise Refused if somebody uses a VM that is to go, or does something to it right now."""
    where = f"replica {vm.name} ({vm.uuid})"
    if busy := [operation for operation in vm.operations if operation != "destroy"]:
        raise Refused(Reason.VM_BUSY, f"{where} is busy: {', '.join(busy)}")
    if vm.is_snapshot:
        return
    if vm.power_state != PowerState.HALTED:
        raise Refused(Reason.REPLICA_CHANGED, f"{where} was started: it is somebody's by now")


async def unmark(client: XapiClient, vm: VmRecord, marks: ReplicaMarks) -> None:
    """Say that something is no restore point any more. Raises XapiError."""
    config = write_unfinished(marks, vm.uuid, vm.other_config)
    await client.call("VM.set_other_config", vm.ref, {**config})


async def remove(client: XapiClient, vm: VmRecord, marks: ReplicaMarks) -> None:
    """Destroy a VM, or a snapshot, that is marked as in the making, and what it alone has.

    Raises XapiError, Refused.
    """
    for ref in await client.call("VDI.get_by_name_label", _staging(marks)):
        # made, and not yet given to the VM that it was made for
        disk = await read_disk(client, ref)
        if disk.other_config.get(SR_KEY) != marks.sr:
            continue
        if _is_made_by_us(disk) and not await is_held(client, disk, vm.ref):
            await _destroy(client, vm, disk.uuid)
    for _, disk in await disks_of(client, vm):
        if _is_made_by_us(disk) and not await is_held(client, disk, vm.ref):
            await _destroy(client, vm, disk.uuid)
    await destroy_vm(client, vm.ref)


def _staging(marks: ReplicaMarks) -> str:
    return staging_name(marks.job, marks.vm, marks.stamp)


async def _destroy(client: XapiClient, vm: VmRecord, uuid: str) -> None:
    await destroy_disk(client, uuid, partial(_require_alone, client, vm))


async def _require_alone(client: XapiClient, vm: VmRecord, disk: VdiRecord) -> None:
    if await is_held(client, disk, vm.ref):
        raise Refused(Reason.WORLD_CHANGED, f"disk {disk.uuid} belongs to another VM by now")


def _is_made_by_us(disk: VdiRecord) -> bool:
    """Whether a disk came with a replica of ours: XAPI copies the marks with it. What somebody
    attached besides stays."""
    return disk.other_config.get(OWNER_KEY) == OWNER
