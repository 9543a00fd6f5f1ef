"""Where a replication is received: a VM of its own, so that nothing that stands is written to.

```
the replica ──┬── point 1 ··· point n          what is there, and stays whatever happens
              │                  └─ clone ─▶ stage      its disks equal the point's: deltas go here
              └─◀─────────── disks change over ──┘      once all of them are whole
```

A first replication has nothing to clone; its stage is a new VM, which becomes the replica. So does
a stage whose replica was started, or changed, by somebody meanwhile.

Until it is marked, a stage is known by its name alone; then by marks that say "in the making".
Either way the next plan finds what an interruption left of it.
"""

import contextlib
from dataclasses import dataclass, field

from reconciler.executor.pool_objects import disks_of, read_disk, read_vm
from reconciler.executor.refusal import Refused
from reconciler.executor.replica_config import blocked, new_vm
from reconciler.executor.replicas import points_of
from reconciler.executor.vm_config import Record
from reconciler.ids import DiskSnapshotUuid, DiskUuid
from reconciler.observed.replica_marks import (
    IMPORTING,
    ReplicaMarks,
    read_origin,
    read_point,
    staging_name,
    write_unfinished,
)
from reconciler.plan.actions import DiskExport
from reconciler.plan.reasons import Reason
from reconciler.transfer.sink import DiskHead
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import BadRecord
from reconciler.xapi.records import VmRecord
from reconciler.xapi.tasks import run_async

_CLONE_S = 1800.0


@dataclass(slots=True)
class Stage:
    """vm: reference. sr: reference of the storage. cloned: disks that equal those of the point that
    was cloned, by the snapshot that they equal. received: disks that came, by the live disk.
    """

    client: XapiClient
    vm: str
    sr: str
    marks: ReplicaMarks
    cloned: dict[DiskSnapshotUuid, str]
    received: dict[DiskUuid, str] = field(default_factory=dict)

    async def place(self, disk: DiskExport, vdi: Record, vbd: Record, head: DiskHead) -> str:
        """Give the disk that a stream goes into: a clone of its base, or a new one.

        vdi, vbd: the source's records. Raises XapiError, Refused.
        """
        if head.differencing:
            ref = self.cloned.get(disk.base) if disk.base is not None else None
            if ref is None:
                raise Refused(Reason.WORLD_CHANGED, f"the replica of disk {disk.disk} is gone")
            if (await read_disk(self.client, ref)).size_bytes < head.virtual_bytes:
                await run_async(self.client, "VDI.resize", [ref, head.virtual_bytes], _CLONE_S)
        else:
            ref = await self._new_disk(vdi, vbd, head.virtual_bytes)
        uuid = (record := await read_disk(self.client, ref)).uuid
        config = write_unfinished(self.marks, uuid, record.other_config)
        await self.client.call("VDI.set_other_config", ref, {**config})
        await self.client.call("VDI.set_name_label", ref, f"{IMPORTING} {vdi['name_label']}")
        self.received[disk.disk] = ref
        return ref

    async def _new_disk(self, vdi: Record, vbd: Record, size_bytes: int) -> str:
        struct = {
            "name_label": staging_name(self.marks.job, self.marks.vm, self.marks.stamp),
            "name_description": vdi.get("name_description", ""),
            "SR": self.sr,
            "virtual_size": size_bytes,
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": write_unfinished(self.marks, "", vdi.get("other_config", {})),
            "xenstore_data": {},
            "sm_config": {},
            "tags": vdi.get("tags", []),
        }
        ref = str(await self.client.call("VDI.create", struct))
        # the position of a clone may be taken by what it stands for
        await attach(self.client, self.vm, ref, {**vbd, "userdevice": "autodetect"})
        return ref


async def attach(client: XapiClient, vm: str, disk: str, vbd: Record) -> None:
    """Give a VM a disk (references), as the source has it. Raises XapiError."""
    struct = {
        "VM": vm,
        "VDI": disk,
        "userdevice": vbd.get("userdevice", "autodetect"),
        "bootable": vbd.get("bootable", False),
        "mode": vbd.get("mode", "RW"),
        "type": "Disk",
        "unpluggable": vbd.get("unpluggable", True),
        "empty": False,
        "other_config": {"owner": ""},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    }
    await client.call("VBD.create", struct)


async def new_stage(client: XapiClient, sr: str, marks: ReplicaMarks, source: Record) -> Stage:
    """Make a stage of a new VM. sr: reference. source: record of the VM. Raises XapiError."""
    name = staging_name(marks.job, marks.vm, marks.stamp)
    config = write_unfinished(marks, "", without_identity(source["other_config"]))
    vm = str(await client.call("VM.create", new_vm(source, name, config)))
    await _mark(client, await read_vm(client, vm), marks)
    return Stage(client, vm, sr, marks, {})


async def stage_on(client: XapiClient, sr: str, marks: ReplicaMarks, point: VmRecord) -> Stage:
    """Make a stage of a point's clone: it shares all blocks with it. Raises XapiError, Refused."""
    if not point.is_snapshot:
        raise Refused(Reason.WORLD_CHANGED, f"point {point.name} is no snapshot")
    name = staging_name(marks.job, marks.vm, marks.stamp)
    vm = str(await run_async(client, "VM.clone", [point.ref, name], _CLONE_S))
    await client.call("VM.set_blocked_operations", vm, {**blocked()})
    await client.call("VM.set_is_a_template", vm, False)
    record = await read_vm(client, vm)
    cloned = {}
    for _, disk in await disks_of(client, record):
        origin = read_origin(disk.other_config)
        if origin is not None:
            cloned[origin.source] = disk.ref
    await _mark(client, record, marks)
    return Stage(client, vm, sr, marks, cloned)


async def find_point(
    client: XapiClient, wanted: ReplicaMarks, replica: VmRecord | None
) -> VmRecord | None:
    """The point of this job, VM, SR and stamp: among a replica's, or those of the whole pool.

    Raises XapiError.
    """
    if replica is not None:
        points = await points_of(client, replica.ref)
    else:
        points = _points_among(await client.call("VM.get_all_records"))
    for found, snapshot in points:
        if (found.job, found.vm, found.sr, found.stamp) == (
            wanted.job,
            wanted.vm,
            wanted.sr,
            wanted.stamp,
        ):
            return snapshot
    return None


def _points_among(records: Record) -> list[tuple[ReplicaMarks, VmRecord]]:
    found = []
    for ref, record in records.items():
        with contextlib.suppress(BadRecord):
            vm = VmRecord.of(ref, record, keep_raw=False)
            marks = read_point(vm.other_config, vm.uuid) if vm.is_snapshot else None
            if marks is not None:
                found.append((marks, vm))
    return found


async def _mark(client: XapiClient, vm: VmRecord, marks: ReplicaMarks) -> None:
    config = write_unfinished(marks, vm.uuid, vm.other_config)
    await client.call("VM.set_other_config", vm.ref, {**config})
    await client.call("VM.set_name_label", vm.ref, f"{IMPORTING} {marks.vm_name}")


def without_identity(other_config: Record) -> dict[str, str]:
    """What another VM may have as well: network addresses are derived from the seed."""
    return {key: value for key, value in other_config.items() if key != "mac_seed"}
