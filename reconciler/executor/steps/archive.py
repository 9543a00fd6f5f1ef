"""Make the restore point of one snapshot on one remote as one archive of the whole VM.

The archive is seen under its name only once the pool said that it sent all, and what came was
checked to its end; the metadata comes last. A try that was interrupted begins again: a pool cannot
be asked for the rest of an archive.
"""

import structlog

from reconciler.catalog.archives import begin_archive, publish_archive
from reconciler.catalog.lock import VmLock, vm_lock
from reconciler.catalog.metadata import PointRecords, compose_full
from reconciler.executor.tools import Tools
from reconciler.executor.vm_records import collect
from reconciler.plan.actions import Archive
from reconciler.transfer.archive import ArchiveSink, CheckedSource, ReceivedArchive
from reconciler.transfer.fanout import fan_out_bytes
from reconciler.xapi.archives import open_vm_export
from reconciler.xapi.client import XapiClient

log = structlog.get_logger(__name__)

_SINK = "remote"


async def run(action: Archive, tools: Tools) -> None:
    """Export the VM, then write the point's metadata.

    Raises XapiError, RemoteError, StreamError, XvaError, CatalogError.
    """
    client = await tools.pool(action.pool)
    remote = await tools.remote(action.remote)
    records = await collect(client, action.vm, action.snapshot)
    async with vm_lock(remote, action.vm, tools.clock) as lock:
        key = await begin_archive(lock, action.job_id, action.stamp)
        if key is None:
            return
        async with tools.export_slot(action.pool):
            received = await _receive(action, tools, client, lock, key)
        await _publish(action, lock, records, received)


async def _receive(
    action: Archive, tools: Tools, client: XapiClient, lock: VmLock, key: str
) -> ReceivedArchive:
    snapshot = str(await client.call("VM.get_by_uuid", action.snapshot))
    sink = ArchiveSink(lock.remote, key, size_expected=action.estimate_bytes)
    async with await open_vm_export(
        client, snapshot, action.compression, label=action.vm_name
    ) as stream:
        source = CheckedSource(stream)
        outcome = await fan_out_bytes(source, {_SINK: sink}, on_progress=tools.gauge.advance)
    if isinstance(error := outcome[_SINK], Exception):
        raise error
    return source.received


async def _publish(
    action: Archive, lock: VmLock, records: PointRecords, received: ReceivedArchive
) -> None:
    checked = received.checked
    metadata = compose_full(
        action.stamp, action.job_id, action.schedules, records, checked.stream_bytes
    )
    await publish_archive(lock, metadata, received.md5)
    log.debug(
        "archive received",
        bytes=checked.stream_bytes,
        unpacked=checked.seen.archive_bytes,
        compression=checked.compression,
        unverified_chunks=checked.seen.unverified,
    )
