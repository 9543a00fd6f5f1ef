"""Which files a disk of a restore point stands on, as keys for the data plane, tip first.

Names only: whether each file is the one that its child was made over is checked when the chain is
opened, where journals of unfinished merges are understood too.
"""

from reconciler.catalog import layout
from reconciler.catalog.errors import NotSafe
from reconciler.catalog.metadata import disk_paths
from reconciler.catalog.read import read_metadata
from reconciler.catalog.read_disks import read_disk
from reconciler.ids import DiskUuid, Stamp, VmUuid
from reconciler.observed.chain import FileState
from reconciler.remotes.errors import Missing
from reconciler.remotes.remote import Remote

LINKS_MAX = 1000


async def chain_keys(remote: Remote, vm: VmUuid, stamp: Stamp, disk: DiskUuid) -> list[str]:
    """Keys of one disk's chain. Raises NotSafe if there is none, MetadataInvalid, RemoteError."""
    metadata = await read_metadata(remote, vm, stamp)
    for place in disk_paths(metadata).values():
        if place.disk == disk:
            return await chain_keys_of(remote, vm, place.path)
    raise NotSafe(layout.metadata_path(stamp), f"the point has no disk {disk}")


async def chain_keys_of(remote: Remote, vm: VmUuid, path: str) -> list[str]:
    """Keys from a disk file down to its full. Raises NotSafe, RemoteError."""
    keys: list[str] = []
    below: str | None = path
    while below is not None:
        key = layout.key_of(vm, below)
        if key in keys or len(keys) >= LINKS_MAX:
            raise NotSafe(below, "the chain goes in a circle, or has no end")
        file = await read_disk(remote, vm, below, in_merge=await _in_merge(remote, key))
        if file.state is FileState.BROKEN:
            raise NotSafe(below, file.why)
        keys.append(key)
        below = file.parent_path
    return keys


async def _in_merge(remote: Remote, key: str) -> bool:
    try:
        await remote.stat(layout.journal_of(key))
    except Missing:
        return False
    return True
