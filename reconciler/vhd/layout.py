"""Where things lie in a VHD: sizes, limits, and the places that we choose in files of our own.

Source: Microsoft, Virtual Hard Disk Image Format Specification, version 1.0 (2006). All integers
are big-endian. Knows numbers only; never bytes.

A dynamic or differencing disk, as we write it:

    0       footer copy                                 512
    512     header                                      1024
    1536    block allocation table (BAT)                4 a block, padded with FF to a sector
    ...     zeros up to a multiple of 4096
    slot 0  3584 zeros, 512 sector bitmap (FF), 2 MiB of data     one slot for each block present
    slot 1  ...
    end     footer                                      512

The data of each slot lies on a 4 KiB boundary, so that file systems that can share extents can
share it (a block at an odd sector cannot be cloned). The price is 3584 bytes a slot, 0.17 %; BAT
entries count sectors, so every reader of VHDs accepts it.
"""

from enum import IntEnum

MIB = 1024 * 1024
GIB = 1024 * MIB

SECTOR = 512
BLOCK = 2 * MIB
BLOCK_SECTORS = BLOCK // SECTOR
BITMAP = BLOCK_SECTORS // 8
"""Bytes of the sector bitmap before each block's data: one bit a sector, one sector in all."""
BLOCK_RECORD = BITMAP + BLOCK
"""Bytes of a block as it is stored: bitmap, then data."""

FOOTER_BYTES = 512
HEADER_OFFSET = 512
HEADER_BYTES = 1024
TABLE_OFFSET = HEADER_OFFSET + HEADER_BYTES
"""Where XO and we put the BAT. XAPI's streams leave a sector free before it: 2048."""
TABLE_OFFSET_MAX = MIB
"""A BAT further in than this is no stream and no file of anybody we know (seen: 1536 to 8192)."""

UNUSED = 0xFFFFFFFF
"""BAT entry of a block that is not in the file."""
NOWHERE = 0xFFFFFFFFFFFFFFFF
"""Offset that points to nothing: `data_offset` of headers and of fixed disks."""

BLOCKS_MAX = 2040 * GIB // BLOCK
"""Largest disk that we write, in blocks: XAPI's limit for VHD, and all of it can be addressed by
BAT entries of 32 bits even with the gaps of our own layout (2044 GiB of file)."""
ENTRIES_MAX = 2048 * GIB // BLOCK
"""Largest BAT that we read: more entries than sectors of 32 bits can reach (a 4 MiB table)."""

ALIGNMENT = 4096
SLOT_PAD = ALIGNMENT - BITMAP
"""Zeros before the bitmap in one of our slots."""
SLOT = SLOT_PAD + BLOCK_RECORD


class DiskType(IntEnum):
    """The sorts of VHD. Numbers 0, 1, 5 and 6 of the specification are reserved or obsolete."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


def round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def blocks_of(size_bytes: int) -> int:
    """Count the blocks that a disk of this size has; the last one may stick out."""
    return -(-size_bytes // BLOCK)


def bat_bytes(entries: int) -> int:
    """Size of a BAT on disk: whole sectors."""
    return round_up(4 * entries, SECTOR)
