"""A restore that a manifest asks for, as the pool knows it: begun, in the making, whole, done.

The order is what makes it safe to stop anywhere. The pool says which point it is of before anything
is there; all that is made is marked until the VM is whole; and only then, and once it was started
if that was asked for, the pool says that it is done. See `observed/restore_marks.py`.
"""

from collections.abc import Mapping

from reconciler.executor.pool_objects import (
    destroy_disk,
    destroy_vm,
    disks_of,
    find_vm,
    is_held,
    read_vm,
)
from reconciler.executor.refusal import Refused
from reconciler.ids import RestoreId
from reconciler.observed.marks import RESTORED_KEY, RESTORING_KEY, SELF_KEY
from reconciler.observed.pool import PowerState
from reconciler.observed.restore_marks import (
    read_records,
    read_restored,
    read_restoring,
    without_restoring,
    write_done,
    write_record,
    write_restored,
    write_restoring,
)
from reconciler.observed.restored import RestoreRecord
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import RestoreVm
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import XapiFailure
from reconciler.xapi.records import VdiRecord, VmRecord


async def begin(client: XapiClient, action: RestoreVm, restore: RestoreId) -> bool:
    """Write down which point a restore is of, unless that is done; say whether it is still open.

    Raises XapiError, Refused: it was begun with another point.
    """
    record = RestoreRecord(restore, action.vm, action.stamp, action.revision)
    pool = await _pool(client)
    known = await _record(client, pool, restore)
    if known is None:
        try:
            await client.call("pool.add_to_other_config", pool, *write_record(record))
        except XapiFailure as failure:
            if failure.code != "MAP_DUPLICATE_KEY":
                raise
            known = await _record(client, pool, restore)
    if known is None:
        return True
    if (known.vm, known.stamp, known.revision) != (record.vm, record.stamp, record.revision):
        raise Refused(
            Reason.RESTORE_CHANGED, f"it was begun with another point, {known.vm}/{known.stamp}"
        )
    return known.made is None


async def note_done(client: XapiClient, restore: RestoreId, made: str) -> None:
    """Write down that a restore is done. made: uuid of the new VM. Raises XapiError."""
    try:
        await client.call(
            "pool.add_to_other_config", await _pool(client), *write_done(restore, made)
        )
    except XapiFailure as failure:
        if failure.code != "MAP_DUPLICATE_KEY":
            raise


async def name_itself(client: XapiClient, kind: str, ref: str) -> None:
    """Let marks say which object they are of, so that they mean nothing on a copy of it."""
    uuid = await client.call(f"{kind}.get_uuid", ref)
    await client.call(f"{kind}.add_to_other_config", ref, SELF_KEY, uuid)


async def mark_restoring(client: XapiClient, restore: RestoreId, vm: VmRecord) -> None:
    """Mark a VM that the pool makes, and its disks as far as they are there. Raises XapiError."""
    await _mark(client, "VM", vm.ref, vm.uuid, restore)
    for _, disk in await disks_of(client, vm):
        await _mark(client, "VDI", disk.ref, disk.uuid, restore)


async def mark_whole(client: XapiClient, restore: RestoreId, ref: str) -> None:
    """Say that a VM (a reference) is whole, first; then take the marks off its disks."""
    vm = await read_vm(client, ref)
    if read_restored(vm.other_config, vm.uuid) != restore:
        await _set(client, "VM", ref, write_restored(restore, vm.uuid, vm.other_config))
    for _, disk in await disks_of(client, vm):
        if RESTORING_KEY in disk.other_config:
            await _set(client, "VDI", disk.ref, without_restoring(disk.other_config))


async def whole_vm(client: XapiClient, restore: RestoreId, uuid: str) -> str:
    """Find the VM that a restore made; return its reference. Raises XapiError, Refused."""
    vm = await find_vm(client, uuid)
    if vm is None or read_restored(vm.other_config, vm.uuid) != restore:
        raise Refused(Reason.WORLD_CHANGED, f"VM {uuid} is not what the restore made any more")
    return vm.ref


async def remove_half(client: XapiClient, restore: RestoreId, uuid: str) -> None:
    """Remove a half-made VM with the disks that were made for it; nothing if it is gone.

    It goes after its disks, so that none of them is ever left without one. Raises XapiError,
    Refused: it is whole by now, or somebody uses it.
    """
    vm = await find_vm(client, uuid)
    if vm is None:
        return
    where = f"VM {vm.name} ({vm.uuid})"
    if RESTORED_KEY in vm.other_config or read_restoring(vm.other_config, vm.uuid) != restore:
        raise Refused(Reason.WORLD_CHANGED, f"{where} is not left over by this restore")
    if vm.operations or vm.power_state != PowerState.HALTED:
        raise Refused(Reason.VM_BUSY, f"{where} is in use")
    disks = [disk for _, disk in await disks_of(client, vm)]
    for disk in disks:
        if read_restoring(disk.other_config, disk.uuid) != restore:
            raise Refused(Reason.WORLD_CHANGED, f"disk {disk.uuid} of {where} is somebody else's")
    for disk in disks:
        await remove_disk(client, restore, disk.uuid, of=vm.ref)
    await destroy_vm(client, vm.ref)


async def remove_disk(
    client: XapiClient, restore: RestoreId, uuid: str, of: str | None = None
) -> None:
    """Remove a disk that was made for a restore; nothing if it is gone. of: the VM that has it.

    Raises XapiError, Refused.
    """

    async def check(disk: VdiRecord) -> None:
        ours = read_restoring(disk.other_config, disk.uuid) == restore
        if not ours or await is_held(client, disk, but_for=of):
            raise Refused(Reason.WORLD_CHANGED, f"disk {disk.uuid} is somebody else's by now")

    await destroy_disk(client, uuid, check)


async def _mark(client: XapiClient, kind: str, ref: str, uuid: str, restore: RestoreId) -> None:
    for key, value in write_restoring(restore, uuid).items():
        await client.call(f"{kind}.remove_from_other_config", ref, key)
        await client.call(f"{kind}.add_to_other_config", ref, key, value)


async def _set(client: XapiClient, kind: str, ref: str, config: Mapping[str, str]) -> None:
    await client.call(f"{kind}.set_other_config", ref, {**config})


async def _pool(client: XapiClient) -> str:
    (pool,) = await client.call("pool.get_all")
    return str(pool)


async def _record(client: XapiClient, pool: str, restore: RestoreId) -> RestoreRecord | None:
    config = await client.call("pool.get_other_config", pool)
    return next((each for each in read_records(config) if each.restore == restore), None)
