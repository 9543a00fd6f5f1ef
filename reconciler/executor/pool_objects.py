"""VMs and disks of a pool as a step meets them: looked up again, and removed with care.

Plans name objects by uuid and are older than the world. So an object is read before it is touched;
one that is gone is None, never an error. A disk that is in use is waited for, for a while; nobody's
device is unplugged.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import GONE, XapiFailure
from reconciler.xapi.records import VbdRecord, VdiRecord, VmRecord
from reconciler.xapi.tasks import run_async

_DESTROY_S = 1800.0
_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0)
"""Between tries to destroy a disk that is in use: after an export it is detached within seconds."""
_PASSING = frozenset({"VDI_IN_USE", "OTHER_OPERATION_IN_PROGRESS", "TOO_MANY_PENDING_TASKS"})

Check = Callable[[VdiRecord], Awaitable[None]]
"""Raises Refused if a disk must not be destroyed, as it is now."""


async def find_vm(client: XapiClient, uuid: str) -> VmRecord | None:
    """A VM or a snapshot of one. Raises XapiError."""
    try:
        return await read_vm(client, await client.call("VM.get_by_uuid", uuid))
    except XapiFailure as failure:
        if failure.code in GONE:
            return None
        raise


async def read_vm(client: XapiClient, ref: str) -> VmRecord:
    """Raises XapiError, also if it is gone."""
    return VmRecord.of(ref, await client.call("VM.get_record", ref))


async def read_disk(client: XapiClient, ref: str) -> VdiRecord:
    """Raises XapiError, also if it is gone."""
    return VdiRecord.of(ref, await client.call("VDI.get_record", ref))


async def find_disk(client: XapiClient, uuid: str) -> VdiRecord | None:
    """A disk or a disk's snapshot. Raises XapiError."""
    try:
        return await read_disk(client, await client.call("VDI.get_by_uuid", uuid))
    except XapiFailure as failure:
        if failure.code in GONE:
            return None
        raise


async def vbds_of(client: XapiClient, refs: Iterable[str]) -> list[VbdRecord]:
    """Those of the VBDs that are still there. Raises XapiError."""
    found = []
    for ref in refs:
        try:
            found.append(VbdRecord.of(ref, await client.call("VBD.get_record", ref)))
        except XapiFailure as failure:
            if failure.code not in GONE:
                raise
    return found


async def disks_of(client: XapiClient, vm: VmRecord) -> list[tuple[VbdRecord, VdiRecord]]:
    """The disks of a VM, and how it has them; drives are left out. Raises XapiError."""
    return [
        (vbd, await read_disk(client, vbd.vdi))
        for vbd in await vbds_of(client, vm.vbds)
        if vbd.type == "Disk" and vbd.vdi is not None
    ]


async def is_held(client: XapiClient, disk: VdiRecord, but_for: str | None = None) -> bool:
    """Whether a VM other than `but_for` or a control domain has the disk. Raises XapiError."""
    for vbd in await vbds_of(client, disk.vbds):
        if vbd.vm is None or vbd.vm == but_for:
            continue
        if not await client.call("VM.get_is_control_domain", vbd.vm):
            return True
    return False


async def destroy_vm(client: XapiClient, ref: str) -> None:
    """Remove a VM, or a snapshot of one; its disks stay. Raises XapiError."""
    try:
        await client.call("VM.set_is_a_template", ref, False)
        await run_async(client, "VM.destroy", [ref], _DESTROY_S)
    except XapiFailure as failure:
        if failure.code not in GONE:
            raise


async def destroy_disk(client: XapiClient, uuid: str, check: Check) -> None:
    """Destroy a disk, waiting while it is in use, and looking again whether it may be destroyed.

    Raises XapiError, and what `check` raises.
    """
    for wait_s in (*_WAITS_S, None):
        disk = await find_disk(client, uuid)
        if disk is None:
            return
        await check(disk)
        try:
            await run_async(client, "VDI.destroy", [disk.ref], _DESTROY_S)
        except XapiFailure as failure:
            if failure.code in GONE:
                return
            if failure.code not in _PASSING or wait_s is None:
                raise
        else:
            return
        # the pool's storage is waited for, so the wait is real, whatever the clock says
        await asyncio.sleep(wait_s)
