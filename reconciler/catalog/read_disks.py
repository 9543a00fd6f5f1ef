"""What one disk of a point is on a remote: a file, or an alias of a block directory.

Tables only; blocks are read by whoever restores or verifies. Knows keys and formats; what else lies
in the directory, and what that means, is for read.py.
"""

from collections.abc import Mapping
from dataclasses import replace

from reconciler.catalog import layout
from reconciler.ids import DiskSnapshotUuid, VmUuid
from reconciler.observed.chain import DiskFile, FileState
from reconciler.remotes.errors import Missing
from reconciler.remotes.remote import Remote
from reconciler.transfer import disk_file
from reconciler.transfer.block_directory import (
    BlockDirectory,
    read_alias,
    read_block_directory,
    read_tables,
)
from reconciler.transfer.errors import ChainBroken
from reconciler.vhd.layout import BLOCK


async def read_disk(remote: Remote, vm: VmUuid, path: str, *, in_merge: bool = False) -> DiskFile:
    """Read a disk's headers and table. in_merge: another is being merged with it.

    One that was read and is no whole disk is BROKEN. Raises RemoteError if it could not be read:
    that says nothing of the disk (Missing: its file, or its alias, is not there).
    """
    if layout.is_alias(path):
        return await _read_alias(remote, vm, path)
    async with remote.open(layout.key_of(vm, path)) as file:
        size = await file.size()
        try:
            found = await (disk_file.read_unfinished if in_merge else disk_file.read_disk_file)(
                file
            )
        except ChainBroken as error:
            return _broken(path, error.message, size)
    return _described(path, found, found.bat.count() * BLOCK)


async def read_received(remote: Remote, vm: VmUuid, place: layout.DiskPath) -> DiskFile:
    """Read a disk that was received and has no name yet, as the one that it will be.

    As `read_disk`. Raises Missing if nothing was received.
    """
    if not place.blocks:
        partial = await read_disk(remote, vm, layout.partial_of(place.path))
        return replace(partial, path=place.path)
    data = layout.data_path(place.job, place.disk, place.stamp)
    directory = layout.key_of(vm, data)
    await remote.list(directory)
    try:
        found = await read_tables(remote, layout.key_of(vm, place.path), directory)
    except ChainBroken as error:
        return _broken(place.path, error.message, 0, data)
    return _of_directory(place.path, found)


async def list_data(remote: Remote, vm: VmUuid, directory: str) -> Mapping[str, tuple[int, int]]:
    """List the block directories of one disk of one job: by path, (mtime_ns, inode) of each."""
    path = f"{directory}/{layout.DATA}"
    try:
        entries = await remote.list(layout.key_of(vm, path))
    except Missing:
        return {}
    return {
        f"{path}/{entry.name}": (entry.stat.mtime_ns, entry.stat.inode)
        for entry in entries
        if entry.stat.is_directory
    }


async def _read_alias(remote: Remote, vm: VmUuid, path: str) -> DiskFile:
    alias = layout.key_of(vm, path)
    try:
        return _of_directory(path, await read_block_directory(remote, alias))
    except ChainBroken as error:
        try:
            data = _beside(alias, path, await read_alias(remote, alias))
        except ChainBroken:
            data = ""
        return _broken(path, error.message, 0, data)


def _beside(alias: str, path: str, directory: str) -> str:
    """Make a key a path. alias, path: key and path of the same alias."""
    return directory.removeprefix(alias.removesuffix(path))


def _of_directory(path: str, found: BlockDirectory) -> DiskFile:
    described = _described(path, found, len(found.present) * BLOCK)
    return replace(described, data=_beside(found.alias, path, found.directory))


def _described(path: str, found: disk_file.DiskFile | BlockDirectory, data_bytes: int) -> DiskFile:
    read = DiskFile(
        path=path,
        uuid=DiskSnapshotUuid(found.uuid),
        parent=None,
        parent_uuid=None,
        virtual_bytes=found.size,
        file_bytes=found.file_bytes,
        data_bytes=data_bytes,
    )
    parent_uuid = found.header.parent_uuid
    if not found.is_differencing or parent_uuid is None:
        return read
    return replace(read, parent=found.header.parent_name, parent_uuid=DiskSnapshotUuid(parent_uuid))


def _broken(path: str, why: str, file_bytes: int, data: str = "") -> DiskFile:
    return DiskFile(
        path=path,
        uuid=DiskSnapshotUuid(""),
        parent=None,
        parent_uuid=None,
        virtual_bytes=0,
        file_bytes=file_bytes,
        data_bytes=0,
        state=FileState.BROKEN,
        why=why,
        data=data,
    )
