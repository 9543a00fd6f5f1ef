"""Checksums, uuids, parents' names."""

import pytest

from reconciler.vhd.errors import VhdInvalid
from reconciler.vhd.fields import (
    NAME_BYTES,
    check_file_name,
    checksum,
    pack_name,
    parse_any_name,
    parse_file_name,
    uuid_bytes,
    uuid_text,
)

UUID = "00112233-4455-6677-8899-aabbccddeeff"


def test_the_checksum_leaves_itself_out() -> None:
    assert checksum(b"\x01\x02" + b"\xaa\xbb\xcc\xdd" + b"\x03", 2) == 0xFFFFFFFF - 6


def test_a_uuid_is_its_digits_in_order() -> None:
    assert uuid_bytes(UUID, "x") == bytes.fromhex("00112233445566778899aabbccddeeff")
    assert uuid_text(uuid_bytes(UUID, "x")) == UUID


@pytest.mark.parametrize("text", ["", "x", UUID.upper(), UUID + "\n", UUID[:-1], "{" + UUID + "}"])
def test_what_is_no_uuid_is_refused(text: str) -> None:
    with pytest.raises(VhdInvalid, match=r"footer\.unique_id"):
        uuid_bytes(text, "footer.unique_id")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a.vhd", "/etc/passwd", "a/b.vhd", "a\0b.vhd", "..\\a.vhd"]
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(VhdInvalid, match="parent_name"):
        check_file_name(name)


@pytest.mark.parametrize("name", ["20260101T000000Z.vhd", "..vhd", "ü€𐍈.vhd", "x" * 255])
def test_a_name_survives_packing(name: str) -> None:
    raw = pack_name(name)
    assert len(raw) == NAME_BYTES
    assert parse_file_name(raw) == name


def test_no_name_is_zeros() -> None:
    assert pack_name(None) == bytes(NAME_BYTES)
    assert parse_file_name(bytes(NAME_BYTES)) is None


@pytest.mark.parametrize("name", ["x" * 256, "𐍈" * 128, "\ud800"])
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    with pytest.raises(VhdInvalid, match="parent_name"):
        pack_name(name)


@pytest.mark.parametrize(
    "raw",
    [
        "a\0b".encode("utf-16-be"),
        "/run/sr-mount/a.vhd".encode("utf-16-be"),
        b"\xd8\x00\x00\x41",  # half of a surrogate pair
    ],
)
def test_a_stored_name_that_leads_elsewhere_is_refused(raw: bytes) -> None:
    with pytest.raises(VhdInvalid, match="parent_name"):
        parse_file_name(raw.ljust(NAME_BYTES, b"\0"))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("/run/sr-mount/a.vhd".encode("utf-16-be"), "/run/sr-mount/a.vhd"),
        ("a\0rest".encode("utf-16-be"), "a"),
        (b"\xd8\x00\x00\x41", "\ufffdA"),
        (b"", None),
    ],
)
def test_any_name_can_be_shown(raw: bytes, shown: str | None) -> None:
    assert parse_any_name(raw.ljust(NAME_BYTES, b"\0")) == shown
