"""Snapshot one VM and mark the snapshot.

```
Async.VM.snapshot or VM.checkpoint, named "reconciler-snapshot-in-progress-<job id>"
    → snapshots of disks that are left out go, if the pool could not leave them out itself
    → marks on each disk's snapshot → marks on the snapshot itself → its final name
```

A snapshot cannot be made and marked in one call. Until its marks stand, it is known to be ours by
its name alone, and whatever interrupts this step (a lost answer included) leaves at most one such
behind, which the next plan sees and cleans. The marks on the snapshot itself come after those on
its disks, so that a snapshot with marks is a whole one. Memory is marked like a disk, and is none
of those that the marks list as the snapshot's.

A snapshot with memory keeps the disks that are left out: without them its memory is worth nothing.
Its marks do not list them either.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from reconciler.clock import Clock
from reconciler.desired.state import Consistency
from reconciler.executor.given_up import forget
from reconciler.executor.pool_objects import destroy_disk, read_disk, read_vm
from reconciler.executor.power import shut_down
from reconciler.executor.refusal import Refused
from reconciler.executor.tools import Tools
from reconciler.ids import DiskUuid, Stamp, instant_of, stamp_of
from reconciler.observed.marks import write_disk_marks, write_marks
from reconciler.observed.pool import SNAPSHOT_IN_PROGRESS, Marks
from reconciler.plan.actions import Snapshot
from reconciler.plan.reasons import Reason
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import XapiError, XapiFailure
from reconciler.xapi.records import HINDERS_SNAPSHOT, VbdRecord, VdiRecord, VmRecord
from reconciler.xapi.tasks import run_async
from reconciler.xapi.wire import Json

_SNAPSHOT_S = 3600.0
"""XAPI itself waits for other operations of the VM before it begins."""
_WITH_MEMORY = frozenset({"Running", "Suspended"})
"""Of a paused VM, XAPI keeps no memory; one that is halted has none."""
_GRACE_S = 5.0
"""For what is under way when the step is cancelled; cancelling takes effect within ten seconds."""
_AHEAD_MAX = timedelta(minutes=5)
_NOT_BACKED_UP = "[NOBAK]"
"""In a disk's name: leave it out. Xen Orchestra's word for it."""


async def run(action: Snapshot, tools: Tools) -> None:
    """Make and mark the snapshot. Raises XapiError, Refused."""
    client = await tools.pool(action.pool)
    vm = await _vm(client, action.vm)
    disks = await _disks(client, vm)
    left_out = frozenset(
        disk.ref for disk in disks if disk.uuid in action.without or _NOT_BACKED_UP in disk.name
    )
    if len(left_out) == len(disks):
        raise Refused(Reason.NO_DISKS, f"VM {vm.name} has no disk that is to be backed up")
    stamp = await _stamp(action.after, tools.clock)
    name = f"{SNAPSHOT_IN_PROGRESS}-{action.job_id}"
    if action.consistency is Consistency.OFFLINE:
        async with shut_down(client, vm, action.job_id, tools.clock):
            snapshot = await _take(client, vm.ref, name, left_out)
            await _mark(client, action, vm, snapshot, stamp, left_out)
        return
    if action.consistency is Consistency.MEMORY and vm.power_state in _WITH_MEMORY:
        ref = await run_async(client, "VM.checkpoint", [vm.ref, name], _SNAPSHOT_S)
        snapshot = await read_vm(client, str(ref))
    else:
        snapshot = await _take(client, vm.ref, name, left_out)
    await _mark(client, action, vm, snapshot, stamp, left_out)


async def _vm(client: XapiClient, uuid: str) -> VmRecord:
    ref = await client.call("VM.get_by_uuid", uuid)
    vm = VmRecord.of(ref, await client.call("VM.get_record", ref))
    if vm.is_snapshot or vm.is_template or vm.is_control_domain:
        raise Refused(Reason.WORLD_CHANGED, f"{vm.name} ({uuid}) is no ordinary VM any more")
    if busy := [operation for operation in vm.operations if operation in HINDERS_SNAPSHOT]:
        raise Refused(Reason.VM_BUSY, f"VM {vm.name} is busy: {', '.join(busy)}")
    return vm


async def _disks(client: XapiClient, vm: VmRecord) -> list[VdiRecord]:
    """The disks of a VM or snapshot, not its drives."""
    async with asyncio.TaskGroup() as group:
        vbds = [(ref, group.create_task(client.call("VBD.get_record", ref))) for ref in vm.vbds]
    joined = [VbdRecord.of(ref, task.result()) for ref, task in vbds]
    refs = [vbd.vdi for vbd in joined if vbd.type == "Disk" and vbd.vdi is not None]
    async with asyncio.TaskGroup() as group:
        vdis = [(ref, group.create_task(client.call("VDI.get_record", ref))) for ref in refs]
    return [VdiRecord.of(ref, task.result()) for ref, task in vdis]


async def _stamp(after: Stamp | None, clock: Clock) -> Stamp:
    """The present second, waiting for one above `after`: file names have no finer grain."""
    if after is not None:
        earliest = instant_of(after) + timedelta(seconds=1)
        now: datetime = clock.now()
        if earliest - now > _AHEAD_MAX:
            raise Refused(
                Reason.CLOCK_BEHIND,
                f"the newest point is dated {instant_of(after):%Y-%m-%d %H:%M:%S} UTC, which is "
                "still to come: one of the clocks is wrong",
            )
        await clock.sleep_until(earliest)
    return stamp_of(clock.now())


async def _take(client: XapiClient, vm: str, name: str, left_out: frozenset[str]) -> VmRecord:
    """Snapshot without the disks that are left out (references)."""
    if not left_out:
        return await _snapshot(client, vm, name)
    try:
        return await _snapshot(client, vm, name, [*sorted(left_out)])
    except XapiFailure as failure:  # older pools cannot leave disks out
        if failure.code != "MESSAGE_PARAMETER_COUNT_MISMATCH":
            raise
    snapshot = await _snapshot(client, vm, name)
    for disk in await _disks(client, snapshot):
        if disk.snapshot_of in left_out:
            await destroy_disk(client, disk.uuid, _require_snapshot)
    return await read_vm(client, snapshot.ref)


async def _snapshot(client: XapiClient, vm: str, name: str, *ignored: Json) -> VmRecord:
    ref = await run_async(client, "VM.snapshot", [vm, name, *ignored], _SNAPSHOT_S)
    return await read_vm(client, str(ref))


async def _require_snapshot(disk: VdiRecord) -> None:
    if not disk.is_snapshot:
        raise Refused(Reason.WORLD_CHANGED, f"disk {disk.uuid} is no snapshot")


async def _mark(
    client: XapiClient,
    action: Snapshot,
    vm: VmRecord,
    snapshot: VmRecord,
    stamp: Stamp,
    left_out: frozenset[str],
) -> None:
    await client.call("VM.set_is_a_template", snapshot.ref, False)
    disks = await _disks(client, snapshot)
    origins = [
        DiskUuid(await client.call("VDI.get_uuid", disk.snapshot_of))
        for disk in disks
        if disk.snapshot_of is not None and disk.snapshot_of not in left_out
    ]
    if snapshot.memory is not None:
        disks.append(await read_disk(client, snapshot.memory))
    marks = Marks(
        action.job_id,
        action.schedules,
        stamp,
        action.vm,
        tuple(sorted(origins)),
        rolling=action.rolling,
        requested=action.requested,
    )
    for disk in disks:
        config = write_disk_marks(marks, disk.uuid, disk.other_config)
        await client.call("VDI.set_other_config", disk.ref, {**config})
    config = write_marks(marks, snapshot.uuid, snapshot.other_config)
    whole = asyncio.ensure_future(_make_whole(client, snapshot.ref, config, vm.name))
    try:
        await asyncio.shield(whole)
    except asyncio.CancelledError:
        with contextlib.suppress(XapiError, TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await whole
        raise
    await forget(client, vm, action.job_id)


async def _make_whole(
    client: XapiClient, ref: str, config: Mapping[str, str], vm_name: str
) -> None:
    """Put the last marks and the final name on a snapshot. Once begun, a cancel does not part the
    two: a whole snapshot that is called unfinished would be somebody's riddle until it goes."""
    await client.call("VM.set_other_config", ref, {**config})
    await client.call("VM.set_name_label", ref, f"[reconciler] {vm_name}")
