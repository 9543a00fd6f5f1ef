"""Sector bitmaps."""

import pytest

from reconciler.vhd.bitmap import FULL, fill, gaps, is_full, runs
from reconciler.vhd.layout import BITMAP, BLOCK_RECORD


def bitmap(*sectors: int) -> bytes:
    bits = bytearray(BITMAP)
    for sector in sectors:
        bits[sector // 8] |= 0x80 >> (sector % 8)
    return bytes(bits)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (bytes(BITMAP), []),
        (FULL, [(0, 4096)]),
        (bitmap(0), [(0, 1)]),
        (bitmap(4095), [(4095, 1)]),
        (bitmap(7, 8, 9, 100), [(7, 3), (100, 1)]),
    ],
)
def test_runs_of_set_bits(raw: bytes, expected: list[tuple[int, int]]) -> None:
    assert runs(raw) == expected
    assert runs(memoryview(bytearray(raw))) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(bytes(BITMAP), [(0, 4096)]), (FULL, []), (bitmap(0, 4095), [(1, 4094)])],
)
def test_gaps_are_what_runs_leave(raw: bytes, expected: list[tuple[int, int]]) -> None:
    assert gaps(raw) == expected


def test_only_the_first_512_bytes_count() -> None:
    assert is_full(FULL + bytes(10))
    assert not is_full(b"\xff" * 511 + b"\xfe" + FULL)
    assert runs(FULL + bytes(10)) == [(0, 4096)]


def test_filling_zeroes_what_is_absent() -> None:
    record = bytearray(b"\xaa" * BLOCK_RECORD)
    record[:BITMAP] = bitmap(1, 4095)
    fill(memoryview(record))
    assert record[:BITMAP] == FULL
    assert record[BITMAP:] == bytes(512) + b"\xaa" * 512 + bytes(4093 * 512) + b"\xaa" * 512
