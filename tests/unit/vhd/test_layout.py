"""Sizes and limits of the format."""

import pytest

from reconciler.vhd.layout import (
    ALIGNMENT,
    BITMAP,
    BLOCK,
    BLOCK_RECORD,
    BLOCKS_MAX,
    ENTRIES_MAX,
    GIB,
    SECTOR,
    SLOT,
    SLOT_PAD,
    bat_bytes,
    blocks_of,
    round_up,
)


@pytest.mark.parametrize(
    ("size", "blocks"),
    [(0, 0), (512, 1), (BLOCK, 1), (BLOCK + 512, 2), (2040 * GIB, BLOCKS_MAX)],
)
def test_a_disk_has_blocks_enough_for_its_last_sector(size: int, blocks: int) -> None:
    assert blocks_of(size) == blocks


@pytest.mark.parametrize(("entries", "size"), [(1, 512), (128, 512), (129, 1024), (51200, 204800)])
def test_a_table_takes_whole_sectors(entries: int, size: int) -> None:
    assert bat_bytes(entries) == size


def test_one_bit_a_sector() -> None:
    assert BITMAP * 8 * SECTOR == BLOCK


def test_a_slot_brings_data_to_a_page() -> None:
    assert SLOT % ALIGNMENT == 0
    assert (SLOT_PAD + BITMAP) % ALIGNMENT == 0
    assert SLOT_PAD + BLOCK_RECORD == SLOT


def test_the_largest_disk_can_be_addressed_even_with_gaps() -> None:
    assert (round_up(bat_bytes(BLOCKS_MAX), ALIGNMENT) + BLOCKS_MAX * SLOT) // SECTOR < 0xFFFFFFFF
    assert BLOCKS_MAX < ENTRIES_MAX
