"""The block allocation table."""

import struct
import time

import pytest

from reconciler.vhd.bat import Bat
from reconciler.vhd.errors import VhdInvalid, VhdTruncated
from reconciler.vhd.layout import BLOCK_RECORD, ENTRIES_MAX

RECORD_SECTORS = BLOCK_RECORD // 512
TABLES_END = 2048


def table(*entries: int | None) -> Bat:
    return Bat.parse(
        b"".join(struct.pack(">I", 0xFFFFFFFF if e is None else e) for e in entries), len(entries)
    )


def test_entries_are_sectors() -> None:
    bat = table(None, 4, 4 + RECORD_SECTORS)
    assert [bat[block] for block in range(3)] == [None, 4, 4 + RECORD_SECTORS]
    assert list(bat.allocated()) == [(1, 2048), (2, 2048 + BLOCK_RECORD)]
    assert [bat.offset_of(block) for block in range(3)] == [None, 2048, 2048 + BLOCK_RECORD]
    assert bat.count() == 2
    assert len(bat) == 3
    assert repr(bat) == "Bat(2 of 3 blocks)"


def test_a_table_is_packed_in_whole_sectors() -> None:
    raw = table(7, None).pack()
    assert raw == bytes.fromhex("00000007") + b"\xff" * 508
    assert Bat.parse(raw, 2) == table(7, None)
    assert Bat.parse(memoryview(raw), 2) == table(7, None)


def test_a_short_table_is_truncated() -> None:
    with pytest.raises(VhdTruncated):
        Bat.parse(bytes(7), 2)


def test_an_empty_table() -> None:
    bat = Bat.empty(200)
    assert bat.count() == 0
    assert list(bat.allocated()) == []
    assert bat.pack() == b"\xff" * 1024
    assert bat.data_end(4096) == 4096
    bat.check(2048 + 512, TABLES_END)


def test_equal_tables_are_equal() -> None:
    assert table(1, None) == table(1, None) != table(1, 2)
    assert hash(table(1, None)) == hash(table(1, None))
    assert table(1) != [1]


def test_blocks_in_the_order_of_the_file() -> None:
    bat = table(4 + RECORD_SECTORS, None, 4)
    assert bat.in_file_order() == [(2, 2048), (0, 2048 + BLOCK_RECORD)]
    assert bat.blocks_in_file_order() == [2, 0]
    assert table(4, None, 9000).blocks_in_file_order() == [0, 2]
    assert bat.data_end(TABLES_END) == 2048 + 2 * BLOCK_RECORD


def test_a_changed_copy() -> None:
    bat = table(4, None)
    longer = bat.with_offsets({1: 512 * 9}, entries=4)
    assert [longer[block] for block in range(4)] == [4, 9, None, None]
    assert [bat[block] for block in range(2)] == [4, None]
    assert len(bat.with_offsets({}, entries=1)) == 2


def test_blocks_that_fill_the_file_exactly_are_accepted() -> None:
    table(4 + RECORD_SECTORS, 4).check(2048 + 2 * BLOCK_RECORD + 512, TABLES_END)
    table(4).check(2048 + BLOCK_RECORD, TABLES_END, trailer=False)
    table(4, 0x80000000).check(None, TABLES_END)


@pytest.mark.parametrize(
    ("bat", "size", "what"),
    [
        (table(3), 1 << 30, "block 0 at sector 3 overlaps the tables"),
        (table(0), 1 << 30, "block 0 at sector 0 overlaps the tables"),
        (table(4, 4), 1 << 30, "block 0 at sector 4 overlaps another block"),
        (table(4 + RECORD_SECTORS - 1, 4), 1 << 30, "block 0 at sector 4100 overlaps another"),
        (table(4), 2048 + BLOCK_RECORD + 511, "cut off"),
        (table(0xFFFFFFFE), 1 << 40, "cut off"),
        (table(None), 2048, "cut off"),
    ],
)
def test_blocks_out_of_place_are_refused(bat: Bat, size: int, what: str) -> None:
    with pytest.raises(VhdInvalid, match=what):
        bat.check(size, TABLES_END)


def test_a_million_entries_are_parsed_at_once() -> None:
    raw = Bat.empty(ENTRIES_MAX).pack()
    started = time.process_time()
    bat = Bat.parse(raw, ENTRIES_MAX)
    assert time.process_time() - started < 0.25  # 2 ms on a quiet machine
    assert bat.count() == 0
