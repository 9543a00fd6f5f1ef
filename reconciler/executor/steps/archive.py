"""Make the restore point of one snapshot on one remote as one archive of the whole VM.

The archive is seen under its name only once the pool said that it sent all, and what came was
checked to its end; the metadata comes last. A try that was interrupted begins again: a pool cannot
be asked for the rest of an archive.
"""

from reconciler.catalog.archives import begin_archive, publish_archive
from reconciler.catalog.lock import vm_lock
from reconciler.catalog.metadata import compose_full
from reconciler.executor.pool_streams import vm_stream
from reconciler.executor.tools import Tools
from reconciler.executor.vm_records import collect
from reconciler.plan.actions import Archive, id_of
from reconciler.transfer.archive import ArchiveSink


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
            lambda: vm_stream(action, tools, client),
            tools.gauge,
        )
        metadata = compose_full(action.stamp, action.job_id, action.schedules, records, size_bytes)
        await publish_archive(lock, metadata, None if remote.traits.encrypted else sink.md5)
