"""Padding goes along only where it is nobody's."""

from dataclasses import dataclass

from reconciler.transfer.folding import Pads, move_of
from reconciler.vhd.bat import Bat
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.layout import BLOCK, BLOCK_RECORD, SLOT_PAD
from reconciler.vhd.merge import RecordMove

UUID = "11111111-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class File:
    key: str = "x"


def pads_of(packing, blocks=9):
    layout = Layout.of_disk(blocks * BLOCK, range(blocks), UUID, packing=packing)
    return layout, Pads(layout.bat, layout.header.table_end)


def test_in_our_own_files_all_padding_is_free():
    layout, pads = pads_of(Packing.ALIGNED)
    assert all(pads.is_free(layout.record_offset(n)) for n in range(9))


def test_in_packed_files_none_is():
    layout, pads = pads_of(Packing.PACKED)
    assert not any(pads.is_free(layout.record_offset(n)) for n in range(9))


def test_where_something_lies_before_a_record_it_is_not():
    first = 8192 - 512
    bat = Bat.empty(2).with_offsets({0: first, 1: first + 4096 + BLOCK_RECORD - 512})
    assert not Pads(bat, first - SLOT_PAD + 512).is_free(first)
    assert Pads(bat, first - SLOT_PAD).is_free(first)


def test_a_move_carries_padding_if_both_sides_have_it():
    layout, aligned = pads_of(Packing.ALIGNED)
    other, packed = pads_of(Packing.PACKED)
    file = File()
    record = RecordMove(layout.record_offset(2), layout.record_offset(5))
    move = move_of(file, record, aligned, aligned)
    assert (move.source_offset % 4096, move.offset % 4096) == (0, 0)
    assert move.count == BLOCK_RECORD + SLOT_PAD
    for source, target in [(aligned, packed), (packed, aligned), (packed, packed)]:
        record = RecordMove(
            (layout if source is aligned else other).record_offset(2),
            (layout if target is aligned else other).record_offset(5),
        )
        move = move_of(file, record, source, target)
        assert (move.source_offset, move.offset) == tuple(record)
        assert move.count == BLOCK_RECORD
