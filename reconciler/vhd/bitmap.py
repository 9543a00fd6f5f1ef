"""Sector bitmaps: one bit for each of a block's 4096 sectors, the highest bit of a byte first.

Knows bits; never the data they speak of. A set bit: the sector is in this file. A clear bit: look
in the parent, and where there is no parent the sector is zero. Everything that XAPI, XO and we
write has all bits set.
"""

import re

from reconciler.vhd.layout import BITMAP, BLOCK_SECTORS, SECTOR

FULL = b"\xff" * BITMAP

_RUN = re.compile("1+")


def is_full(bitmap: bytes | bytearray | memoryview) -> bool:
    """Tell whether all sectors of a block are in the file; `bitmap` may be followed by data."""
    # A copy of 512 bytes costs 0.1 us; comparing a memoryview in place costs 20 times as much.
    return bytes(bitmap[:BITMAP]) == FULL


def runs(bitmap: bytes | bytearray | memoryview) -> list[tuple[int, int]]:
    """Give (first sector, count) of each run of set bits, ascending."""
    raw = bytes(bitmap[:BITMAP])
    if raw == FULL:
        return [(0, BLOCK_SECTORS)]
    digits = format(int.from_bytes(raw, "big"), f"0{BLOCK_SECTORS}b")
    return [(found.start(), found.end() - found.start()) for found in _RUN.finditer(digits)]


def gaps(bitmap: bytes | bytearray | memoryview) -> list[tuple[int, int]]:
    """Give (first sector, count) of each run of clear bits, ascending."""
    inverted = int.from_bytes(bytes(bitmap[:BITMAP]), "big") ^ int.from_bytes(FULL, "big")
    return runs(inverted.to_bytes(BITMAP, "big"))


def fill(record: memoryview) -> None:
    """Make a block of a disk without parent whole, in place: zero its absent sectors, set all bits.

    record: bitmap and data, as they lie in a file.
    """
    for sector, count in gaps(record):
        start = BITMAP + sector * SECTOR
        record[start : start + count * SECTOR] = bytes(count * SECTOR)
    record[:BITMAP] = FULL
