"""The header of a qcow2 image, versions 2 and 3.

Source: QEMU, docs/interop/qcow2.txt. All integers are big-endian. Knows the first 112 bytes; never
the tables. What we cannot read faithfully is refused here, once, before anything else is looked at.
"""

from dataclasses import dataclass
from struct import Struct

from reconciler.qcow2.errors import Qcow2Invalid, Qcow2Truncated, Qcow2Unsupported

MAGIC = b"QFI\xfb"
SECTOR = 512
HEADER_BYTES = 104
"""Length of the version 3 header that we write; longer ones exist."""
HEADER_BYTES_MAX = 112
"""As much of any header as `parse` looks at."""

L1_BYTES_MAX = 32 * 1024 * 1024
"""QEMU's own limit (QCOW_MAX_L1_SIZE)."""
CLUSTER_BITS = range(9, 22)
"""QEMU's own limits: clusters of 512 bytes to 2 MiB."""

# magic, version, backing file: offset, length; cluster bits, size, encryption, L1: entries, offset;
# refcount table: offset, clusters; snapshots: count, offset
_VERSION_2 = Struct(">4sIQIIQIIQQIIQ")
# features: incompatible, compatible, auto-clear; refcount order, header length
_VERSION_3 = Struct(">QQQII")

_DIRTY = 1 << 0
_CORRUPT = 1 << 1
_EXTERNAL_DATA = 1 << 2
_COMPRESSION_TYPE = 1 << 3
_EXTENDED_L2 = 1 << 4
_READABLE = _DIRTY | _COMPRESSION_TYPE
"""Dirty: only refcounts may be wrong, and we do not use them. Compression type: refused below."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is needed to find the disk's content. Sizes and offsets in bytes.

    l1_entries: as stated, at least as many as the size needs.
    """

    version: int
    size: int
    cluster_bits: int
    l1_offset: int
    l1_entries: int

    @property
    def cluster_bytes(self) -> int:
        return 1 << self.cluster_bits

    @property
    def l2_entries(self) -> int:
        return self.cluster_bytes // 8

    @property
    def l2_span(self) -> int:
        """Bytes of the disk that one L2 table, that is one L1 entry, speaks for."""
        return self.cluster_bytes * self.l2_entries

    @property
    def l1_entries_used(self) -> int:
        return -(-self.size // self.l2_span)

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview) -> "Header":
        """Parse the first 112 bytes (72 do for version 2). Raises Qcow2Error.

        Refused as unsupported: backing files, encryption, external data files, extended L2
        entries, zstd, images marked corrupt, and features that are not known here.
        """
        raw = bytes(data[:HEADER_BYTES_MAX])
        if raw[:4] != MAGIC:
            raise Qcow2Invalid(f"begins with {raw[:4]!r}, not {MAGIC!r}", "header.magic")
        if len(raw) < _VERSION_2.size:
            raise Qcow2Truncated(f"a header has at least 72 bytes, here are {len(raw)}")
        fields = _VERSION_2.unpack_from(raw)
        version, backing_offset, _, cluster_bits, size, encryption = fields[1:7]
        l1_entries, l1_offset = fields[7:9]
        if version not in (2, 3):
            raise Qcow2Unsupported(f"qcow2 version {version}; versions 2 and 3 are supported")
        if backing_offset:
            raise Qcow2Unsupported("the image stands on a backing file; convert it to a full one")
        if encryption:
            raise Qcow2Unsupported("the image is encrypted")
        if version == 3:
            _check_features(raw)
        if cluster_bits not in CLUSTER_BITS:
            raise Qcow2Invalid(f"{cluster_bits} is not within 9 to 21", "header.cluster_bits")
        header = cls(version, size, cluster_bits, l1_offset, l1_entries)
        header._check_tables()
        return header

    def _check_tables(self) -> None:
        if self.size >= 1 << 63:
            raise Qcow2Invalid(f"{self.size} is more than a disk can have", "header.size")
        if 8 * self.l1_entries > L1_BYTES_MAX:
            raise Qcow2Invalid(f"{self.l1_entries} are more than 4 Mi", "header.l1_entries")
        if self.l1_entries < self.l1_entries_used:
            raise Qcow2Invalid(
                f"{self.l1_entries} are too few for {self.size} bytes", "header.l1_entries"
            )
        if not 0 < self.l1_offset < 1 << 63 or self.l1_offset % self.cluster_bytes:
            raise Qcow2Invalid(f"{self.l1_offset} is not a cluster", "header.l1_offset")


def _check_features(raw: bytes) -> None:
    if len(raw) < HEADER_BYTES:
        raise Qcow2Truncated(f"a version 3 header has at least 104 bytes, here are {len(raw)}")
    incompatible, _, _, _, header_bytes = _VERSION_3.unpack_from(raw, _VERSION_2.size)
    if incompatible & _CORRUPT:
        raise Qcow2Unsupported("the image is marked as corrupt; repair it with qemu-img first")
    if incompatible & _EXTERNAL_DATA:
        raise Qcow2Unsupported("the image keeps its data in another file")
    if incompatible & _EXTENDED_L2:
        raise Qcow2Unsupported("the image has extended L2 entries (subclusters)")
    if incompatible & ~_READABLE:
        raise Qcow2Unsupported(f"the image has unknown features {incompatible:#x}")
    if header_bytes < HEADER_BYTES or header_bytes % 8:
        raise Qcow2Invalid(f"{header_bytes} is no header length", "header.header_bytes")
    if incompatible & _COMPRESSION_TYPE:
        method = raw[HEADER_BYTES] if len(raw) > HEADER_BYTES else 0
        name = "zstd" if method == 1 else f"method {method}"
        raise Qcow2Unsupported(f"clusters are compressed with {name}; only zlib is supported")


def pack_header(
    *,
    size: int,
    cluster_bits: int,
    l1_offset: int,
    l1_entries: int,
    refcount_table_offset: int,
    refcount_table_clusters: int,
) -> bytes:
    """Render a version 3 header without any feature, and the end of its extensions."""
    version_2 = _VERSION_2.pack(
        MAGIC,
        3,
        0,
        0,
        cluster_bits,
        size,
        0,
        l1_entries,
        l1_offset,
        refcount_table_offset,
        refcount_table_clusters,
        0,
        0,
    )
    refcount_order = 4  # 16 bits a cluster
    no_extensions = bytes(8)
    return version_2 + _VERSION_3.pack(0, 0, 0, refcount_order, HEADER_BYTES) + no_extensions
