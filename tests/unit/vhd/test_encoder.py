"""The plan of a new VHD, compared with offsets worked out by hand."""

import pytest

from reconciler.vhd.bat import Bat
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.errors import VhdInvalid, VhdUnsupported
from reconciler.vhd.footer import Footer
from reconciler.vhd.header import Header
from reconciler.vhd.layout import (
    BLOCK,
    BLOCK_RECORD,
    BLOCKS_MAX,
    ENTRIES_MAX,
    GIB,
    SLOT,
    DiskType,
)

UUID = "00112233-4455-6677-8899-aabbccddeeff"
PARENT = ("ffeeddcc-bbaa-9988-7766-554433221100", "20260101T000000Z.vhd")


def test_our_files_have_data_on_pages() -> None:
    layout = Layout.of_disk(10 * GIB, [7, 3, 5119], UUID)
    # 5120 entries: the table ends at 1536 + 20480 = 22016, the first slot is at 24576.
    assert [layout.slot_offset(n) for n in range(3)] == [24576, 24576 + SLOT, 24576 + 2 * SLOT]
    assert layout.record_offset(0) == layout.offset_of(7) == 24576 + 3584
    assert layout.data_offset(2) == 24576 + 2 * SLOT + 4096
    assert [layout.bat[block] for block in (7, 3, 5119, 0)] == [55, 55 + 4104, 55 + 8208, None]
    assert all(sector % 8 == 7 for sector in (55, 55 + 4104, 55 + 8208))
    assert layout.slot_head == bytes(3584) + b"\xff" * 512
    assert layout.trailer_offset == 24576 + 3 * SLOT
    assert layout.total_bytes == layout.trailer_offset + 512


def test_streams_are_packed_as_xo_packs_them() -> None:
    layout = Layout.of_disk(10 * GIB, [3, 7], UUID, packing=Packing.PACKED)
    assert layout.slot_offset(0) == layout.record_offset(0) == 22016
    assert layout.offset_of(7) == 22016 + BLOCK_RECORD
    assert layout.slot_head == b"\xff" * 512
    assert layout.total_bytes == 512 + 1024 + 20480 + 2 * BLOCK_RECORD + 512


@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize("parent", [None, PARENT])
def test_the_preamble_holds_all_tables(packing: Packing, parent: tuple[str, str] | None) -> None:
    layout = Layout.of_disk(10 * GIB, [1], UUID, parent, packing=packing, timestamp=5)
    raw = layout.preamble()
    assert len(raw) == layout.slot_offset(0)
    footer = Footer.parse(raw)
    assert footer.disk_type is (DiskType.DYNAMIC if parent is None else DiskType.DIFFERENCING)
    assert (footer.unique_id, footer.current_size, footer.timestamp) == (UUID, 10 * GIB, 5)
    header = Header.parse(raw[512:])
    assert (header.parent_uuid, header.parent_name) == (parent or (None, None))
    assert Bat.parse(raw[1536:], 5120) == layout.bat
    assert not any(raw[22016:])
    assert layout.trailer() == raw[:512]


def test_a_table_can_lie_where_xapi_puts_it() -> None:
    footer = Footer.new(BLOCK, UUID, DiskType.DYNAMIC)
    layout = Layout(footer, Header(table_offset=2048, entries=1), [0], Packing.PACKED)
    raw = layout.preamble()
    assert raw[1536:2048] == bytes(512)
    assert Bat.parse(raw[2048:], 1)[0] == 2560 // 512


@pytest.mark.parametrize("packing", Packing)
def test_without_blocks_the_trailer_follows_the_table(packing: Packing) -> None:
    layout = Layout.of_disk(BLOCK, [], UUID, packing=packing)
    assert layout.trailer_offset == len(layout.preamble()) == 2048
    assert layout.total_bytes == 2560


@pytest.mark.parametrize("blocks", [[0, 0], [-1], [2]])
def test_wrong_blocks_are_refused(blocks: list[int]) -> None:
    with pytest.raises(VhdInvalid, match="given twice or beyond"):
        Layout.of_disk(2 * BLOCK, blocks, UUID)


def test_a_block_that_is_absent_has_no_offset() -> None:
    with pytest.raises(KeyError):
        Layout.of_disk(2 * BLOCK, [0], UUID).offset_of(1)


def test_header_and_footer_must_fit() -> None:
    with pytest.raises(VhdInvalid, match="too few"):
        Layout(Footer.new(2 * BLOCK, UUID, DiskType.DYNAMIC), Header.new(1), [])
    with pytest.raises(VhdInvalid, match="fixed"):
        Layout(Footer.new(BLOCK, UUID, DiskType.FIXED), Header.new(1), [])


def test_the_largest_disk_fits() -> None:
    layout = Layout.of_disk(BLOCKS_MAX * BLOCK, range(BLOCKS_MAX), UUID)
    last = layout.bat[BLOCKS_MAX - 1]
    assert last is not None and last % 8 == 7
    assert layout.total_bytes < 1 << 41


def test_more_than_can_be_addressed_is_refused() -> None:
    footer = Footer.new(BLOCK, UUID, DiskType.DYNAMIC)
    with pytest.raises(VhdUnsupported, match="address"):
        Layout(footer, Header.new(ENTRIES_MAX), range(ENTRIES_MAX))
