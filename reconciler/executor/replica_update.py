"""From a stage to a restore point: its disks change over to the replica, which is then snapshot.

```
disks that nothing needs go ─▶ change over ─▶ configuration ─▶ snapshot, marked as the point
```

A replica that somebody started, unblocked or wrote to is left to them: the stage takes its place.
A disk of it counts as changed unless the pool itself says that it is equal to its newest point, or
it came from a stage whose point was never finished.

The point stands once its snapshot is marked. The marks on its disks come before, and what the
replica itself is given (its name, its marks) after: until then it is seen as in the making.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from reconciler.executor.pool_objects import destroy_disk, destroy_vm, disks_of, is_held, read_vm
from reconciler.executor.refusal import Refused
from reconciler.executor.replica_config import configure, replace_interfaces, replace_tpms
from reconciler.executor.replica_stage import Stage, attach, without_identity
from reconciler.executor.vm_config import Record
from reconciler.ids import DiskUuid
from reconciler.observed.marks import DATETIME_KEY, SOURCE_KEY
from reconciler.observed.pool import PowerState
from reconciler.observed.replica_marks import (
    IMPORTING,
    DiskOrigin,
    is_ours,
    read_point,
    staging_name,
    write_disk_point,
    write_point,
    write_replica,
    write_unfinished,
)
from reconciler.plan.reasons import Reason
from reconciler.vhd.decoder import Preamble, StreamDecoder
from reconciler.xapi.client import XapiClient
from reconciler.xapi.disks import open_export
from reconciler.xapi.records import VbdRecord, VdiRecord, VmRecord
from reconciler.xapi.tasks import run_async

log = structlog.get_logger(__name__)

_SNAPSHOT_S = 3600.0


@dataclass(frozen=True, slots=True)
class SourceDisk:
    """A disk as the protected VM has it. vdi, vbd: records. content: see `write_disk_point`."""

    origin: DiskOrigin
    vdi: Record
    vbd: Record
    content: str


@dataclass(frozen=True, slots=True)
class Source:
    """What the replica stands for. vm: record of the snapshot."""

    vm: Record
    disks: Mapping[DiskUuid, SourceDisk]
    vifs: Mapping[str, Record]
    tpms: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Labels:
    """What people see. point: of the snapshot. description: of the replica and the point."""

    replica: str
    point: str
    description: str


async def complete(stage: Stage, replica: VmRecord | None, source: Source, labels: Labels) -> None:
    """Make the point out of a stage that has received all disks. Raises XapiError, Refused."""
    client = stage.client
    await _drop_unneeded(stage)
    if replica is not None and await is_as_left(client, replica):
        target = replica.ref
        await _change_over(stage, replica, source)
    else:
        if replica is not None:
            log.info("replica is in use and left alone; a new one is made", replica=replica.name)
        target = stage.vm
        await _align(stage, source)
    await configure(client, target, source.vm, labels.description)
    await replace_interfaces(client, target, source.vifs)
    await replace_tpms(client, target, source.tpms)
    for disk, ref in stage.received.items():
        await client.call("VDI.set_name_label", ref, source.disks[disk].vdi["name_label"])
    await _make_point(stage, target, source, labels)
    await _dress(stage, target, source, labels)


async def _drop_unneeded(stage: Stage) -> None:
    """Destroy the clones of disks that the VM has no more, or that came whole."""
    client = stage.client
    wanted = set(stage.received.values())

    async def alone(disk: VdiRecord) -> None:
        if await is_held(client, disk, stage.vm):
            raise Refused(Reason.WORLD_CHANGED, f"disk {disk.uuid} belongs to another VM by now")

    for _, disk in await disks_of(client, await read_vm(client, stage.vm)):
        if disk.ref not in wanted:
            await destroy_disk(client, disk.uuid, alone)


async def is_as_left(client: XapiClient, replica: VmRecord) -> bool:
    """Say whether nobody has used a replica since it was left. Raises XapiError."""
    now = await read_vm(client, replica.ref)
    if now.power_state != PowerState.HALTED or "start" not in now.blocked or now.operations:
        return False
    return all([await _holds_nothing_new(client, disk) for _, disk in await disks_of(client, now)])


async def _holds_nothing_new(client: XapiClient, disk: VdiRecord) -> bool:
    """Whether a disk of the replica is one of ours, and holds nothing that its point does not."""
    if not is_ours(disk.other_config, disk.uuid):
        return False
    if DATETIME_KEY in disk.other_config:
        return True  # of a point that was never finished
    newest: tuple[str, str] | None = None
    for ref in await client.call("VDI.get_snapshots", disk.ref):
        snapshot = VdiRecord.of(ref, await client.call("VDI.get_record", ref))
        marks = read_point(snapshot.other_config, snapshot.uuid)
        if marks is not None:
            newest = max(newest or ("", ""), (marks.stamp, ref))
    return newest is not None and await _are_equal(client, disk, newest[1])


async def _are_equal(client: XapiClient, disk: VdiRecord, base: str) -> bool:
    """Whether the difference of a disk to one that it grew from has no blocks."""
    label = f"{disk.name}, to see whether it was changed"
    async with await open_export(client, disk.ref, base, label=label) as stream:
        decoder = StreamDecoder()
        while wanted := decoder.wanted:
            piece = bytearray(wanted)
            await stream.read_exactly(memoryview(piece))
            match decoder.take(piece):
                case Preamble() as preamble:
                    return not preamble.blocks
                case _:
                    pass
    return False


async def _change_over(stage: Stage, replica: VmRecord, source: Source) -> None:
    """Give the replica the stage's disks instead of its own. All of it is in the points."""
    client = stage.client
    await client.call("VM.set_name_label", replica.ref, f"{IMPORTING} {stage.marks.vm_name}")

    async def still_ours(disk: VdiRecord) -> None:
        if not is_ours(disk.other_config, disk.uuid) or await is_held(client, disk, replica.ref):
            raise Refused(Reason.WORLD_CHANGED, f"disk {disk.uuid} is not ours alone any more")

    arrived = set(stage.received.values())
    for _, disk in await disks_of(client, await read_vm(client, replica.ref)):
        if disk.ref not in arrived:
            await destroy_disk(client, disk.uuid, still_ours)
    for which, ref in stage.received.items():
        await attach(client, replica.ref, ref, source.disks[which].vbd)
    await destroy_vm(client, stage.vm)


async def _align(stage: Stage, source: Source) -> None:
    """Give the stage's disks the places that the VM has them at."""
    client = stage.client
    placed = await disks_of(client, await read_vm(client, stage.vm))
    places = {disk.ref: vbd for vbd, disk in placed}
    wanted = {ref: source.disks[which].vbd for which, ref in stage.received.items()}
    moving = {
        ref: record
        for ref, record in wanted.items()
        if places[ref].position != record["userdevice"]
    }
    # first away from each other: two may have changed places
    for ref in moving:
        (free, *_) = reversed(await client.call("VM.get_allowed_VBD_devices", stage.vm))
        await client.call("VBD.set_userdevice", places[ref].ref, free)
    for ref, record in moving.items():
        await client.call("VBD.set_userdevice", places[ref].ref, record["userdevice"])
    for ref, record in wanted.items():
        await _like(client, places[ref], record)


async def _like(client: XapiClient, vbd: VbdRecord, wanted: Record) -> None:
    if vbd.raw["bootable"] != wanted["bootable"]:
        await client.call("VBD.set_bootable", vbd.ref, wanted["bootable"])
    if vbd.raw["mode"] != wanted["mode"]:
        await client.call("VBD.set_mode", vbd.ref, wanted["mode"])


async def _make_point(stage: Stage, target: str, source: Source, labels: Labels) -> None:
    """Snapshot the replica, and mark the snapshot: from then on it is a restore point."""
    client, marks = stage.client, stage.marks
    name = staging_name(marks.job, marks.vm, marks.stamp)
    ref = str(await run_async(client, "VM.snapshot", [target, name], _SNAPSHOT_S))
    await client.call("VM.set_is_a_template", ref, False)
    snapshot = await read_vm(client, ref)
    which = {disk: live for live, disk in stage.received.items()}
    disks = [disk for _, disk in await disks_of(client, snapshot)]
    if sorted(disk.snapshot_of or "" for disk in disks) != sorted(which):
        raise Refused(Reason.WORLD_CHANGED, f"the disks of replica {labels.replica} changed")
    for disk in disks:
        known = source.disks[which[disk.snapshot_of or ""]]
        config = write_disk_point(marks, known.origin, known.content, disk.uuid, disk.other_config)
        await client.call("VDI.set_other_config", disk.ref, {**config})
    # the name is what it was known by so far
    config = write_unfinished(marks, snapshot.uuid, snapshot.other_config)
    await client.call("VM.set_other_config", ref, {**config})
    await client.call("VM.set_name_label", ref, labels.point)
    config = write_point(marks, snapshot.uuid, snapshot.other_config)
    config[SOURCE_KEY] = source.vm["uuid"]
    await client.call("VM.set_other_config", ref, {**config})


async def _dress(stage: Stage, target: str, source: Source, labels: Labels) -> None:
    """Make the replica what it is between two replications."""
    client, sr = stage.client, stage.marks.sr
    replica = await read_vm(client, target)
    for _, disk in await disks_of(client, replica):
        config = write_replica(sr, disk.uuid, disk.other_config)
        await client.call("VDI.set_other_config", disk.ref, {**config})
    seed = {key: value for key, value in replica.other_config.items() if key == "mac_seed"}
    config = write_replica(sr, replica.uuid, without_identity(source.vm["other_config"]) | seed)
    await client.call("VM.set_other_config", target, {**config})
    await client.call("VM.set_name_label", target, labels.replica)
