"""Reads a qcow2 image: where each piece of the disk lies in the file.

Knows L1 and L2 tables and compressed clusters; never a file: whoever has one gives a function that
reads from it. Refcounts and internal snapshots are not looked at, since the disk as it is now does
not depend on them. One L1 table (at most 32 MiB) and one L2 table (at most 2 MiB) are held.
"""

import sys
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reconciler.qcow2.errors import Qcow2Invalid, Qcow2Truncated
from reconciler.qcow2.header import HEADER_BYTES_MAX, SECTOR, Header

ReadAt = Callable[[int, int], bytes]
"""(offset, count) to bytes of the file, fewer only where the file ends."""

_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED = 1 << 62
_ZERO = 1
_WINDOW_BITS = -12
"""QEMU deflates without header, in a window of 4 KiB."""


@dataclass(frozen=True, slots=True)
class Data:
    """`count` bytes of the disk at `offset` lie as they are in the file at `file_offset`."""

    offset: int
    count: int
    file_offset: int


@dataclass(frozen=True, slots=True)
class Compressed:
    """One cluster of the disk at `offset`, deflated, in at most `file_bytes` of the file.

    count: bytes of the disk that it holds, less than a cluster at the disk's end only.
    """

    offset: int
    count: int
    file_offset: int
    file_bytes: int


Extent = Data | Compressed


class Image:
    """One image. read: gives bytes of the file. file_bytes: its size.

    Raises Qcow2Error for anything that is wrong, at once or while extents are listed.
    """

    def __init__(self, read: ReadAt, file_bytes: int) -> None:
        self._read = read
        self._file_bytes = file_bytes
        self.header = Header.parse(read(0, HEADER_BYTES_MAX))

    @property
    def size(self) -> int:
        """Size of the disk, bytes."""
        return self.header.size

    def extents(self) -> Iterator[Extent]:
        """List what is not zero, ascending by offset; neighbours in disk and file are joined."""
        header = self.header
        l1_bytes = 8 * header.l1_entries_used
        for index, entry in enumerate(self._table(header.l1_offset, l1_bytes)):
            table_offset = entry & _OFFSET
            if table_offset:
                if table_offset % header.cluster_bytes:
                    raise Qcow2Invalid(f"entry {index} is not a cluster", "l1")
                table = self._table(table_offset, header.cluster_bytes)
                yield from self._extents_of(table, index * header.l2_span)

    def read_extent(self, extent: Extent) -> bytes:
        """Read (and inflate) one extent. A long `Data` extent is better read in pieces."""
        raw = self._read(extent.file_offset, _stored_bytes(extent))
        match extent:
            case Data():
                return raw.ljust(extent.count, b"\0")
            case Compressed():
                return inflate(raw, self.header.cluster_bytes)[: extent.count]

    def _table(self, offset: int, count: int) -> "array[int]":
        raw = self._read(offset, count)
        if len(raw) < count:
            raise Qcow2Truncated(f"a table at byte {offset} goes beyond the end of the file")
        entries = array("Q")
        entries.frombytes(raw)
        if sys.byteorder == "little":
            entries.byteswap()
        return entries

    def _extents_of(self, table: "array[int]", start: int) -> Iterator[Extent]:
        cluster = self.header.cluster_bytes
        pending: Data | None = None
        for offset, entry in enumerate_clusters(table, start, cluster, self.size):
            count = min(cluster, self.size - offset)
            if entry & _COMPRESSED:
                extent: Extent = self._compressed(entry, offset, count)
            elif entry & _ZERO or not entry & _OFFSET:
                continue
            else:
                extent = self._data(entry & _OFFSET, offset, count)
                if pending is not None and _adjoin(pending, extent):
                    pending = Data(pending.offset, pending.count + count, pending.file_offset)
                    continue
            if pending is not None:
                yield pending
            pending = extent if isinstance(extent, Data) else None
            if pending is None:
                yield extent
        if pending is not None:
            yield pending

    def _data(self, file_offset: int, offset: int, count: int) -> Data:
        if file_offset % self.header.cluster_bytes:
            raise Qcow2Invalid(f"byte {offset} of the disk does not lie in a cluster", "l2")
        # The last cluster of a file may be cut short: what is missing of it is zero.
        if file_offset >= self._file_bytes:
            raise Qcow2Truncated(f"byte {offset} of the disk lies beyond the end of the file")
        return Data(offset, count, file_offset)

    def _compressed(self, entry: int, offset: int, count: int) -> Compressed:
        offset_bits = 62 - (self.header.cluster_bits - 8)
        file_offset = entry & ((1 << offset_bits) - 1)
        sectors = ((entry & (_COMPRESSED - 1)) >> offset_bits) + 1
        if file_offset >= self._file_bytes:
            raise Qcow2Truncated(f"byte {offset} of the disk lies beyond the end of the file")
        return Compressed(offset, count, file_offset, sectors * SECTOR - file_offset % SECTOR)


def enumerate_clusters(
    table: "array[int]", start: int, cluster_bytes: int, size: int
) -> Iterator[tuple[int, int]]:
    """Give (offset on the disk, L2 entry) of each entry that is not nought, up to the size."""
    present = -(-(size - start) // cluster_bytes)
    return (
        (start + index * cluster_bytes, entry)
        for index, entry in enumerate(table[:present])
        if entry
    )


def inflate(raw: bytes, cluster_bytes: int) -> bytes:
    """Inflate one cluster; what follows its end in `raw` is ignored. Raises Qcow2Invalid."""
    try:
        content = zlib.decompressobj(_WINDOW_BITS).decompress(raw, cluster_bytes)
    except zlib.error as error:
        raise Qcow2Invalid(f"a compressed cluster cannot be inflated: {error}", "l2") from error
    if len(content) != cluster_bytes:
        raise Qcow2Invalid(f"a compressed cluster inflates to {len(content)} bytes", "l2")
    return content


def _adjoin(first: Data, second: Extent) -> bool:
    return (
        first.offset + first.count == second.offset
        and first.file_offset + first.count == second.file_offset
    )


def _stored_bytes(extent: Extent) -> int:
    match extent:
        case Data():
            return extent.count
        case Compressed():
            return extent.file_bytes
