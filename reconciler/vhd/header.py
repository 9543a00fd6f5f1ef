"""The dynamic disk header: where the BAT lies, how long it is, and which file lies below.

Knows 1024 bytes; never the BAT's content or whether the parent exists.
"""

from dataclasses import dataclass
from struct import Struct

from reconciler.vhd.errors import VhdInvalid, VhdTruncated, VhdUnsupported
from reconciler.vhd.fields import (
    check_file_name,
    checksum,
    pack_name,
    parse_any_name,
    parse_file_name,
    uuid_bytes,
    uuid_text,
)
from reconciler.vhd.layout import (
    BLOCK,
    ENTRIES_MAX,
    HEADER_BYTES,
    NOWHERE,
    SECTOR,
    TABLE_OFFSET,
    TABLE_OFFSET_MAX,
    bat_bytes,
)

COOKIE = b"cxsparse"
VERSION = 0x00010000

_CHECKSUM_OFFSET = 36
_UUID_FIELD = "header.parent_uuid"
# cookie, data offset, table offset, version, entries, block size, checksum, parent: uuid,
# timestamp, (reserved), name; 8 locators of 24 bytes; reserved
_HEADER = Struct(">8sQQIIII16sII512s192s256s")
_NO_UUID = bytes(16)
_NO_LOCATORS = bytes(8 * 24)
_RESERVED = bytes(256)


@dataclass(frozen=True, slots=True)
class Header:
    """The header's fields. table_offset: bytes. entries: blocks that the BAT has room for.

    parent_uuid, parent_name: of the file below; None where the field is zero. locators: the eight
    parent locators as they were found; nothing here follows them.
    Laws: parse(pack()) is the same header; pack() always carries a right checksum.
    """

    table_offset: int
    entries: int
    block_bytes: int = BLOCK
    parent_uuid: str | None = None
    parent_name: str | None = None
    parent_timestamp: int = 0
    locators: bytes = _NO_LOCATORS
    reserved: bytes = _RESERVED

    @property
    def table_end(self) -> int:
        """First byte after the BAT: blocks lie from here on."""
        return self.table_offset + bat_bytes(self.entries)

    @classmethod
    def new(
        cls, entries: int, parent_uuid: str | None = None, parent_name: str | None = None
    ) -> "Header":
        """Make the header that XO would write. Raises VhdInvalid, VhdUnsupported.

        parent_name: a file name without directory; it goes with `parent_uuid`.
        """
        if (parent_uuid is None) != (parent_name is None):
            raise VhdInvalid("a parent has both a uuid and a name", "header.parent_name")
        if not 0 < entries <= ENTRIES_MAX:
            raise VhdUnsupported(f"a BAT of {entries} entries; possible are 1 to {ENTRIES_MAX}")
        if parent_uuid is not None and parent_name is not None:
            uuid_bytes(parent_uuid, _UUID_FIELD)
            pack_name(check_file_name(parent_name))
        return cls(TABLE_OFFSET, entries, parent_uuid=parent_uuid, parent_name=parent_name)

    @classmethod
    def parse(
        cls, data: bytes | bytearray | memoryview, *, any_parent_name: bool = False
    ) -> "Header":
        """Parse 1024 bytes. Raises VhdInvalid, VhdTruncated, VhdUnsupported.

        any_parent_name: take the parent's name as mere text instead of refusing what is no plain
        file name (XAPI's streams carry a path of their host there). Never look such a name up.
        """
        raw = bytes(data[:HEADER_BYTES])
        if len(raw) < HEADER_BYTES:
            raise VhdTruncated(f"a header has {HEADER_BYTES} bytes, here are {len(raw)}")
        fields = _HEADER.unpack(raw)
        cookie, data_offset, table_offset, version, entries, block_bytes, stored = fields[:7]
        parent_uuid, parent_timestamp, _, name, locators, reserved = fields[7:]
        if cookie != COOKIE:
            raise VhdInvalid(f"begins with {cookie!r}, not {COOKIE!r}", "header.cookie")
        if stored != checksum(raw, _CHECKSUM_OFFSET):
            raise VhdInvalid("does not match the content", "header.checksum")
        if version != VERSION:
            raise VhdUnsupported(f"header version {version:#x} is not 1.0")
        if data_offset != NOWHERE:
            raise VhdInvalid(f"is {data_offset:#x}, not all ones", "header.data_offset")
        if block_bytes != BLOCK:
            raise VhdUnsupported(f"blocks of {block_bytes} bytes; only {BLOCK} are supported")
        if not 0 < entries <= ENTRIES_MAX:
            raise VhdInvalid(f"{entries} is not within 1 to {ENTRIES_MAX}", "header.entries")
        if table_offset % SECTOR or not TABLE_OFFSET <= table_offset <= TABLE_OFFSET_MAX:
            raise VhdInvalid(
                f"{table_offset} is no sector within {TABLE_OFFSET} to {TABLE_OFFSET_MAX}",
                "header.table_offset",
            )
        return cls(
            table_offset=table_offset,
            entries=entries,
            block_bytes=block_bytes,
            parent_uuid=None if parent_uuid == _NO_UUID else uuid_text(parent_uuid),
            parent_name=parse_any_name(name) if any_parent_name else parse_file_name(name),
            parent_timestamp=parent_timestamp,
            locators=locators,
            reserved=reserved,
        )

    def pack(self) -> bytes:
        """Render the 1024 bytes. Raises VhdInvalid if a field does not fit."""
        parent = self.parent_uuid
        raw = bytearray(
            _HEADER.pack(
                COOKIE,
                NOWHERE,
                self.table_offset,
                VERSION,
                self.entries,
                self.block_bytes,
                0,
                _NO_UUID if parent is None else uuid_bytes(parent, _UUID_FIELD),
                self.parent_timestamp,
                0,
                pack_name(self.parent_name),
                self.locators,
                self.reserved,
            )
        )
        own = slice(_CHECKSUM_OFFSET, _CHECKSUM_OFFSET + 4)
        raw[own] = checksum(bytes(raw), _CHECKSUM_OFFSET).to_bytes(4, "big")
        return bytes(raw)
