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
from reconciler.observed.marks import EXPORTED_KEY
from reconciler.plan.actions import DiskExport, Export, ExportKind
from reconciler.plan.reasons import Reason
from reconciler.transfer.export import receive_vhd
from reconciler.transfer.sink import Identity
from reconciler.vhd.errors import VhdUnsupported
from reconciler.xapi.client import XapiClient
from reconciler.xapi.disks import open_export
from reconciler.xapi.errors import StreamRefused, XapiError, XapiFailure

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
        metadata = compose(action.stamp, action.job_id, action.schedules, "", records, paths)
        await write.publish_point(lock, metadata)
    await step.mark_exported()


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
            try:
                await self._receive(disk, path, disk.base)
            except (XapiFailure, StreamRefused, VhdUnsupported) as error:
                if disk.kind is ExportKind.FULL or not _refuses_delta(error):
                    raise
                # Better the whole disk now than no point; the next delta stands on it.
                log.warning("delta refused, sending it whole", disk=disk.disk, why=str(error))
                await self._receive(disk, path, None)
        return await write.publish_disk(self.lock, path)

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
                on_expected=self.tools.gauge.expect,
            )
        log.debug(
            "disk received",
            disk=disk.disk,
            bytes=received.file_bytes,
            delta=received.differencing,
        )


_NO_DELTA_HERE = frozenset(
    {"INTERNAL_ERROR", "VDI_INCOMPATIBLE_TYPE", "SR_OPERATION_NOT_SUPPORTED", "VDI_NOT_MANAGED"}
)


def _refuses_delta(error: XapiFailure | StreamRefused | VhdUnsupported) -> bool:
    """Whether the pool cannot make this delta at all. A lost connection is no such refusal."""
    return not isinstance(error, XapiFailure) or error.code in _NO_DELTA_HERE
