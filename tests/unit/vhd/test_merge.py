"""The plan of a fold, on small tables worked out by hand."""

import pytest

from reconciler.vhd.bat import Bat
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.errors import VhdUnsupported
from reconciler.vhd.layout import BLOCK, BLOCK_RECORD, SLOT, TABLE_OFFSET
from reconciler.vhd.merge import RecordMove, fold

UUID = "00112233-4455-6677-8899-aabbccddeeff"
SIZE = 8 * BLOCK
TARGET = Layout.of_disk(SIZE, [0, 1, 4], UUID)
SOURCE = Layout.of_disk(SIZE, [1, 5], UUID, (UUID, "a.vhd"))


def test_blocks_of_both_are_overwritten_and_new_ones_appended() -> None:
    plan = fold(TARGET.bat, TABLE_OFFSET, SOURCE.bat)
    appended = TARGET.slot_offset(3) + 3584
    assert plan.moves == (
        RecordMove(SOURCE.offset_of(1), TARGET.offset_of(1)),
        RecordMove(SOURCE.offset_of(5), appended),
    )
    assert plan.relocations == ()
    assert not plan.grows
    assert plan.bat == TARGET.bat.with_offsets({5: appended})
    assert plan.trailer_offset == plan.appended_end == TARGET.slot_offset(4)
    assert plan.file_bytes == TARGET.total_bytes + SLOT
    assert plan.moved_bytes == 2 * BLOCK_RECORD


def test_nothing_new_leaves_the_size_as_it_is() -> None:
    plan = fold(TARGET.bat, TABLE_OFFSET, Bat.empty(8))
    assert plan.moves == ()
    assert plan.bat == TARGET.bat
    assert plan.file_bytes == TARGET.total_bytes


@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize("blocks", [[], [0], [0, 1], [2, 0, 1]])
def test_appended_blocks_spare_the_old_trailer_and_lie_on_pages(
    blocks: list[int], packing: Packing
) -> None:
    target = Layout.of_disk(SIZE, blocks, UUID, packing=packing)
    plan = fold(target.bat, TABLE_OFFSET, SOURCE.bat)
    for block, offset in plan.bat.allocated():
        if target.bat[block] is None:
            assert offset >= target.trailer_offset + 512
            assert (offset + 512) % 4096 == 0
    plan.bat.check(plan.file_bytes, target.header.table_end)


def test_planning_again_from_the_result_overwrites_in_place() -> None:
    first = fold(TARGET.bat, TABLE_OFFSET, SOURCE.bat)
    again = fold(first.bat, TABLE_OFFSET, SOURCE.bat)
    assert again == first


def test_a_grown_disk_pushes_blocks_out_of_the_way_of_its_table() -> None:
    """Packed blocks begin right after a table of 8 entries; one of 1000 needs 4096 bytes."""
    target = Layout.of_disk(SIZE, [0, 1, 4], UUID, packing=Packing.PACKED)
    source = Layout.of_disk(1000 * BLOCK, [1, 999], UUID, (UUID, "a.vhd"))
    plan = fold(target.bat, TABLE_OFFSET, source.bat)
    assert plan.grows
    assert len(plan.bat) == 1000
    assert [move.source_offset for move in plan.relocations] == [target.offset_of(0)]
    assert plan.moves[0] == RecordMove(source.offset_of(1), target.offset_of(1))
    plan.bat.check(plan.file_bytes, TABLE_OFFSET + 4096)


def test_a_displaced_block_that_is_replaced_anyway_is_not_moved_twice() -> None:
    target = Layout.of_disk(SIZE, [1], UUID, packing=Packing.PACKED)
    source = Layout.of_disk(1000 * BLOCK, [1], UUID, (UUID, "a.vhd"))
    plan = fold(target.bat, TABLE_OFFSET, source.bat)
    assert plan.relocations == ()
    assert plan.moves[0].offset >= target.trailer_offset + 512
    plan.bat.check(plan.file_bytes, TABLE_OFFSET + 4096)


def test_more_than_can_be_addressed_is_refused() -> None:
    target = Bat.empty(2).with_offsets({0: (0xFFFFFFFF - 4100) * 512})
    with pytest.raises(VhdUnsupported, match="address"):
        fold(target, TABLE_OFFSET, Bat.empty(2).with_offsets({1: 4096}))
