"""Make the restore point of one snapshot on one remote.

Disks first, each under a temporary name until it is whole; metadata last: before it there is no
point, and whatever is left over is recognised, and either used by the next try or cleaned. A disk
that an interrupted try already published is not sent again.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import structlog

from reconciler.catalog import layout, write
from reconciler.catalog.incoming import sink_for
from reconciler.catalog.lock import VmLock, vm_lock
from reconciler.catalog.metadata import PointRecords, compose
from reconciler.catalog.safety import parsed
from reconciler.catalog.sums import DiskSums, put_sums
from reconciler.executor.pool_streams import disk_stream
from reconciler.executor.readings import DeltaRefused, Readings
from reconciler.executor.refusal import Refused
from reconciler.executor.tools import Tools
from reconciler.executor.vm_records import collect
from reconciler.ids import DiskSnapshotUuid, instant_of
from reconciler.observed.chain import DiskFile, stamp_in
from reconciler.observed.marks import EXPORTED_KEY
from reconciler.plan.actions import DiskExport, Export, ExportKind, id_of
from reconciler.plan.reasons import Reason
from reconciler.transfer.sink import Identity
from reconciler.transfer.source import ByteSource
from reconciler.transfer.sums import SummingSink
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import XapiError

log = structlog.get_logger(__name__)


async def run(action: Export, tools: Tools) -> None:
    """Export what the remote still lacks of the point, then write its metadata.

    Raises XapiError, RemoteError, StreamError, VhdError, CatalogError, Refused.
    """
    assert tools.readings is not None, "an export reads from a pool"
    client = await tools.pool(action.pool)
    remote = await tools.remote(action.remote)
    records = await collect(client, action.vm, action.snapshot)
    async with vm_lock(remote, action.vm, tools.clock) as lock:
        step = _Step(action, tools, tools.readings, client, lock, records)
        async with asyncio.TaskGroup() as group:
            tasks = {disk: group.create_task(step.disk(disk)) for disk in action.disks}
        paths = {step.reference(disk.snapshot): step.path(disk) for disk in action.disks}
        # What was to be a delta may have come whole: its own headers say.
        since_full = {
            disk.disk: 0 if task.result().parent is None else disk.since_full
            for disk, task in tasks.items()
        }
        metadata = compose(
            action.stamp, action.job_id, action.schedules, "", records, paths, since_full
        )
        await write.publish_point(lock, metadata)
    await step.mark_exported()


@dataclass(frozen=True, slots=True)
class _Step:
    """What the disks of one export share."""

    action: Export
    tools: Tools
    readings: Readings
    client: XapiClient
    lock: VmLock
    records: PointRecords

    def path(self, disk: DiskExport) -> str:
        return layout.disk_path(
            self.action.job_id, disk.disk, self.action.stamp, blocks=self.action.blocks
        )

    def reference(self, snapshot: DiskSnapshotUuid) -> str:
        for ref, record in self.records.vdis.items():
            if record["uuid"] == snapshot:
                return ref
        raise Refused(Reason.WORLD_CHANGED, f"disk snapshot {snapshot} is not there any more")

    async def disk(self, disk: DiskExport) -> DiskFile:
        """Publish one disk, unless an earlier try did."""
        path = self.path(disk)
        published = await write.find_disk(self.lock, path, disk.snapshot)
        if published is not None:
            self.readings.withdraw(id_of(self.action), disk)
            return published
        try:
            sums = await self._receive(disk, path)
        except DeltaRefused as refusal:
            # Better the whole disk now than no point; the next delta stands on it.
            log.warning("delta refused, sending it whole", disk=disk.disk, why=str(refusal))
            whole = replace(disk, kind=ExportKind.FULL, base=None, base_file=None)
            sums = await self._receive(whole, path)
        file = await write.publish_disk(self.lock, path)
        if sums is not None:
            await put_sums(self.lock.remote, self.action.vm, parsed(path), sums)
        return file

    async def mark_exported(self) -> None:
        """Tell Xen Orchestra that a delta may be taken against this snapshot. We look ourselves.

        The point stands already; that a mark could not be written does not undo it.
        """
        try:
            snapshot = str(await self.client.call("VM.get_by_uuid", self.action.snapshot))
            for kind, ref in [("VM", snapshot), *(("VDI", vdi) for vdi in self.records.vdis)]:
                await self.client.call(f"{kind}.remove_from_other_config", ref, EXPORTED_KEY)
                await self.client.call(f"{kind}.add_to_other_config", ref, EXPORTED_KEY, "true")
        except XapiError as error:
            log.debug("snapshot not marked as exported", why=str(error))

    async def _receive(self, disk: DiskExport, path: str) -> DiskSums | None:
        """Receive a disk under its temporary name, with all who want it too; return the checksums
        of what came, if they are wanted."""
        identity = self._identity(disk)
        sink = await sink_for(self.lock, path, identity, self.tools.block_workers)
        summing = SummingSink(sink) if self.action.checksums else None
        received = await self.readings.receive(
            id_of(self.action),
            disk,
            summing or sink,
            lambda base: self._opened(disk.snapshot, base),
            self.tools.gauge,
        )
        log.debug(
            "disk received",
            disk=disk.disk,
            bytes=received.file_bytes,
            delta=received.differencing,
            waiting=received.buffers_peak,
        )
        if summing is None:
            return None
        parent = None
        if received.differencing:
            assert disk.base is not None and disk.base_file is not None, "a delta has a base"
            parent = stamp_in(disk.base_file), disk.base
        return DiskSums(disk.snapshot, parent, summing.sums)

    def _identity(self, disk: DiskExport) -> Identity:
        return Identity(
            uuid=disk.snapshot,
            parent_uuid=disk.base,
            parent_name=disk.base_file,
            timestamp=int(instant_of(self.action.stamp).timestamp()),
        )

    def _opened(
        self, snapshot: DiskSnapshotUuid, base: DiskSnapshotUuid | None
    ) -> AbstractAsyncContextManager[ByteSource]:
        ref = self.reference(snapshot)
        label = str(self.records.vdis[ref].get("name_label", ""))
        return disk_stream(self.action, self.tools, self.client, ref, base, label)
