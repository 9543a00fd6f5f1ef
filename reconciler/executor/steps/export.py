"""Make the restore point of one snapshot on one remote.

Disks first, each under a temporary name until it is whole; metadata last: before it there is no
point, and whatever is left over is recognised, and either used by the next try or cleaned. A disk
that an interrupted try already published is not sent again.
"""

import asyncio
from dataclasses import dataclass

import structlog

from reconciler.catalog import layout, write
from reconciler.catalog.lock import VmLock, vm_lock
from reconciler.catalog.metadata import PointRecords, compose
from reconciler.executor.refusal import Refused
from reconciler.executor.tools import Tools
from reconciler.executor.vm_records import collect
from reconciler.ids import DiskSnapshotUuid, instant_of
from reconciler.observed.chain import DiskFile
from reconciler.plan.actions import DiskExport, Export, ExportKind
from reconciler.plan.reasons import Reason
from reconciler.transfer.export import Identity, receive_vhd
from reconciler.transfer.source import StreamError
from reconciler.vhd.errors import VhdError
from reconciler.xapi.client import XapiClient
from reconciler.xapi.disks import open_export
from reconciler.xapi.errors import StreamBroken, StreamStalled, XapiFailure

log = structlog.get_logger(__name__)


async def run(action: Export, tools: Tools) -> None:
    """Export what the remote still lacks of the point, then write its metadata.

    Raises XapiError, RemoteError, StreamError, VhdError, CatalogError, Refused.
    """
    client = await tools.pool(action.pool)
    remote = await tools.remote(action.remote)
    records = await collect(client, action.vm, action.snapshot)
    async with vm_lock(remote, action.vm, tools.clock) as lock:
        step = _Step(action, tools, client, lock, records)
        async with asyncio.TaskGroup() as group:
            for disk in action.disks:
                group.create_task(step.disk(disk))
        paths = {step.reference(disk.snapshot): step.path(disk) for disk in action.disks}
        revision = ""
        metadata = compose(action.stamp, action.job_id, action.schedules, revision, records, paths)
        await write.publish_point(lock, metadata)


@dataclass(frozen=True, slots=True)
class _Step:
    """What the disks of one export share."""

    action: Export
    tools: Tools
    client: XapiClient
    lock: VmLock
    records: PointRecords

    def path(self, disk: DiskExport) -> str:
        return layout.disk_path(self.action.job_id, disk.disk, self.action.stamp)

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
            return published
        async with self.tools.export_slot(self.action.pool):
            if disk.kind is ExportKind.DELTA:
                try:
                    await self._receive(disk, path, disk.base)
                except (XapiFailure, StreamBroken, StreamError, VhdError) as error:
                    if isinstance(error, StreamStalled):
                        raise
                    # Better the whole disk now than no point; the next delta stands on it.
                    log.warning("delta refused, sending it whole", disk=disk.disk, why=str(error))
                    await self._receive(disk, path, None)
            else:
                await self._receive(disk, path, None)
        return await write.publish_disk(self.lock, path)

    async def _receive(self, disk: DiskExport, path: str, base: DiskSnapshotUuid | None) -> None:
        """Receive a disk under its temporary name; base: what the delta is taken against."""
        base_ref = None if base is None else await self.client.call("VDI.get_by_uuid", base)
        name = str(self.records.vdis[self.reference(disk.snapshot)].get("name_label", ""))
        identity = Identity(
            uuid=disk.snapshot,
            parent_uuid=base,
            parent_name=None if base is None else disk.base_file,
            timestamp=int(instant_of(self.action.stamp).timestamp()),
        )
        async with await open_export(
            self.client, self.reference(disk.snapshot), base_ref, label=name
        ) as stream:
            received = await receive_vhd(
                stream,
                self.lock.remote,
                layout.partial_of(layout.key_of(self.lock.vm, path)),
                identity,
                on_progress=self.tools.gauge.advance,
            )
        log.debug(
            "disk received",
            disk=disk.disk,
            bytes=received.file_bytes,
            delta=received.differencing,
        )
