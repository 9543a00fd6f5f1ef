"""Checksums of what a disk held at each restore point: `.reconciler/sums/…/<stamp>.sums`.

They follow snapshots, not files: each says which blocks changed since the snapshot below it, and
a merge changes none of that. So what a point must read as is told by its own and those below,
whatever was folded into what meanwhile. As with proofs, nothing hangs on them: where one is
missing, or makes no sense, less is known.

    one line of JSON    version, method, snapshot, parent (stamp) and parentSnapshot, count
    count · uint32      block numbers, little-endian
    count · uint64      their checksums
    uint64              the checksum of all before
"""

import asyncio
import json
import sys
from array import array
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reconciler.catalog.layout import DiskPath
from reconciler.ids import STAMP, UUID, DiskSnapshotUuid, Stamp, VmUuid
from reconciler.remotes.errors import Missing, TooLarge
from reconciler.remotes.remote import Remote
from reconciler.transfer.sums import METHOD, BlockSums, SumTable, sum_of

SUMS = ".reconciler/sums"
FILE_BYTES_MAX = 256 * 1024 * 1024
"""Of a disk of 40 TiB."""
_LAYERS_MAX = 4096
_HEAD_BYTES_MAX = 4096
_SUFFIX = ".sums"
_CHECK_BYTES = 8

Uuid = Annotated[str, Field(pattern=f"^{UUID.pattern}$")]


class _Head(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    version: Literal[1]
    method: Literal["xxh3_64"]
    snapshot: Uuid
    parent: Annotated[str, Field(pattern=f"^{STAMP.pattern}$")] | None
    parent_snapshot: Annotated[Uuid | None, Field(alias="parentSnapshot")]
    count: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class DiskSums:
    """Of one disk at one snapshot: of the blocks that changed since `parent`, or of all of them.

    parent: stamp and snapshot that these stand on.
    """

    snapshot: DiskSnapshotUuid
    parent: tuple[Stamp, DiskSnapshotUuid] | None
    sums: BlockSums


async def put_sums(remote: Remote, vm: VmUuid, place: DiskPath, sums: DiskSums) -> None:
    """Write them, replacing those of an earlier try. Durable on return. Raises RemoteError."""
    await remote.put(_key(vm, place, place.stamp), _render(sums))


async def read_table(
    remote: Remote, vm: VmUuid, place: DiskPath, snapshot: DiskSnapshotUuid, blocks: int
) -> SumTable | None:
    """Put together what a disk of so many blocks must read as; None if that is not all known.

    Raises RemoteError.
    """
    layers: list[BlockSums] = []
    below: tuple[Stamp, DiskSnapshotUuid] | None = (place.stamp, snapshot)
    while below is not None:
        stamp, wanted = below
        found = await _read(remote, vm, place, stamp)
        if found is None or found.snapshot != wanted or len(layers) == _LAYERS_MAX:
            return None
        layers.append(found.sums)
        below = found.parent
    return await asyncio.to_thread(SumTable, layers[::-1], blocks)  # a TiB has half a million


async def tidy(remote: Remote, vm: VmUuid, place: DiskPath, points: Collection[Stamp]) -> None:
    """Remove those of a disk that are older than this point's, and that no point needs any more.

    points: stamps of all that there are of the VM. Raises RemoteError.
    """
    try:
        entries = await remote.list(_directory(vm, place))
    except Missing:
        return
    names = {entry.name for entry in entries if entry.stat.is_regular}
    older = {
        Stamp(stamp)
        for name in names
        if STAMP.fullmatch(stamp := name.removesuffix(_SUFFIX)) and stamp < place.stamp
    }
    needed: set[Stamp] = set()
    for point in older.intersection(points):
        below: Stamp | None = point
        while below in older and below not in needed:
            needed.add(below)
            found = await _read(remote, vm, place, below)
            below = None if found is None or found.parent is None else found.parent[0]
    for stamp in sorted(older - needed):
        await remote.delete(_key(vm, place, stamp))


def _directory(vm: VmUuid, place: DiskPath) -> str:
    return f"{SUMS}/{vm}/{place.job}/{place.disk}"


def _key(vm: VmUuid, place: DiskPath, stamp: Stamp) -> str:
    return f"{_directory(vm, place)}/{stamp}{_SUFFIX}"


async def _read(remote: Remote, vm: VmUuid, place: DiskPath, stamp: Stamp) -> DiskSums | None:
    try:
        content = await remote.get(_key(vm, place, stamp), FILE_BYTES_MAX)
    except (Missing, TooLarge):
        return None
    return _parse(content)


def _render(sums: DiskSums) -> bytes:
    parent = (None, None) if sums.parent is None else sums.parent
    head = {
        "version": 1,
        "method": METHOD,
        "snapshot": sums.snapshot,
        "parent": parent[0],
        "parentSnapshot": parent[1],
        "count": len(sums.sums.blocks),
    }
    columns = _little(sums.sums.blocks), _little(sums.sums.sums)
    content = b"".join([json.dumps(head).encode(), b"\n", *columns])
    return content + sum_of(content).to_bytes(_CHECK_BYTES, "little")


def _parse(content: bytes) -> DiskSums | None:
    """Parse a file; None for anything that is not exactly one."""
    end = content.find(b"\n", 0, _HEAD_BYTES_MAX)
    check = sum_of(memoryview(content)[:-_CHECK_BYTES])
    if end < 0 or content[-_CHECK_BYTES:] != check.to_bytes(_CHECK_BYTES, "little"):
        return None
    try:
        head = _Head.model_validate_json(content[:end])
    except ValidationError:
        return None
    blocks, sums = array("I"), array("Q")
    start, middle = end + 1, end + 1 + head.count * blocks.itemsize
    stop = middle + head.count * sums.itemsize
    if stop + _CHECK_BYTES != len(content):
        return None
    blocks.frombytes(content[start:middle])
    sums.frombytes(content[middle:stop])
    parent = None
    if head.parent is not None and head.parent_snapshot is not None:
        parent = Stamp(head.parent), DiskSnapshotUuid(head.parent_snapshot)
    elif head.parent is not None or head.parent_snapshot is not None:
        return None
    found = BlockSums(_native(blocks), _native(sums))
    return DiskSums(DiskSnapshotUuid(head.snapshot), parent, found)


def _little(column: "array[int]") -> bytes:
    return _native(array(column.typecode, column)).tobytes()


def _native(column: "array[int]") -> "array[int]":
    """Turn from little-endian to this machine's order, or back, in place."""
    if sys.byteorder != "little":
        column.byteswap()
    return column
