"""The footer, byte by byte."""

from dataclasses import replace

import pytest

from reconciler.vhd.errors import VhdError, VhdInvalid, VhdTruncated, VhdUnsupported
from reconciler.vhd.fields import checksum
from reconciler.vhd.footer import Footer, Geometry, geometry_of
from reconciler.vhd.layout import BLOCK, BLOCKS_MAX, ENTRIES_MAX, GIB, MIB, NOWHERE, DiskType

UUID = "00112233-4455-6677-8899-aabbccddeeff"
NEW = Footer.new(10 * GIB, UUID, DiskType.DYNAMIC, timestamp=1767225600)

# Dynamic disk of 20 MiB, made by qemu-img 7.2 (-O vpc -o subformat=dynamic,force_size=on).
QEMU = bytes.fromhex(
    "636f6e6563746978 00000002 00010000 0000000000000200"
    "32969e76 71656d32 00050003 5769326b"
    "0000000001400000 0000000001400000 ffff10ff 00000003 ffffef21"
    "64c3cf430d89470f92664e43072d143e"
).ljust(512, b"\0")


def patched(raw: bytes, offset: int, field: bytes) -> bytes:
    """Change a field and make the checksum right again."""
    changed = bytearray(raw)
    changed[offset : offset + len(field)] = field
    changed[64:68] = checksum(bytes(changed), 64).to_bytes(4, "big")
    return bytes(changed)


def test_each_field_stands_where_xo_puts_it() -> None:
    raw = NEW.pack()
    assert len(raw) == 512
    assert raw[0:8] == b"conectix"
    assert raw[8:12] == (2).to_bytes(4, "big")
    assert raw[12:16] == bytes.fromhex("00010000")
    assert raw[16:24] == (512).to_bytes(8, "big")
    assert raw[24:28] == (1767225600).to_bytes(4, "big")
    assert raw[28:32] == b"xo  "
    assert raw[32:36] == bytes(4)
    assert raw[36:40] == b"Wi2k"
    assert raw[40:48] == raw[48:56] == (10 * GIB).to_bytes(8, "big")
    assert raw[56:60] == bytes.fromhex("5146103f")
    assert raw[60:64] == (3).to_bytes(4, "big")
    assert raw[68:84] == bytes.fromhex("00112233445566778899aabbccddeeff")
    assert raw[84:] == bytes(428)
    assert int.from_bytes(raw[64:68], "big") == ~(sum(raw) - sum(raw[64:68])) & 0xFFFFFFFF


def test_a_footer_of_qemu_is_understood() -> None:
    footer = Footer.parse(QEMU)
    assert footer.creator_application == b"qem2"
    assert footer.current_size == 20 * MIB
    assert footer.disk_type is DiskType.DYNAMIC
    assert footer.geometry == Geometry(65535, 16, 255)
    assert footer.unique_id == "64c3cf43-0d89-470f-9266-4e43072d143e"
    assert footer.pack() == QEMU


@pytest.mark.parametrize("disk_type", DiskType)
def test_what_is_packed_is_parsed(disk_type: DiskType) -> None:
    footer = replace(NEW, disk_type=disk_type, saved_state=1, reserved=b"\x07" * 427)
    assert Footer.parse(footer.pack()) == footer
    assert Footer.parse(memoryview(footer.pack())) == footer


def test_a_fixed_disk_has_no_header() -> None:
    assert Footer.new(512, UUID, DiskType.FIXED).data_offset == NOWHERE


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (512, Geometry(1, 4, 17)),
        (40 * MIB, Geometry(964, 5, 17)),
        (MIB * 1024, Geometry(2081, 16, 63)),
        (2040 * GIB, Geometry(65535, 16, 255)),
    ],
)
def test_geometry(size: int, expected: Geometry) -> None:
    assert geometry_of(size) == expected


@pytest.mark.parametrize("size", range(512, 300 * MIB, 7 * MIB + 512 * 13))
def test_the_geometry_covers_the_disk(size: int) -> None:
    geometry = geometry_of(size)
    assert geometry.cylinders * geometry.heads * geometry.sectors * 512 >= size
    assert geometry.cylinders <= 65535 and geometry.heads <= 16


@pytest.mark.parametrize("length", [0, 4, 8, 511])
def test_a_short_footer_is_truncated(length: int) -> None:
    with pytest.raises(VhdTruncated):
        Footer.parse(NEW.pack()[:length])


@pytest.mark.parametrize(
    ("offset", "field", "error", "what"),
    [
        (0, b"conectiX", VhdInvalid, "cookie"),
        (12, bytes.fromhex("00020000"), VhdUnsupported, "version"),
        (16, (1024).to_bytes(8, "big"), VhdUnsupported, "header lies at 1024"),
        (48, bytes(8), VhdInvalid, "current_size"),
        (48, (10 * GIB + 1).to_bytes(8, "big"), VhdInvalid, "current_size"),
        (48, (ENTRIES_MAX * BLOCK + 512).to_bytes(8, "big"), VhdUnsupported, "2 TiB"),
        (48, b"\xff" * 6 + b"\xfe\x00", VhdInvalid, "current_size"),
        (60, (5).to_bytes(4, "big"), VhdUnsupported, "disk type 5"),
        (60, (0).to_bytes(4, "big"), VhdUnsupported, "disk type 0"),
    ],
)
def test_wrong_fields_are_named(
    offset: int, field: bytes, error: type[VhdError], what: str
) -> None:
    with pytest.raises(error, match=what):
        Footer.parse(patched(NEW.pack(), offset, field))


def test_a_wrong_checksum_is_refused() -> None:
    raw = bytearray(NEW.pack())
    raw[200] ^= 1
    with pytest.raises(VhdInvalid, match="checksum"):
        Footer.parse(raw)


@pytest.mark.parametrize("size", [0, -512, 1, 513])
def test_a_disk_has_whole_sectors(size: int) -> None:
    with pytest.raises(VhdInvalid, match="current_size"):
        Footer.new(size, UUID, DiskType.DYNAMIC)


def test_a_disk_that_xapi_could_not_take_is_refused() -> None:
    Footer.new(BLOCKS_MAX * BLOCK, UUID, DiskType.DYNAMIC)
    with pytest.raises(VhdUnsupported, match="2040 GiB"):
        Footer.new(BLOCKS_MAX * BLOCK + 512, UUID, DiskType.DYNAMIC)


def test_a_uuid_is_required() -> None:
    with pytest.raises(VhdInvalid, match="unique_id"):
        Footer.new(512, "no uuid", DiskType.DYNAMIC)
