"""Where a disk that is about to come goes on a remote, in either layout.

Under the VM's lock. What is received under these names is nobody's until `write.publish_disk` names
it; what an earlier try left there is used or replaced by the sink.
"""

from reconciler.catalog import layout, read
from reconciler.catalog.errors import NotSafe
from reconciler.catalog.lock import VmLock
from reconciler.catalog.safety import parsed
from reconciler.catalog.write import check_unpublished
from reconciler.transfer.block_codec import BlockWorkers
from reconciler.transfer.block_sink import BlockDirectorySink
from reconciler.transfer.sink import DiskSink, Identity
from reconciler.transfer.vhd_sink import VhdFileSink


async def sink_for(lock: VmLock, path: str, identity: Identity, workers: BlockWorkers) -> DiskSink:
    """Make the sink for a disk that `publish_disk` will then give this path.

    In block mode the directory that it fills must be nobody's: an alias of the same name, of a try
    that did not get as far as a point, is taken away first. Raises NotSafe if another one names
    it, or one that makes no sense may; LockLost; RemoteError.
    """
    key = layout.key_of(lock.vm, path)
    place = parsed(path)
    if not place.blocks:
        return VhdFileSink(lock.remote, layout.partial_of(key), identity)
    data = layout.data_path(place.job, place.disk, place.stamp)
    beside = await read.read_directory(lock.remote, lock.vm, place.directory)
    for file in beside.files.values():
        if file.path != path and file.blocks and file.data in ("", data):
            raise NotSafe(path, f"{file.file_name} names its block directory, or may")
    if path in beside.files:
        await check_unpublished(lock, place.stamp, path)
        await lock.verify()
        await lock.remote.delete(key)
    return BlockDirectorySink(lock.remote, key, layout.key_of(lock.vm, data), identity, workers)
