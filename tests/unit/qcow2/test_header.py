"""The header of an image, byte by byte."""

import struct

import pytest

from reconciler.qcow2.errors import Qcow2Error, Qcow2Invalid, Qcow2Truncated, Qcow2Unsupported
from reconciler.qcow2.header import Header, pack_header

GIB = 1 << 30
RAW = pack_header(
    size=10 * GIB,
    cluster_bits=16,
    l1_offset=3 << 16,
    l1_entries=20,
    refcount_table_offset=1 << 16,
    refcount_table_clusters=1,
)


def patched(offset: int, field: bytes) -> bytes:
    return RAW[:offset] + field + RAW[offset + len(field) :]


def test_each_field_stands_where_the_specification_puts_it() -> None:
    assert RAW[0:8] == b"QFI\xfb\0\0\0\3"
    assert RAW[8:20] == bytes(12)
    assert struct.unpack(">IQI", RAW[20:36]) == (16, 10 * GIB, 0)
    assert struct.unpack(">IQQI", RAW[36:60]) == (20, 3 << 16, 1 << 16, 1)
    assert RAW[60:96] == bytes(36)
    assert struct.unpack(">II", RAW[96:104]) == (4, 104)
    assert RAW[104:] == bytes(8)


def test_what_is_packed_is_parsed() -> None:
    header = Header.parse(RAW)
    assert header == Header(
        version=3, size=10 * GIB, cluster_bits=16, l1_offset=196608, l1_entries=20
    )
    assert (header.cluster_bytes, header.l2_entries) == (65536, 8192)
    assert header.l2_span == 512 << 20
    assert header.l1_entries_used == 20
    assert Header.parse(memoryview(RAW)) == header


def test_version_2_ends_after_72_bytes() -> None:
    header = Header.parse(patched(4, b"\0\0\0\2")[:72])
    assert header.version == 2


@pytest.mark.parametrize(
    ("length", "kind"), [(3, Qcow2Invalid), (71, Qcow2Truncated), (103, Qcow2Truncated)]
)
def test_a_short_header_is_refused(length: int, kind: type[Qcow2Error]) -> None:
    with pytest.raises(kind):
        Header.parse(RAW[:length])


@pytest.mark.parametrize(
    ("offset", "field", "kind", "what"),
    [
        (0, b"QFI\0", Qcow2Invalid, "magic"),
        (4, b"\0\0\0\1", Qcow2Unsupported, "version 1"),
        (4, b"\0\0\0\4", Qcow2Unsupported, "version 4"),
        (8, b"\0\0\0\0\0\0\2\0", Qcow2Unsupported, "backing file"),
        (20, b"\0\0\0\x08", Qcow2Invalid, "cluster_bits"),
        (20, b"\0\0\0\x16", Qcow2Invalid, "cluster_bits"),
        (20, b"\xff\xff\xff\xff", Qcow2Invalid, "cluster_bits"),
        (24, b"\x80" + bytes(7), Qcow2Invalid, "size"),
        (24, (11 * GIB).to_bytes(8, "big"), Qcow2Invalid, "l1_entries: 20 are too few"),
        (32, b"\0\0\0\2", Qcow2Unsupported, "encrypted"),
        (36, b"\xff\xff\xff\xff", Qcow2Invalid, "more than 4 Mi"),
        (40, bytes(8), Qcow2Invalid, "l1_offset"),
        (40, (513).to_bytes(8, "big"), Qcow2Invalid, "l1_offset"),
        (40, b"\xff" * 6 + bytes(2), Qcow2Invalid, "l1_offset"),
        (79, b"\x02", Qcow2Unsupported, "corrupt"),
        (79, b"\x04", Qcow2Unsupported, "another file"),
        (79, b"\x10", Qcow2Unsupported, "subclusters"),
        (72, b"\x80", Qcow2Unsupported, "unknown features"),
        (79, b"\x08", Qcow2Unsupported, "compressed with method 0"),
        (100, b"\0\0\0\x10", Qcow2Invalid, "header_bytes"),
    ],
)
def test_wrong_and_foreign_fields_are_named(
    offset: int, field: bytes, kind: type[Qcow2Error], what: str
) -> None:
    with pytest.raises(kind, match=what):
        Header.parse(patched(offset, field))


def test_zstd_is_named() -> None:
    raw = patched(79, b"\x08")[:100] + (112).to_bytes(4, "big") + b"\1" + bytes(7)
    with pytest.raises(Qcow2Unsupported, match="zstd"):
        Header.parse(raw)


def test_a_dirty_image_can_be_read() -> None:
    assert Header.parse(patched(79, b"\x01")).size == 10 * GIB
