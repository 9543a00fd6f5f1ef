"""The dynamic header, byte by byte."""

from dataclasses import replace

import pytest

from reconciler.vhd.errors import VhdError, VhdInvalid, VhdTruncated, VhdUnsupported
from reconciler.vhd.fields import checksum
from reconciler.vhd.header import Header
from reconciler.vhd.layout import ENTRIES_MAX, TABLE_OFFSET_MAX

UUID = "00112233-4455-6677-8899-aabbccddeeff"
DELTA = Header.new(5120, UUID, "20260101T000000Z.vhd")


def patched(raw: bytes, offset: int, field: bytes) -> bytes:
    changed = bytearray(raw)
    changed[offset : offset + len(field)] = field
    changed[36:40] = checksum(bytes(changed), 36).to_bytes(4, "big")
    return bytes(changed)


def test_each_field_stands_where_xo_puts_it() -> None:
    raw = DELTA.pack()
    assert len(raw) == 1024
    assert raw[0:8] == b"cxsparse"
    assert raw[8:16] == b"\xff" * 8
    assert raw[16:24] == (1536).to_bytes(8, "big")
    assert raw[24:28] == bytes.fromhex("00010000")
    assert raw[28:32] == (5120).to_bytes(4, "big")
    assert raw[32:36] == (2097152).to_bytes(4, "big")
    assert raw[40:56] == bytes.fromhex("00112233445566778899aabbccddeeff")
    assert raw[56:64] == bytes(8)
    assert raw[64:576] == "20260101T000000Z.vhd".encode("utf-16-be").ljust(512, b"\0")
    assert raw[576:] == bytes(448)
    assert int.from_bytes(raw[36:40], "big") == ~(sum(raw) - sum(raw[36:40])) & 0xFFFFFFFF


@pytest.mark.parametrize(
    "header",
    [
        DELTA,
        Header.new(1),
        Header.new(ENTRIES_MAX),
        replace(DELTA, table_offset=2048, parent_timestamp=7, locators=b"\1" * 192),
    ],
)
def test_what_is_packed_is_parsed(header: Header) -> None:
    assert Header.parse(header.pack()) == header
    assert Header.parse(memoryview(header.pack())) == header


def test_blocks_begin_after_the_table() -> None:
    assert Header.new(5120).table_end == 1536 + 5120 * 4
    assert Header.new(1).table_end == 2048


@pytest.mark.parametrize("length", [0, 512, 1023])
def test_a_short_header_is_truncated(length: int) -> None:
    with pytest.raises(VhdTruncated):
        Header.parse(DELTA.pack()[:length])


@pytest.mark.parametrize(
    ("offset", "field", "error", "what"),
    [
        (0, b"cxsparsE", VhdInvalid, "cookie"),
        (8, bytes(8), VhdInvalid, "data_offset"),
        (16, (1024).to_bytes(8, "big"), VhdInvalid, "table_offset"),
        (16, (1537).to_bytes(8, "big"), VhdInvalid, "table_offset"),
        (16, (TABLE_OFFSET_MAX + 512).to_bytes(8, "big"), VhdInvalid, "table_offset"),
        (16, b"\xff" * 8, VhdInvalid, "table_offset"),
        (24, bytes.fromhex("00020000"), VhdUnsupported, "version"),
        (28, bytes(4), VhdInvalid, "entries"),
        (28, (ENTRIES_MAX + 1).to_bytes(4, "big"), VhdInvalid, "entries"),
        (28, b"\xff" * 4, VhdInvalid, "entries"),
        (32, (512 * 1024).to_bytes(4, "big"), VhdUnsupported, "blocks of 524288"),
        (32, bytes(4), VhdUnsupported, "blocks of 0"),
        (64, "../a.vhd".encode("utf-16-be").ljust(512, b"\0"), VhdInvalid, "parent_name"),
    ],
)
def test_wrong_fields_are_named(
    offset: int, field: bytes, error: type[VhdError], what: str
) -> None:
    with pytest.raises(error, match=what):
        Header.parse(patched(DELTA.pack(), offset, field))


def test_a_wrong_checksum_is_refused() -> None:
    raw = bytearray(DELTA.pack())
    raw[800] ^= 1
    with pytest.raises(VhdInvalid, match="checksum"):
        Header.parse(raw)


def test_a_path_of_a_host_is_text_when_asked_for() -> None:
    path = "/run/sr-mount/0a/0b.vhd"
    raw = replace(DELTA, parent_name=path).pack()
    assert Header.parse(raw, any_parent_name=True).parent_name == path
    with pytest.raises(VhdInvalid, match="parent_name"):
        Header.parse(raw)


@pytest.mark.parametrize(
    ("uuid", "name"), [(UUID, None), (None, "a.vhd"), ("nobody", "a.vhd"), (UUID, "a/b.vhd")]
)
def test_a_parent_is_a_uuid_and_a_file_name(uuid: str | None, name: str | None) -> None:
    with pytest.raises(VhdInvalid):
        Header.new(1, uuid, name)


@pytest.mark.parametrize("entries", [0, -1, ENTRIES_MAX + 1])
def test_a_table_has_entries_within_limits(entries: int) -> None:
    with pytest.raises(VhdUnsupported):
        Header.new(entries)
