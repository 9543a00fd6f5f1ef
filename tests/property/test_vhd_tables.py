"""Footers, headers, tables, bitmaps: what is packed is parsed, and no bytes do any other harm."""

import struct
import tracemalloc
from array import array
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.vhd.bat import Bat
from reconciler.vhd.bitmap import fill, gaps, is_full, runs
from reconciler.vhd.decoder import StreamDecoder
from reconciler.vhd.errors import VhdError, VhdInvalid
from reconciler.vhd.fields import check_file_name, checksum, pack_name, parse_file_name
from reconciler.vhd.footer import Footer, Geometry, geometry_of
from reconciler.vhd.header import Header
from reconciler.vhd.layout import (
    BITMAP,
    BLOCK,
    BLOCK_RECORD,
    BLOCKS_MAX,
    ENTRIES_MAX,
    SECTOR,
    DiskType,
)

uuids = st.uuids().map(str)
u3, u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (3, 8, 16, 32))
sizes = st.integers(1, BLOCKS_MAX * BLOCK // SECTOR).map(lambda sectors: sectors * SECTOR)
names = st.text(min_size=1, max_size=255).filter(lambda name: not set(name) & set("/\\\0"))

footers = st.builds(
    Footer,
    disk_type=st.sampled_from(DiskType),
    current_size=sizes,
    original_size=st.integers(0, 2**64 - 1),
    unique_id=uuids,
    geometry=st.builds(Geometry, u16, u8, u8),
    timestamp=u32,
    creator_application=st.binary(min_size=4, max_size=4),
    creator_version=u32,
    creator_host=st.binary(min_size=4, max_size=4),
    features=u32,
    saved_state=u8,
    reserved=st.binary(min_size=427, max_size=427),
)

headers = st.builds(
    Header,
    table_offset=st.integers(3, 2048).map(lambda sectors: sectors * SECTOR),
    entries=st.integers(1, ENTRIES_MAX),
    parent_uuid=st.none() | uuids.filter(lambda text: set(text) != {"0", "-"}),
    parent_timestamp=u32,
    locators=st.binary(min_size=192, max_size=192),
    reserved=st.binary(min_size=256, max_size=256),
)


@settings(deadline=None)
@given(footers)
def test_footers_survive(footer: Footer) -> None:
    assert Footer.parse(footer.pack()) == footer


@settings(deadline=None)
@given(headers, st.none() | names)
def test_headers_survive(header: Header, name: str | None) -> None:
    try:
        raw = replace(header, parent_name=name).pack()
    except VhdInvalid:
        assert name is not None
        return
    try:
        assert Header.parse(raw) == replace(header, parent_name=name)
    except VhdInvalid as error:
        assert error.field == "header.parent_name"
        assert name in (".", "..")


@settings(deadline=None)
@given(st.text(max_size=300))
def test_a_name_is_one_component_or_refused(name: str) -> None:
    try:
        assert parse_file_name(pack_name(check_file_name(name))) == name
    except VhdInvalid:
        return
    assert name not in ("", ".", "..") and not set(name) & set("/\\\0")


@settings(deadline=None)
@given(st.binary(min_size=512, max_size=512))
def test_whatever_stands_in_the_name_field_is_one_component_or_refused(raw: bytes) -> None:
    try:
        name = parse_file_name(raw)
    except VhdInvalid:
        return
    assert name is None or (name not in ("", ".", "..") and not set(name) & set("/\\\0"))


@settings(deadline=None)
@given(sizes)
def test_the_geometry_fits_its_fields_and_covers_the_disk(size: int) -> None:
    geometry = geometry_of(size)
    assert geometry.cylinders <= 65535 and geometry.heads <= 16 and geometry.sectors <= 255
    covered = geometry.cylinders * geometry.heads * geometry.sectors * SECTOR
    assert covered >= min(size, 65535 * 16 * 255 * SECTOR)


@settings(deadline=None)
@given(st.lists(u32, max_size=300))
def test_tables_survive(entries: list[int]) -> None:
    raw = struct.pack(f">{len(entries)}I", *entries)
    bat = Bat.parse(raw, len(entries))
    assert bat.pack()[: len(raw)] == raw
    assert Bat.parse(bat.pack(), len(entries)) == bat
    assert [bat[block] for block in range(len(bat))] == [
        None if entry == 0xFFFFFFFF else entry for entry in entries
    ]
    assert bat.count() == len(list(bat.allocated())) == len(bat.in_file_order())
    assert bat.blocks_in_file_order() == [block for block, _ in bat.in_file_order()]
    assert sorted(bat.in_file_order()) == list(bat.allocated())


# Sectors that just touch each other, the tables and the end of the file, or just do not.
close_sectors = st.dictionaries(u3, st.integers(-1, 1), max_size=3).flatmap(
    lambda near: st.permutations([max(0, 4 + n * 4097 + by) for n, by in near.items()])
)


@settings(deadline=None)
@given(close_sectors, st.integers(0, 3), st.sampled_from([-512, -1, 0, 1, 1 << 40]))
def test_a_checked_table_has_no_overlap(entries: list[int], absent: int, spare: int) -> None:
    """Against the plainest reading: every pair of blocks, the tables, the trailer."""
    size = max([2560, *(sector * 512 + BLOCK_RECORD + 512 for sector in entries)]) + spare
    entries += [0xFFFFFFFF] * absent
    bat = Bat(array("I", entries))
    extents = [(s * 512, s * 512 + 512 + BLOCK) for s in entries if s != 0xFFFFFFFF]
    sound = all(start >= 2048 and end + 512 <= size for start, end in extents) and size >= 2560
    sound &= all(
        first[1] <= second[0] or second[1] <= first[0]
        for n, first in enumerate(extents)
        for second in extents[:n]
    )
    try:
        bat.check(size, 2048)
    except VhdInvalid:
        assert not sound
    else:
        assert sound


@settings(deadline=None)
@given(st.binary(min_size=BITMAP, max_size=BITMAP) | st.sampled_from([b"\0", b"\xff"]))
def test_runs_are_the_set_bits(raw: bytes) -> None:
    bitmap = raw if len(raw) == BITMAP else raw * BITMAP
    bits = [sector for sector in range(4096) if bitmap[sector // 8] >> (7 - sector % 8) & 1]
    assert [start + n for start, count in runs(bitmap) for n in range(count)] == bits
    absent = [start + n for start, count in gaps(bitmap) for n in range(count)]
    assert sorted(bits + absent) == list(range(4096))
    assert is_full(bitmap) == (len(bits) == 4096)
    ends = [start + count for start, count in runs(bitmap)]
    assert all(end < start for end, (start, _) in zip(ends, runs(bitmap)[1:], strict=False))


@settings(deadline=None)
@given(st.binary(min_size=BITMAP, max_size=BITMAP))
def test_filling_makes_a_block_whole_and_leaves_its_sectors(bitmap: bytes) -> None:
    record = bytearray(bitmap + b"\xaa" * BLOCK)
    fill(memoryview(record))
    assert is_full(record)
    for sector in range(0, 4096, 61):
        present = bitmap[sector // 8] >> (7 - sector % 8) & 1
        start = BITMAP + sector * SECTOR
        assert record[start : start + SECTOR] == (b"\xaa" if present else b"\0") * SECTOR


# Bytes that nobody sound has written


def mended(raw: bytes, checksum_offset: int) -> bytes:
    """Make the checksum right, so that the fields themselves are tried."""
    good = checksum(raw, checksum_offset).to_bytes(4, "big")
    return raw[:checksum_offset] + good + raw[checksum_offset + 4 :]


@settings(deadline=None)
@given(st.binary(max_size=600))
def test_no_bytes_break_the_footer(raw: bytes) -> None:
    for candidate in (raw, mended((b"conectix" + raw).ljust(512, b"\0")[:512], 64)):
        try:
            footer = Footer.parse(candidate)
        except VhdError:
            continue
        assert footer.current_size > 0 and footer.current_size % SECTOR == 0


@settings(deadline=None)
@given(st.binary(max_size=1100), st.booleans())
def test_no_bytes_break_the_header(raw: bytes, any_parent_name: bool) -> None:
    dressed = b"cxsparse" + b"\xff" * 8 + raw
    for candidate in (raw, mended(dressed.ljust(1024, b"\0")[:1024], 36)):
        try:
            header = Header.parse(candidate, any_parent_name=any_parent_name)
        except VhdError:
            continue
        assert 0 < header.entries <= ENTRIES_MAX
        assert header.block_bytes == BLOCK
        assert header.table_end < 6 * 1024 * 1024


@pytest.mark.parametrize("structure", ["footer", "header"])
@settings(deadline=None)
@given(st.integers(0, 1023), st.integers(1, 255))
def test_a_changed_byte_is_always_seen(structure: str, offset: int, change: int) -> None:
    footer = Footer.new(BLOCK, "00112233-4455-6677-8899-aabbccddeeff", DiskType.DYNAMIC)
    raw = bytearray(footer.pack() if structure == "footer" else Header.new(1).pack())
    raw[offset % len(raw)] ^= change
    with pytest.raises(VhdError):
        Footer.parse(raw) if structure == "footer" else Header.parse(raw)


def test_the_worst_tables_stay_within_bounds() -> None:
    """An eighth of the blocks that can be claimed, in the order that is hardest to sort."""
    entries = BLOCKS_MAX // 8
    footer = Footer.new(entries * BLOCK, "00112233-4455-6677-8899-aabbccddeeff", DiskType.DYNAMIC)
    table = Bat(array("I", range(16384 + (entries - 1) * 4097, 16383, -4097))).pack()
    decoder = StreamDecoder()
    decoder.take(footer.pack())
    decoder.take(Header.new(entries).pack())
    tracemalloc.start()
    try:
        decoder.take(table)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert decoder.wanted == BLOCK_RECORD
    assert 8 * peak_bytes < 128 << 20
