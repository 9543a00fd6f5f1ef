"""Restore points of kind Archive: one archive of the whole VM, its checksum, and the metadata.

    publish   a mark that an archive is on its way · the archive · its checksum · the metadata
    prune     the mark · the metadata · the archive · its checksum

The mark goes last, both times. It stands under a temporary name of ours, so what an interruption
leaves is found like any other unfinished upload; and only where it stands is an archive without
metadata ours to remove: anybody may have put one there.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import replace

from reconciler.catalog import layout
from reconciler.catalog.errors import MetadataInvalid, NotSafe
from reconciler.catalog.lock import VmLock
from reconciler.catalog.metadata import METADATA_BYTES_MAX, PointMetadata, point_of
from reconciler.catalog.points import change_metadata
from reconciler.ids import JobId, Stamp
from reconciler.observed.chain import PointKind, RestorePoint
from reconciler.remotes.errors import Missing


def judged(point: RestorePoint, sizes: Mapping[str, int]) -> RestorePoint:
    """Say of a point what is seen to be wrong with its archive, if it has one.

    sizes: of the files in the VM's directory. What lies in the archive was checked when it came.
    """
    if point.kind is not PointKind.ARCHIVE:
        return point
    found = sizes.get(point.archive)
    if found is None:
        return replace(point, flaw=f"{point.archive} is missing")
    if found != point.size_bytes > 0:
        why = f"{point.archive} has {found} bytes instead of {point.size_bytes}"
        return replace(point, flaw=why)
    return point


async def begin_archive(lock: VmLock, job: JobId, stamp: Stamp) -> str | None:
    """Mark that an archive is on its way; return the key that it goes under.

    None if the point is there already, from a try that did not live to say so. Raises NotSafe if
    another point has the name; LockLost, RemoteError.
    """
    if await _is_published(lock, job, stamp):
        await lock.remote.settle(layout.metadata_key(lock.vm, stamp))
        await remove_mark(lock, stamp)
        return None
    await lock.verify()
    await _mark(lock, stamp)
    return layout.key_of(lock.vm, layout.archive_path(stamp))


async def publish_archive(lock: VmLock, metadata: PointMetadata, md5: str | None) -> RestorePoint:
    """Write the metadata of a point whose archive is there: from then on it exists.

    md5: of the archive, hexadecimal; None where no checksum is to lie beside it. Raises NotSafe
    if the archive is not there as the metadata says, MetadataInvalid, LockLost, RemoteError.
    """
    point = point_of(metadata, lock.vm, metadata.stamp)
    assert point.kind is PointKind.ARCHIVE, "only these have archives"
    point = judged(point, await _sizes(lock, point.archive))
    if point.flaw:
        raise NotSafe(point.archive, point.flaw)
    if md5 is not None:
        key = layout.key_of(lock.vm, layout.checksum_path(point.stamp))
        await lock.remote.put(key, f"$1$${md5}".encode())
    await change_metadata(lock, {point.stamp: metadata.render()})
    await remove_mark(lock, point.stamp)
    return point


async def begin_removal(lock: VmLock, stamp: Stamp) -> None:
    """Mark that an archive is about to lose its metadata. Raises RemoteError."""
    await _mark(lock, stamp)


async def remove_archive(lock: VmLock, stamp: Stamp) -> int:
    """Remove what a mark stands for, and the mark; return how many bytes that were.

    Of a point that has metadata, the mark alone. Raises LockLost, RemoteError.
    """
    freed_bytes = 0
    metadata = layout.metadata_key(lock.vm, stamp)
    if await _has_metadata(lock, stamp):
        # It may have been written, or gone, a moment before a crash: what is done next must not
        # outlive it.
        await lock.remote.settle(metadata)
    else:
        await lock.verify()
        await lock.remote.delete(metadata)
        for path in (layout.archive_path(stamp), layout.checksum_path(stamp)):
            key = layout.key_of(lock.vm, path)
            with contextlib.suppress(Missing):
                freed_bytes += (await lock.remote.stat(key)).size_bytes
            await lock.verify()
            await lock.remote.delete(key)
    await remove_mark(lock, stamp)
    return freed_bytes


async def remove_mark(lock: VmLock, stamp: Stamp) -> None:
    """Say that an archive has arrived, or is gone. Raises LockLost, RemoteError."""
    await lock.verify()
    await lock.remote.delete(layout.key_of(lock.vm, layout.archive_mark_path(stamp)))


async def _mark(lock: VmLock, stamp: Stamp) -> None:
    await lock.remote.put(layout.key_of(lock.vm, layout.archive_mark_path(stamp)), b"")


async def _has_metadata(lock: VmLock, stamp: Stamp) -> bool:
    try:
        await lock.remote.stat(layout.metadata_key(lock.vm, stamp))
    except Missing:
        return False
    return True


async def _is_published(lock: VmLock, job: JobId, stamp: Stamp) -> bool:
    """Whether the very point is there. Raises NotSafe if something else has its name."""
    path = layout.metadata_path(stamp)
    try:
        content = await lock.remote.get(layout.metadata_key(lock.vm, stamp), METADATA_BYTES_MAX)
        point = point_of(PointMetadata.parse(content), lock.vm, stamp)
    except Missing:
        return False
    except MetadataInvalid as error:
        raise NotSafe(path, f"is there already, and is not understood: {error}") from error
    if point.kind is not PointKind.ARCHIVE or point.job != job:
        raise NotSafe(path, "another restore point was taken at the same second")
    if flaw := judged(point, await _sizes(lock, point.archive)).flaw:
        raise NotSafe(path, f"the point is there already, and {flaw}")
    return True


async def _sizes(lock: VmLock, path: str) -> dict[str, int]:
    try:
        return {path: (await lock.remote.stat(layout.key_of(lock.vm, path))).size_bytes}
    except Missing:
        return {}
