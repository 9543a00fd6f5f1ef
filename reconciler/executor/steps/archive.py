"""Make the restore point of one snapshot on one remote as one archive of the whole VM.

The archive is seen under its name only once the pool said that it sent all, and what came was
checked to its end; the metadata comes last. A try that was interrupted begins again: a pool cannot
be asked for the rest of an archive.
"""

import contextlib
from collections.abc import AsyncIterator

import structlog

from reconciler.catalog.archives import begin_archive, publish_archive
from reconciler.catalog.lock import vm_lock
from reconciler.catalog.metadata import compose_full
from reconciler.executor.tools import Tools
from reconciler.executor.vm_records import collect
from reconciler.plan.actions import Archive, id_of
from reconciler.transfer.archive import ArchiveSink, CheckedSource
from reconciler.transfer.source import OpenSource
from reconciler.xapi.archives import open_vm_export
from reconciler.xapi.client import XapiClient

log = structlog.get_logger(__name__)


async def run(action: Archive, tools: Tools) -> None:
    """Export the VM, with all who want it too, then write the point's metadata.

    Raises XapiError, RemoteError, StreamError, XvaError, CatalogError.
    """
    assert tools.readings is not None, "an archive is read from a pool"
    client = await tools.pool(action.pool)
    remote = await tools.remote(action.remote)
    records = await collect(client, action.vm, action.snapshot)
    async with vm_lock(remote, action.vm, tools.clock) as lock:
        key = await begin_archive(lock, action.job_id, action.stamp)
        if key is None:
            return
        sink = ArchiveSink(remote, key, size_expected=action.estimate_bytes)
        size_bytes = await tools.readings.receive_archive(
            id_of(action),
            action.compression,
            sink,
            lambda: _opened(action, tools, client),
            tools.gauge,
        )
        metadata = compose_full(action.stamp, action.job_id, action.schedules, records, size_bytes)
        await publish_archive(lock, metadata, None if remote.traits.encrypted else sink.md5)


@contextlib.asynccontextmanager
async def _opened(action: Archive, tools: Tools, client: XapiClient) -> AsyncIterator[OpenSource]:
    """The stream of the VM, checked as it comes."""
    async with tools.export_slot(action.pool):
        snapshot = str(await client.call("VM.get_by_uuid", action.snapshot))
        async with await open_vm_export(
            client, snapshot, action.compression, label=action.vm_name
        ) as stream:
            source = CheckedSource(stream)
            yield source
    if (checked := source.checked) is not None:
        log.debug(
            "archive received",
            bytes=checked.stream_bytes,
            unpacked=checked.seen.archive_bytes,
            compression=checked.compression,
            unverified_chunks=checked.seen.unverified,
        )
