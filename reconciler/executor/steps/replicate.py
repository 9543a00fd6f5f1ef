"""Bring the replica on an SR up to one snapshot: continuous replication, as Xen Orchestra keeps it.

One VM stands for the protected one, and is brought up to date again and again; each time a snapshot
of it is taken, which is the restore point. It cannot be started by accident: who wants to use it
clones a point, or unblocks it, and then the next replication makes another.

Until all disks are whole nothing that was there is touched (replica_stage.py), and from the moment
that the point's snapshot is marked it is one (replica_update.py).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import structlog

from reconciler.executor.pool_objects import find_vm, read_vm
from reconciler.executor.pool_streams import disk_stream
from reconciler.executor.readings import DeltaRefused, Readings
from reconciler.executor.refusal import Refused
from reconciler.executor.replica_stage import Stage, find_point, new_stage, stage_on
from reconciler.executor.replica_update import Labels, Source, SourceDisk, complete
from reconciler.executor.replicas import remove
from reconciler.executor.tools import Tools
from reconciler.executor.vm_config import Record
from reconciler.executor.vm_records import collect
from reconciler.ids import DiskSnapshotUuid, Stamp, instant_of
from reconciler.observed.marks import CONTENT_KEY
from reconciler.observed.replica_marks import DiskOrigin, ReplicaMarks, is_ours, replica_name
from reconciler.plan.actions import DiskExport, ExportKind, Replicate, id_of
from reconciler.plan.reasons import Reason
from reconciler.transfer.import_sink import ImportSink
from reconciler.transfer.sink import DiskHead, Identity
from reconciler.units import render_size
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import XapiError
from reconciler.xapi.records import VmRecord

log = structlog.get_logger(__name__)

_CLEAN_UP_S = 30.0


async def run(action: Replicate, tools: Tools) -> None:
    """Receive every disk, then make the point; nothing is done if it is there.

    Raises XapiError, StreamError, VhdError, Refused.
    """
    assert tools.readings is not None, "a replication reads from a pool"
    pool = await tools.pool(action.pool)
    target = await tools.pool(action.target_pool)
    replica = await _replica(target, action)
    if await find_point(target, _marks(action, action.stamp), replica) is not None:
        return
    source = await _source(pool, action)
    stage = await _stage(target, action, replica, source)
    step = _Step(action, tools, tools.readings, pool, stage, source)
    async with _removed_on_error(stage), asyncio.TaskGroup() as group:
        for disk in action.disks:
            group.create_task(step.disk(disk))
    await complete(stage, replica, source, _labels(action, source, tools.gauge.done_bytes))


async def _replica(client: XapiClient, action: Replicate) -> VmRecord | None:
    """The VM to update. Raises Refused if it is not what it was planned to be."""
    if action.replica is None:
        return None
    vm = await find_vm(client, action.replica)
    if vm is None or vm.is_snapshot or not is_ours(vm.other_config, vm.uuid):
        raise Refused(Reason.WORLD_CHANGED, f"replica {action.replica} is gone, or not ours")
    return vm


async def _source(client: XapiClient, action: Replicate) -> Source:
    """What the pool says of the snapshot. Raises Refused if one of its disks is missing."""
    records = await collect(client, action.vm, action.snapshot)
    vdis = {vdi["uuid"]: (ref, vdi) for ref, vdi in records.vdis.items()}
    vbds = {vbd["VDI"]: vbd for vbd in records.vbds.values()}
    disks = {}
    for disk in action.disks:
        if disk.snapshot not in vdis:
            raise Refused(Reason.WORLD_CHANGED, f"disk snapshot {disk.snapshot} is gone")
        ref, vdi = vdis[disk.snapshot]
        origin = DiskOrigin(disk.snapshot, disk.disk)
        disks[disk.disk] = SourceDisk(origin, vdi, vbds[ref], _content(vdi, disk.snapshot))
    return Source(records.snapshot, disks, records.vifs, records.vtpms)


def _content(vdi: Record, snapshot: DiskSnapshotUuid) -> str:
    """By which other tools know equal content: what the snapshot says, which is its own uuid."""
    config: dict[str, str] = vdi["other_config"]
    return config.get(CONTENT_KEY, snapshot)


async def _stage(
    client: XapiClient, action: Replicate, replica: VmRecord | None, source: Source
) -> Stage:
    sr = str(await client.call("SR.get_by_uuid", action.sr))
    marks = _marks(action, action.stamp)
    if action.base is None:
        return await new_stage(client, sr, marks, source.vm)
    base = await find_point(client, _marks(action, action.base), replica)
    if base is None:
        raise Refused(Reason.WORLD_CHANGED, f"the replica's point {action.base} is gone")
    return await stage_on(client, sr, marks, base)


def _marks(action: Replicate, stamp: Stamp) -> ReplicaMarks:
    return ReplicaMarks(
        action.job_id, action.schedules, stamp, action.vm, action.vm_name, action.sr
    )


def _labels(action: Replicate, source: Source, read_bytes: int) -> Labels:
    """As Xen Orchestra calls them."""
    schedule = f" / {action.schedules[0]}" if action.schedules else ""
    when = instant_of(action.stamp).strftime("%Y-%m-%d %H:%M:%S UTC")
    words = [
        str(source.vm.get("name_description", "")),
        f"last replication: {when} {render_size(read_bytes)} read",
    ]
    return Labels(
        replica=replica_name(action.vm_name, action.job),
        point=f"{action.vm_name} - {action.job}{schedule} {action.stamp}",
        description=" -- ".join(word for word in words if word),
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """What the disks of one replication share."""

    action: Replicate
    tools: Tools
    readings: Readings
    pool: XapiClient
    stage: Stage
    source: Source

    async def disk(self, disk: DiskExport) -> None:
        try:
            await self._receive(disk)
        except DeltaRefused as refusal:
            log.warning("delta refused, sending it whole", disk=disk.disk, why=str(refusal))
            await self._receive(replace(disk, kind=ExportKind.FULL, base=None, base_file=None))

    async def _receive(self, disk: DiskExport) -> None:
        known = self.source.disks[disk.disk]

        async def place(head: DiskHead) -> str:
            return await self.stage.place(disk, known.vdi, known.vbd, head)

        await self.readings.receive(
            id_of(self.action),
            disk,
            ImportSink(
                self.stage.client,
                place,
                Identity(uuid=disk.snapshot),
                label=str(known.vdi.get("name_label", "")),
            ),
            lambda base: disk_stream(
                self.action, self.tools, self.pool, known.vbd["VDI"], base, self.action.vm_name
            ),
            self.tools.gauge,
        )


@contextlib.asynccontextmanager
async def _removed_on_error(stage: Stage) -> AsyncIterator[None]:
    """Take the stage away if a disk does not come. What is left the next plan removes."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(XapiError, Refused, TimeoutError):
            await asyncio.shield(_remove(stage))
        raise


async def _remove(stage: Stage) -> None:
    async with asyncio.timeout(_CLEAN_UP_S):
        await remove(stage.client, await read_vm(stage.client, stage.vm), stage.marks)
