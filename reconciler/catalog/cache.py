"""`cache.json.gz`: the listing of a VM's points that Xen Orchestra keeps for itself, and trusts.

A wrong one makes Xen Orchestra's retention count wrong, an absent one is rebuilt. So whoever
changes the points removes it first and puts a right one back afterwards; after a crash in between
there is none.
"""

import gzip
import json
import zlib
from collections.abc import Mapping

from pydantic import JsonValue

from reconciler.catalog.layout import cache_key, metadata_key
from reconciler.ids import Stamp, VmUuid
from reconciler.remotes.errors import Missing, TooLarge
from reconciler.remotes.remote import Remote

PACKED_BYTES_MAX = 4 * 1024 * 1024
BYTES_MAX = 64 * 1024 * 1024
"""Unpacked. A larger cache is not carried on: rebuilding it costs time, nothing else."""

_GZIP = 16 + zlib.MAX_WBITS

Entries = dict[str, JsonValue]


def entry_key(vm: VmUuid, stamp: Stamp) -> str:
    """The key of a point in the cache: absolute, unlike our keys."""
    return f"/{metadata_key(vm, stamp)}"


def entry_of(vm: VmUuid, stamp: Stamp, metadata: bytes) -> JsonValue:
    """The entry that Xen Orchestra makes of a point's metadata."""
    key = entry_key(vm, stamp)
    fields: dict[str, JsonValue] = json.loads(metadata)
    return {**fields, "_filename": key, "id": key, "isImmutable": False}


def parse(packed: bytes) -> Entries | None:
    """Unpack a cache; None if it is not one, or is larger than it may be."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        content = unpacker.decompress(packed, BYTES_MAX)
        if not unpacker.eof:
            return None
        entries: object = json.loads(content)
    except (zlib.error, ValueError, RecursionError):
        return None
    return entries if isinstance(entries, dict) else None


def render(entries: Mapping[str, JsonValue]) -> bytes:
    content = json.dumps(entries, separators=(",", ":")).encode()
    return gzip.compress(content, compresslevel=6, mtime=0)


async def take_away(remote: Remote, vm: VmUuid) -> Entries | None:
    """Remove the cache, durably, and return what was in it; None if it was none or unreadable.

    Raises RemoteError if it may still be there.
    """
    try:
        packed = await remote.get(cache_key(vm), PACKED_BYTES_MAX)
    except Missing:
        packed = b""
    except TooLarge:
        packed = b""
    await remote.delete(cache_key(vm))
    return parse(packed)


async def put_back(remote: Remote, vm: VmUuid, entries: Entries | None) -> None:
    """Publish a right cache; nothing if there is nothing to carry on. Raises RemoteError."""
    if entries is None:
        return
    packed = render(entries)
    if len(packed) <= PACKED_BYTES_MAX:
        await remote.put(cache_key(vm), packed)
