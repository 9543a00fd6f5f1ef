"""Metadata appears, changes and disappears; Xen Orchestra's cache is taken away before, and put
back after, right.

The one place that makes a restore point exist, or no more. What it stands on is for others.
"""

from collections.abc import Mapping, Sequence

from reconciler.catalog import cache, layout
from reconciler.catalog.errors import MetadataInvalid
from reconciler.catalog.lock import VmLock
from reconciler.catalog.metadata import METADATA_BYTES_MAX
from reconciler.ids import Stamp
from reconciler.remotes.errors import RemoteError


async def change_metadata(lock: VmLock, changes: Mapping[Stamp, bytes | None]) -> None:
    """Write the metadata of each point, or delete it where there is None; durable on return.

    Raises MetadataInvalid before anything is done if it is larger than may be read; LockLost,
    RemoteError.
    """
    for stamp, content in changes.items():
        if content is not None and len(content) > METADATA_BYTES_MAX:
            path = layout.metadata_path(stamp)
            raise MetadataInvalid(f"{path} would have {len(content)} bytes")
    if not changes:
        return
    entries = await cache.take_away(lock.remote, lock.vm)
    for stamp, content in changes.items():
        key = layout.metadata_key(lock.vm, stamp)
        await lock.verify()
        if content is None:
            await lock.remote.delete(key)
        else:
            await lock.remote.put(key, content)
    await _put_back(lock, entries, changes)


async def _put_back(
    lock: VmLock, entries: cache.Entries | None, changes: Mapping[Stamp, bytes | None]
) -> None:
    """Publish the cache as it is after the changes, if it is right.

    Without a cache nothing is wrong, so no error here is one of the action.
    """
    if entries is None:
        return
    for stamp, content in changes.items():
        key = cache.entry_key(lock.vm, stamp)
        if content is None:
            entries.pop(key, None)
        else:
            entries[key] = cache.entry_of(lock.vm, stamp, content)
    try:
        listed = await lock.remote.list(layout.vm_key(lock.vm))
        if set(entries) == _cache_keys(lock, [entry.name for entry in listed]):
            await cache.put_back(lock.remote, lock.vm, entries)
    except RemoteError:
        return


def _cache_keys(lock: VmLock, names: Sequence[str]) -> set[str]:
    return {f"/{layout.key_of(lock.vm, name)}" for name in names if layout.is_metadata_like(name)}
