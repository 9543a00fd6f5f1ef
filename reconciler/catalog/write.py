"""Changing what a remote holds of a VM: publishing, pruning, cleaning, merging.

Every function wants the VM's lock, reads again what it is about to touch, and does nothing at all
if the remote does not bear out what the action was planned on (NotSafe). Each can be run again
after any crash or error and then ends where it would have ended.

    publish   disk files, each whole before it has its name; the metadata last: then there is a
              point
    prune     the metadata first: then there is no point; an archive goes with it, disk files
              follow by merge or clean
    clean     only what no point, no file and no merge can need, everything having been read

Points of kind Archive are made in archives.py.
"""

from collections.abc import Callable, Iterable, Mapping

from reconciler.catalog import layout, read
from reconciler.catalog.archives import begin_removal, remove_archive
from reconciler.catalog.errors import MetadataInvalid, NotSafe
from reconciler.catalog.lock import VmLock
from reconciler.catalog.metadata import PointMetadata, point_of
from reconciler.catalog.points import change_metadata
from reconciler.catalog.read_disks import read_received
from reconciler.catalog.safety import (
    check_fits,
    check_mergeable,
    check_prunable,
    parsed,
    removable,
    why_broken,
)
from reconciler.ids import DiskSnapshotUuid, Stamp
from reconciler.observed.chain import DiskFile, History, RestorePoint
from reconciler.remotes.errors import Missing
from reconciler.transfer.block_directory import alias_content, remove_tree
from reconciler.transfer.merge import merge
from reconciler.transfer.merge_blocks import merge_blocks


async def find_disk(lock: VmLock, path: str, snapshot: DiskSnapshotUuid) -> DiskFile | None:
    """Find a disk file that an interrupted try already published, whole down to its full.

    Raises RemoteError.
    """
    directory = parsed(path).directory
    files = (await read.read_directory(lock.remote, lock.vm, directory)).files
    file = files.get(path)
    if file is None or file.uuid != snapshot or why_broken(files, path):
        return None
    return file


async def publish_disk(lock: VmLock, path: str) -> DiskFile:
    """Give a disk its name: a file received under `layout.partial_of(path)`, or the block
    directory at `layout.data_path`, which gets an alias.

    Raises NotSafe if it is not whole, or is not the one file that may stand on its parent;
    LockLost; RemoteError.
    """
    place = parsed(path)
    beside = await read.read_directory(lock.remote, lock.vm, place.directory)
    try:
        file = await read_received(lock.remote, lock.vm, place)
    except Missing:
        published = beside.files.get(path)
        if published is None or why_broken(beside.files, path):
            raise
        return published
    check_fits(file, beside)
    await check_unpublished(lock, place.stamp, path)
    await lock.verify()
    key = layout.key_of(lock.vm, path)
    if place.blocks:
        await lock.remote.put(key, alias_content(layout.key_of(lock.vm, file.data)))
    else:
        await lock.remote.publish(layout.partial_of(key), key)
    return file


async def publish_point(lock: VmLock, metadata: PointMetadata) -> RestorePoint:
    """Write a point's metadata: from then on it exists. Its disk files are published already.

    The sizes and kinds of the files are filled in as they are. Raises NotSafe if a disk file is
    missing, is of another snapshot or stands on a broken chain, or if another point has the name;
    MetadataInvalid; LockLost; RemoteError.
    """
    point = point_of(metadata, lock.vm, metadata.stamp)
    await _check_same_point(lock, point)
    files = await _files_of(lock, point)
    for disk in point.disks:
        if why := why_broken(files, disk.path):
            raise NotSafe(disk.path, why)
        if files[disk.path].uuid != disk.snapshot:
            raise NotSafe(disk.path, f"is of snapshot {files[disk.path].uuid}, not {disk.snapshot}")
        # A try before this one may have renamed the file and died before it synced the directory.
        await lock.remote.settle(layout.key_of(lock.vm, disk.path))
    complete = _described(metadata, files)
    await change_metadata(lock, {point.stamp: complete.render()})
    return point_of(complete, lock.vm, point.stamp)


async def prune_point(lock: VmLock, stamp: Stamp) -> None:
    """Take a point away: its metadata goes, durably, then its archive if it has one; no disk file.

    Raises LastGoodPoint if no other point of the VM could be restored then, NotSafe if its
    metadata is not understood; LockLost; RemoteError.
    """
    history = await read.read_afresh(lock.remote, lock.vm)
    archived = layout.archive_mark_path(stamp) in history.partials
    if not check_prunable(history, stamp):
        await _check_gone(lock, stamp)
    elif any(point.stamp == stamp and point.archive for point in history.points):
        await begin_removal(lock, stamp)
        archived = True
    await change_metadata(lock, {stamp: None})
    if archived:
        await remove_archive(lock, stamp)


async def clean_files(lock: VmLock, paths: Iterable[str]) -> int:
    """Remove unfinished uploads of ours and disk files that nothing needs; return their bytes.

    All or nothing is refused: if one of the paths may not go, none goes. One that is gone already
    is no matter. The caller knows that nobody is writing the unfinished ones. Raises NotSafe,
    LockLost, RemoteError.
    """
    history = await read.read_afresh(lock.remote, lock.vm)
    wanted = set(paths)
    partials = sorted(wanted.intersection(history.partials))
    disks = removable(history, wanted.difference(partials))
    freed_bytes = 0
    for path in partials:
        if (place := layout.parse_data_path(path)) is not None:
            await _settle_removals(lock, place)
            freed_bytes += await _remove_tree(lock, path)
            continue
        freed_bytes += await _size_of(lock, path)
        if (stamp := layout.parse_archive_mark(path)) is not None:
            freed_bytes += await remove_archive(lock, stamp)
        else:
            await _remove(lock, path)
    remaining = dict(history.files)
    for file in disks:
        del remaining[file.path]
        await _remove(lock, file.path)
        if not file.blocks:
            freed_bytes += file.file_bytes
        elif not any(other.data == file.data for other in remaining.values()):
            freed_bytes += await _remove_tree(lock, file.data)
    return freed_bytes


async def merge_disk(
    lock: VmLock, target: str, source: str, on_progress: Callable[[int], None] = lambda _: None
) -> DiskFile | None:
    """Fold the older file, whose point is gone, into the newer one, or finish doing so.

    on_progress: is told how many more bytes were merged. Returns the file that is left. Raises
    NotSafe if a point or another file needs the older one; what merge raises; LockLost.
    """
    history = await read.read_afresh(lock.remote, lock.vm)
    check_mergeable(history, target, source)
    await lock.verify()
    keys = layout.key_of(lock.vm, target), layout.key_of(lock.vm, source)
    if layout.is_alias(target):
        await merge_blocks(lock.remote, *keys, on_progress=on_progress)
    else:
        journal = layout.journal_of(keys[0])
        await merge(lock.remote, *keys, journal, on_progress=on_progress)
    history = await read.read_afresh(lock.remote, lock.vm)
    await _describe_anew(lock, history, source)
    return history.files.get(source)


# ── what is there ────────────────────────────────────────────────────────────────────────────────


async def check_unpublished(lock: VmLock, stamp: Stamp, path: str) -> None:
    """Raise NotSafe if a point has this instant already: its files are not replaced."""
    try:
        await lock.remote.stat(layout.metadata_key(lock.vm, stamp))
    except Missing:
        return
    raise NotSafe(path, f"restore point {stamp} is there already")


async def _check_same_point(lock: VmLock, point: RestorePoint) -> None:
    """Raise NotSafe if the point's name is taken by another one."""
    path = layout.metadata_path(point.stamp)
    try:
        present = await read.read_metadata(lock.remote, lock.vm, point.stamp)
        there = point_of(present, lock.vm, point.stamp)
    except Missing:
        return
    except MetadataInvalid as error:
        raise NotSafe(path, f"is there already, and is not understood: {error}") from error
    if (there.job, there.disks) != (point.job, point.disks):
        raise NotSafe(path, "another restore point was taken at the same second")


async def _check_gone(lock: VmLock, stamp: Stamp) -> None:
    """Raise NotSafe if metadata is there that is no point of ours."""
    path = layout.metadata_path(stamp)
    try:
        await lock.remote.stat(layout.metadata_key(lock.vm, stamp))
    except Missing:
        return
    raise NotSafe(path, "it is not a restore point")


# ── doing it ─────────────────────────────────────────────────────────────────────────────────────


async def _remove(lock: VmLock, path: str) -> None:
    await lock.verify()
    await lock.remote.delete(layout.key_of(lock.vm, path))


async def _settle_removals(lock: VmLock, place: layout.DiskPath) -> None:
    """Have aliases that are gone from a disk's directory stay so.

    One that was removed by a try which did not live to sync the directory could be back after a
    power cut, and would name a block directory that is half removed.
    """
    await _remove(lock, layout.partial_of(place.path))  # which syncs, whether or not it is there


async def _remove_tree(lock: VmLock, path: str) -> int:
    await lock.verify()
    return await remove_tree(lock.remote, layout.key_of(lock.vm, path))


async def _size_of(lock: VmLock, path: str) -> int:
    try:
        return (await lock.remote.stat(layout.key_of(lock.vm, path))).size_bytes
    except Missing:
        return 0


async def _files_of(lock: VmLock, point: RestorePoint) -> dict[str, DiskFile]:
    """Read the directories of a point's disks."""
    files: dict[str, DiskFile] = {}
    for directory in sorted({disk.path.rpartition("/")[0] for disk in point.disks}):
        files.update((await read.read_directory(lock.remote, lock.vm, directory)).files)
    return files


def _described(metadata: PointMetadata, files: Mapping[str, DiskFile]) -> PointMetadata:
    """Fill in what the disk files are."""
    own = {ref: files[path] for ref, path in metadata.vhds.items() if path in files}
    size_bytes = sum(file.file_bytes for file in own.values())
    return metadata.with_files(
        size_bytes, {ref: file.parent is not None for ref, file in own.items()}
    )


async def _describe_anew(lock: VmLock, history: History, path: str) -> None:
    """After a merge: say in the metadata of whatever point stands on the file what it is now."""
    stamps = [
        point.stamp for point in history.points if any(disk.path == path for disk in point.disks)
    ]
    changed: dict[Stamp, bytes | None] = {}
    for stamp in stamps:
        before = await read.read_metadata(lock.remote, lock.vm, stamp)
        after = _described(before, history.files)
        if after != before:
            changed[stamp] = after.render()
    await change_metadata(lock, changed)
