"""Pieces packed as Xen Orchestra packs them; and what must not be unpacked, or not that far."""

import gzip
import random
import tracemalloc

import brotli
import pytest

from reconciler.transfer.block_codec import (
    Packing,
    PieceInvalid,
    pack,
    packed_bytes_max,
    packed_zeros,
    parse_packing,
    unpack,
    unpack_exactly,
)
from reconciler.vhd.layout import BLOCK_RECORD

PIECE = bytes(range(256)) * 40


@pytest.mark.parametrize("packing", Packing)
def test_what_was_packed_unpacks(packing):
    assert unpack_exactly(packing, pack(packing, memoryview(PIECE)), len(PIECE)) == PIECE
    assert parse_packing(packing.render()) is packing


def test_others_unpack_it():
    assert brotli.decompress(pack(Packing.BROTLI, PIECE)) == PIECE
    assert gzip.decompress(pack(Packing.GZIP, PIECE)) == PIECE
    assert len(unpack(Packing.BROTLI, packed_zeros(Packing.BROTLI), BLOCK_RECORD)) == BLOCK_RECORD


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"brotli", b'"brotli"', b'["zstd"]', b'["brotli","gzip"]', b"[[]]", b"null", b"7"],
)
def test_unknown_filters_are_refused(content):
    with pytest.raises(PieceInvalid):
        parse_packing(content)


def test_deep_filters_are_refused():
    with pytest.raises(PieceInvalid):
        parse_packing(b"[" * 100_000)


@pytest.mark.parametrize("packing", [Packing.BROTLI, Packing.GZIP])
@pytest.mark.parametrize("keep", [0, 1, 0.5, -1])
def test_a_piece_that_is_cut_off_is_refused(packing, keep):
    whole = pack(packing, PIECE)
    cut = whole[: int(len(whole) * keep)] if isinstance(keep, float) else whole[:keep]
    with pytest.raises(PieceInvalid):
        unpack_exactly(packing, cut, len(PIECE))


@pytest.mark.parametrize("packing", [Packing.BROTLI, Packing.GZIP])
def test_rubbish_is_refused(packing):
    with pytest.raises(PieceInvalid):
        unpack(packing, b"\xff\x00rubbish" * 9, 10_000)


@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize("wanted", [len(PIECE) - 1, len(PIECE) + 1])
def test_a_piece_of_another_size_is_refused(packing, wanted):
    with pytest.raises(PieceInvalid, match="bytes"):
        unpack_exactly(packing, pack(packing, PIECE), wanted)


@pytest.mark.parametrize("packing", [Packing.BROTLI, Packing.GZIP])
def test_a_bomb_takes_no_more_memory_than_it_may(packing):
    bomb = {
        Packing.BROTLI: lambda: brotli.compress(bytes(2**28), quality=1),
        Packing.GZIP: lambda: gzip.compress(bytes(2**28), 1),
    }[packing]()
    assert len(bomb) < packed_bytes_max(BLOCK_RECORD)
    tracemalloc.start()
    try:
        with pytest.raises(PieceInvalid, match="more than"):
            unpack(packing, bomb, BLOCK_RECORD)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * BLOCK_RECORD


def test_a_block_that_does_not_shrink_is_still_within_its_bound():
    noise = random.Random(1).randbytes(BLOCK_RECORD)
    for packing in Packing:
        assert BLOCK_RECORD <= len(pack(packing, noise)) <= packed_bytes_max(BLOCK_RECORD)
