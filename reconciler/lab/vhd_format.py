"""The VHD structures of a transfer, written from the specification for the lab alone.

On purpose not the library under test: two independent writers and readers must agree.

    footer    512   conectix, big-endian: features, version, data offset, times, sizes, geometry,
                    type (3 dynamic, 4 differencing), checksum, uuid
    header   1024   cxsparse, table offset, entries, block size, checksum, parent
    table           one u32 per block: the sector of its bitmap, FFFFFFFF = absent
"""

import struct
import uuid
from dataclasses import dataclass

from reconciler.lab.layers import BLOCK, blocks_of

SECTOR = 512
BITMAP = b"\xff" * SECTOR
TABLE_OFFSET = 2048  # where xapi's own export puts the table
ABSENT = 0xFFFFFFFF
DYNAMIC, DIFFERENCING, FIXED = 3, 4, 2
# 2040 GiB is the largest VHD; a table for more is nonsense.
ENTRIES_MAX = (2040 << 30) // BLOCK

_FOOTER = struct.Struct(">8sIIQI4sI4sQQHBBII16sB")
_HEADER = struct.Struct(">8sQQIIII16sII512s")
_LOCATOR = struct.Struct(">4sIIIQ")


class VhdError(Exception):
    """Bytes that are no VHD stream this importer takes."""


def _checksum(data: bytes) -> int:
    return ~sum(data) & 0xFFFFFFFF


def geometry(size: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors by the algorithm in the specification's appendix."""
    sectors = min(size // SECTOR, 65535 * 16 * 255)
    if sectors >= 65535 * 16 * 63:
        per_track, heads = 255, 16
        tracks = sectors // per_track
    else:
        per_track = 17
        tracks = sectors // per_track
        heads = max(4, (tracks + 1023) // 1024)
        if tracks >= heads * 1024 or heads > 16:
            per_track, heads = 31, 16
            tracks = sectors // per_track
        if tracks >= heads * 1024:
            per_track, heads = 63, 16
            tracks = sectors // per_track
    return tracks // heads, heads, per_track


def footer(size: int, disk_type: int) -> bytes:
    """A footer with a fresh identity, as every export has."""
    cylinders, heads, per_track = geometry(size)
    fields = [
        *(b"conectix", 2, 0x00010000, 512, 0, b"caml", 1, b"\0" * 4, size, size),
        *(cylinders, heads, per_track, disk_type, 0, uuid.uuid4().bytes, 0),
    ]
    packed = bytearray(_FOOTER.pack(*fields).ljust(SECTOR, b"\0"))
    struct.pack_into(">I", packed, 64, _checksum(bytes(packed)))
    return bytes(packed)


def header(entries: int, parent: tuple[str, str] | None) -> bytes:
    """A header; `parent` is the uuid in the parent file's footer and its path."""
    identity, name, locator = b"\0" * 16, b"", b""
    if parent is not None:
        identity = uuid.UUID(parent[0]).bytes
        name = parent[1].encode("utf-16-be")[:510]
        length = len("file://" + parent[1])
        locator = _LOCATOR.pack(b"MacX", 1, length, 0, 1536)
    fields = (b"cxsparse", 2**64 - 1, TABLE_OFFSET, 0x00010000, entries, BLOCK, 0, identity, 0, 0)
    packed = bytearray((_HEADER.pack(*fields, name) + locator).ljust(1024, b"\0"))
    struct.pack_into(">I", packed, 36, _checksum(bytes(packed)))
    return bytes(packed)


def table_bytes(entries: int) -> int:
    return -(-entries * 4 // SECTOR) * SECTOR


def preamble(size: int, blocks: list[int], parent: tuple[str, str] | None) -> tuple[bytes, bytes]:
    """Everything before the first block, and the footer that ends the stream."""
    entries = blocks_of(size)
    end = footer(size, DIFFERENCING if parent is not None else DYNAMIC)
    table = bytearray(b"\xff" * table_bytes(entries))
    first = (TABLE_OFFSET + len(table)) // SECTOR
    stride = (SECTOR + BLOCK) // SECTOR
    for position, block in enumerate(blocks):
        struct.pack_into(">I", table, block * 4, first + position * stride)
    head = end + header(entries, parent)
    return head.ljust(TABLE_OFFSET, b"\0") + bytes(table), end


def stream_bytes(size: int, blocks: int) -> int:
    """How long the whole stream is."""
    table = table_bytes(blocks_of(size))
    return TABLE_OFFSET + table + blocks * (SECTOR + BLOCK) + SECTOR


@dataclass(frozen=True, slots=True)
class Footer:
    size: int
    disk_type: int
    data_offset: int


@dataclass(frozen=True, slots=True)
class Header:
    table_offset: int
    entries: int


def parse_footer(data: bytes) -> Footer:
    """Check and read a footer."""
    if len(data) != SECTOR or data[:8] != b"conectix":
        raise VhdError("no VHD footer")
    stored = struct.unpack_from(">I", data, 64)[0]
    if _checksum(data[:64] + b"\0\0\0\0" + data[68:]) != stored:
        raise VhdError("footer checksum")
    values = _FOOTER.unpack_from(data)
    return Footer(size=values[9], disk_type=values[13], data_offset=values[3])


def parse_header(data: bytes) -> Header:
    """Check and read a header."""
    if len(data) != 1024 or data[:8] != b"cxsparse":
        raise VhdError("no VHD header")
    stored = struct.unpack_from(">I", data, 36)[0]
    if _checksum(data[:36] + b"\0\0\0\0" + data[40:]) != stored:
        raise VhdError("header checksum")
    _, _, table_offset, _, entries, block, *_ = _HEADER.unpack_from(data)
    if block != BLOCK:
        raise VhdError(f"block size {block}")
    if entries > ENTRIES_MAX:
        raise VhdError(f"{entries} blocks")
    return Header(table_offset, entries)


def parse_table(data: bytes, entries: int) -> list[tuple[int, int]]:
    """(byte offset of the bitmap, block) in physical order."""
    sectors = struct.unpack_from(f">{entries}I", data)
    present = [(at * SECTOR, block) for block, at in enumerate(sectors) if at != ABSENT]
    return sorted(present)


def runs(bitmap: bytes) -> list[tuple[int, int]]:
    """The (start, end) sectors of a block whose bits are 1."""
    sectors = BLOCK // SECTOR
    if bitmap == BITMAP:
        return [(0, sectors)]
    found: list[tuple[int, int]] = []
    start = -1
    for sector in range(sectors + 1):
        present = sector < sectors and bitmap[sector >> 3] & (0x80 >> (sector & 7))
        if present and start < 0:
            start = sector
        elif not present and start >= 0:
            found.append((start, sector))
            start = -1
    return found
