"""The footer: 512 bytes that make a file a VHD, at its end and (but for fixed disks) at its start.

Knows the fields and their laws; never what lies between the two copies.
"""

from dataclasses import dataclass
from struct import Struct

from reconciler.vhd.errors import VhdInvalid, VhdTruncated, VhdUnsupported
from reconciler.vhd.fields import checksum, uuid_bytes, uuid_text
from reconciler.vhd.layout import (
    BLOCK,
    BLOCKS_MAX,
    ENTRIES_MAX,
    FOOTER_BYTES,
    HEADER_OFFSET,
    NOWHERE,
    SECTOR,
    DiskType,
)

COOKIE = b"conectix"
VERSION = 0x00010000
FEATURES = 2
"""Bit 1 is reserved and always set."""

_CHECKSUM_OFFSET = 64
_UUID_FIELD = "footer.unique_id"
# cookie, features, version, data offset, timestamp, creator: application, version, host;
# original size, current size, cylinders, heads, sectors a track, disk type, checksum, uuid,
# saved state, reserved
_FOOTER = Struct(">8sIIQI4sI4sQQHBBII16sB427s")
_RESERVED = bytes(427)

_HEADS_MAX = 16
_CHS_SECTORS_MAX = 65535 * _HEADS_MAX * 255


@dataclass(frozen=True, slots=True)
class Geometry:
    """Cylinders, heads, sectors a track. Only old readers use it; sizes are in the footer."""

    cylinders: int
    heads: int
    sectors: int


def geometry_of(size_bytes: int) -> Geometry:
    """Choose the geometry by the specification's algorithm (appendix "CHS calculation").

    Cylinders are rounded up instead of down, as XO does, so that readers that trust the geometry
    see the whole disk.
    """
    total = min(-(-size_bytes // SECTOR), _CHS_SECTORS_MAX)
    if total >= 65535 * _HEADS_MAX * 63:
        heads, sectors = _HEADS_MAX, 255
    else:
        sectors = 17
        tracks = total // sectors
        heads = max(4, (tracks + 1023) // 1024)
        if tracks >= heads * 1024 or heads > _HEADS_MAX:
            heads, sectors = _HEADS_MAX, 31
            tracks = total // sectors
        if tracks >= heads * 1024:
            heads, sectors = _HEADS_MAX, 63
    return Geometry(-(-total // (heads * sectors)), heads, sectors)


@dataclass(frozen=True, slots=True)
class Footer:
    """The footer's fields. Sizes and offsets in bytes.

    unique_id: uuid as text, lower case. timestamp: seconds, since 2000 by the specification, since
    1970 in what XO writes. creator_host: four bytes, b"Wi2k" or b"Mac ". reserved: as it was found.
    Laws: parse(pack()) is the same footer; pack() always carries a right checksum.
    """

    disk_type: DiskType
    current_size: int
    original_size: int
    unique_id: str
    geometry: Geometry
    data_offset: int = HEADER_OFFSET
    timestamp: int = 0
    creator_application: bytes = b"xo  "
    creator_version: int = 0
    creator_host: bytes = b"Wi2k"
    features: int = FEATURES
    saved_state: int = 0
    reserved: bytes = _RESERVED

    @classmethod
    def new(
        cls, size_bytes: int, unique_id: str, disk_type: DiskType, timestamp: int = 0
    ) -> "Footer":
        """Make the footer that XO would write for a disk. Raises VhdInvalid, VhdUnsupported.

        timestamp: seconds since 1970, as XO counts.
        """
        if size_bytes <= 0 or size_bytes % SECTOR:
            raise VhdInvalid(
                f"{size_bytes} is no positive multiple of {SECTOR}", "footer.current_size"
            )
        if disk_type is not DiskType.FIXED and size_bytes > BLOCKS_MAX * BLOCK:
            raise VhdUnsupported(f"a VHD holds at most 2040 GiB, the disk has {size_bytes} bytes")
        uuid_bytes(unique_id, _UUID_FIELD)
        return cls(
            disk_type=disk_type,
            current_size=size_bytes,
            original_size=size_bytes,
            unique_id=unique_id,
            geometry=geometry_of(size_bytes),
            data_offset=NOWHERE if disk_type is DiskType.FIXED else HEADER_OFFSET,
            timestamp=timestamp,
        )

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview) -> "Footer":
        """Parse 512 bytes. Raises VhdInvalid, VhdTruncated, VhdUnsupported."""
        raw = bytes(data[:FOOTER_BYTES])
        if len(raw) < FOOTER_BYTES:
            raise VhdTruncated(f"a footer has {FOOTER_BYTES} bytes, here are {len(raw)}")
        fields = _FOOTER.unpack(raw)
        cookie, features, version, data_offset, timestamp, application = fields[:6]
        creator_version, creator_host, original_size, current_size = fields[6:10]
        cylinders, heads, sectors, disk_type, stored, unique_id, saved_state, reserved = fields[10:]
        if cookie != COOKIE:
            raise VhdInvalid(f"begins with {cookie!r}, not {COOKIE!r}", "footer.cookie")
        if stored != checksum(raw, _CHECKSUM_OFFSET):
            raise VhdInvalid("does not match the content", "footer.checksum")
        if version >> 16 != VERSION >> 16:
            raise VhdUnsupported(f"footer version {version:#x} is not 1.0")
        if disk_type not in (DiskType.FIXED, DiskType.DYNAMIC, DiskType.DIFFERENCING):
            raise VhdUnsupported(f"disk type {disk_type} is not fixed, dynamic or differencing")
        if current_size % SECTOR or current_size == 0 or current_size >= 1 << 63:
            raise VhdInvalid(
                f"{current_size} is no positive multiple of {SECTOR}", "footer.current_size"
            )
        if disk_type != DiskType.FIXED:
            if data_offset != HEADER_OFFSET:
                raise VhdUnsupported(f"the header lies at {data_offset}, not at {HEADER_OFFSET}")
            if current_size > ENTRIES_MAX * BLOCK:
                raise VhdUnsupported(f"a VHD of {current_size} bytes is larger than 2 TiB")
        return cls(
            disk_type=DiskType(disk_type),
            current_size=current_size,
            original_size=original_size,
            unique_id=uuid_text(unique_id),
            geometry=Geometry(cylinders, heads, sectors),
            data_offset=data_offset,
            timestamp=timestamp,
            creator_application=application,
            creator_version=creator_version,
            creator_host=creator_host,
            features=features,
            saved_state=saved_state,
            reserved=reserved,
        )

    def pack(self) -> bytes:
        """Render the 512 bytes. Raises VhdInvalid if `unique_id` is no uuid."""
        raw = bytearray(
            _FOOTER.pack(
                COOKIE,
                self.features,
                VERSION,
                self.data_offset,
                self.timestamp,
                self.creator_application,
                self.creator_version,
                self.creator_host,
                self.original_size,
                self.current_size,
                self.geometry.cylinders,
                self.geometry.heads,
                self.geometry.sectors,
                self.disk_type,
                0,
                uuid_bytes(self.unique_id, _UUID_FIELD),
                self.saved_state,
                self.reserved,
            )
        )
        own = slice(_CHECKSUM_OFFSET, _CHECKSUM_OFFSET + 4)
        raw[own] = checksum(bytes(raw), _CHECKSUM_OFFSET).to_bytes(4, "big")
        return bytes(raw)
