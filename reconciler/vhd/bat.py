"""The block allocation table: for each block of the disk, the sector of its bitmap in the file.

Knows offsets; never the bytes that lie there. On disk: one big-endian u32 a block, in sectors,
`0xFFFFFFFF` for a block that is not in the file, padded with FF to a sector. A table of a million
entries is parsed in milliseconds, because it stays one array of machine integers.
"""

import sys
from array import array
from collections.abc import Iterator, Mapping
from itertools import islice
from operator import itemgetter, lt

from reconciler.vhd.errors import VhdInvalid, VhdTruncated
from reconciler.vhd.layout import BLOCK_RECORD, FOOTER_BYTES, SECTOR, UNUSED, bat_bytes

_TYPECODE = "I"
assert array(_TYPECODE).itemsize == 4, "C's unsigned int has 4 bytes wherever this has been built"
_RECORD_SECTORS = BLOCK_RECORD // SECTOR
_by_offset = itemgetter(1)
_UNUSED_PIECE = array(_TYPECODE, [UNUSED]) * 256


class Bat:
    """A block allocation table; never changes.

    Laws: parse(pack(), len) is the same table; `allocated` ascends by block.
    """

    __slots__ = ("_sectors",)

    def __init__(self, sectors: "array[int]") -> None:
        """Take the array over; sectors in native order."""
        self._sectors = sectors

    @classmethod
    def empty(cls, entries: int) -> "Bat":
        return cls(array(_TYPECODE, [UNUSED]) * entries)

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview, entries: int) -> "Bat":
        """Parse `4 * entries` bytes; padding after them is ignored. Raises VhdTruncated.

        The caller has bounded `entries` (Header.parse does).
        """
        if len(data) < 4 * entries:
            raise VhdTruncated(f"a BAT of {entries} entries in {len(data)} bytes")
        sectors = array(_TYPECODE)
        sectors.frombytes(data[: 4 * entries])
        if sys.byteorder == "little":
            sectors.byteswap()
        return cls(sectors)

    def pack(self) -> bytes:
        """Render in whole sectors, as it lies in a file."""
        swapped = self._sectors[:]
        if sys.byteorder == "little":
            swapped.byteswap()
        return swapped.tobytes().ljust(bat_bytes(len(self)), b"\xff")

    def with_offsets(self, offsets: Mapping[int, int], entries: int | None = None) -> "Bat":
        """Make a copy where blocks have new places; `offsets`: block to the byte of its bitmap.

        entries: length of the copy, at least the present one; new blocks are not allocated.
        """
        sectors = self._sectors[:]
        if entries is not None and entries > len(sectors):
            sectors.extend(array(_TYPECODE, [UNUSED]) * (entries - len(sectors)))
        for block, offset in offsets.items():
            sectors[block] = offset // SECTOR
        return Bat(sectors)

    def __len__(self) -> int:
        return len(self._sectors)

    def __getitem__(self, block: int) -> int | None:
        """Sector of a block's bitmap, None if the block is not in the file."""
        sector = self._sectors[block]
        return None if sector == UNUSED else sector

    def offset_of(self, block: int) -> int | None:
        """Byte offset of a block's bitmap, None if the block is not in the file."""
        sector = self._sectors[block]
        return None if sector == UNUSED else sector * SECTOR

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bat) and self._sectors == other._sectors

    def __hash__(self) -> int:
        return hash(self._sectors.tobytes())

    def __repr__(self) -> str:
        return f"Bat({self.count()} of {len(self)} blocks)"

    def count(self) -> int:
        """Count the blocks that are in the file."""
        return sum(len(piece) - piece.count(UNUSED) for _, piece in self._used_pieces())

    def allocated(self) -> Iterator[tuple[int, int]]:
        """Give (block, byte offset of its bitmap) of each block in the file, ascending by block."""
        return (
            (block, sector * SECTOR)
            for start, piece in self._used_pieces()
            for block, sector in enumerate(piece, start)
            if sector != UNUSED
        )

    def in_file_order(self) -> list[tuple[int, int]]:
        """Give (block, byte offset of its bitmap), ascending by offset."""
        return sorted(self.allocated(), key=_by_offset)

    def blocks_in_file_order(self) -> list[int]:
        """Give the blocks in the file, ascending by offset."""
        sectors = self._sectors
        blocks = [
            block
            for start, piece in self._used_pieces()
            for block, sector in enumerate(piece, start)
            if sector != UNUSED
        ]
        # Nearly every file ascends already, and sorting a million takes ten times as long.
        if not _ascends(self._present()):
            blocks.sort(key=sectors.__getitem__)
        return blocks

    def _present(self) -> "array[int]":
        """The sectors of the blocks in the file, ascending by block."""
        return array(
            _TYPECODE,
            (sector for _, piece in self._used_pieces() for sector in piece if sector != UNUSED),
        )

    def _used_pieces(self) -> Iterator[tuple[int, "array[int]"]]:
        """Give the pieces of the table with any block in them, each with its first block.

        A delta of a large disk has a few blocks in a table of a hundred thousand: what is empty
        is passed over by comparing memory, and only the rest is looked at entry by entry.
        """
        for start in range(0, len(self._sectors), len(_UNUSED_PIECE)):
            piece = self._sectors[start : start + len(_UNUSED_PIECE)]
            if piece != _UNUSED_PIECE[: len(piece)]:
                yield start, piece

    def data_end(self, table_end: int) -> int:
        """First byte after the last block, or `table_end` if there is no block."""
        last = max(self._present(), default=None)
        return table_end if last is None else max(table_end, last * SECTOR + BLOCK_RECORD)

    def check(self, file_size: int | None, data_start: int, *, trailer: bool = True) -> None:
        """Raise VhdInvalid unless every block lies in the file and no two overlap.

        file_size: bytes; None where it is not known. data_start: first byte that a block may
        take. trailer: whether the file must have room for its trailing footer after the blocks
        (it has not while a merge in place is under way).
        """
        free = tables_end = -(-data_start // SECTOR)
        present = self._present()
        for sector in present if _ascends(present) else sorted(present):
            if sector < free:
                what = "the tables" if sector < tables_end else "another block"
                block = self._sectors.index(sector)
                raise VhdInvalid(f"block {block} at sector {sector} overlaps {what}", "bat")
            free = sector + _RECORD_SECTORS
        end = free * SECTOR + (FOOTER_BYTES if trailer else 0)
        if file_size is not None and end > file_size:
            raise VhdInvalid(
                f"blocks end at byte {free * SECTOR}, the file at byte {file_size}: it is cut off",
                "bat",
            )


def _ascends(sectors: "array[int]") -> bool:
    return all(map(lt, sectors, islice(sectors, 1, None)))
