"""The lab's own VHD codec against the package's, which was written apart from it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.lab import vhd_format
from reconciler.lab.layers import BLOCK
from reconciler.vhd.footer import Footer
from reconciler.vhd.header import Header

SIZES = st.integers(1, 2040 << 9).map(lambda blocks: blocks * BLOCK)


@given(SIZES, st.sampled_from([vhd_format.DYNAMIC, vhd_format.DIFFERENCING]))
def test_both_read_a_footer_the_same(size: int, kind: int) -> None:
    packed = vhd_format.footer(size, kind)
    theirs, ours = Footer.parse(packed), vhd_format.parse_footer(packed)
    assert theirs.current_size == ours.size == size
    assert int(theirs.disk_type) == ours.disk_type == kind
    assert theirs.data_offset == ours.data_offset == 512
    assert theirs.pack() == packed


@given(st.integers(1, vhd_format.ENTRIES_MAX), st.booleans())
def test_both_read_a_header_the_same(entries: int, differencing: bool) -> None:
    identity = "0f0e0d0c-0b0a-0908-0706-050403020100"
    parent = (identity, "/run/sr-mount/sr/vdi.vhd") if differencing else None
    packed = vhd_format.header(entries, parent)
    theirs, ours = Header.parse(packed, any_parent_name=True), vhd_format.parse_header(packed)
    assert theirs.entries == ours.entries == entries
    assert theirs.table_offset == ours.table_offset == 2048
    assert theirs.parent_uuid == (identity if differencing else None)


@given(st.sets(st.integers(0, 40)).map(sorted))
def test_a_stream_is_as_long_as_it_says(blocks: list[int]) -> None:
    before, after = vhd_format.preamble(41 * BLOCK, blocks, None)
    total = len(before) + len(blocks) * (512 + BLOCK) + len(after)
    assert total == vhd_format.stream_bytes(41 * BLOCK, len(blocks))
    assert before[:512] == after
    table = vhd_format.parse_table(before[2048:], 41)
    assert [block for _, block in table] == blocks
    assert [offset for offset, _ in table] == [
        len(before) + number * (512 + BLOCK) for number in range(len(blocks))
    ]


@given(st.binary(min_size=512, max_size=512))
def test_runs_are_the_set_bits(bitmap: bytes) -> None:
    listed = {sector for start, end in vhd_format.runs(bitmap) for sector in range(start, end)}
    assert listed == {n for n in range(4096) if bitmap[n // 8] & (0x80 >> (n % 8))}


@pytest.mark.parametrize("offset", [0, 9, 48, 60, 100, 511])
def test_a_damaged_footer_is_refused(offset: int) -> None:
    packed = bytearray(vhd_format.footer(BLOCK, vhd_format.DYNAMIC))
    packed[offset] ^= 1
    with pytest.raises(vhd_format.VhdError):
        vhd_format.parse_footer(bytes(packed))


def test_a_header_is_not_believed() -> None:
    chance = random.Random(1)
    for _ in range(200):
        packed = bytearray(vhd_format.header(5, None))
        packed[chance.randrange(600)] ^= 1 << chance.randrange(8)
        with pytest.raises(vhd_format.VhdError):
            vhd_format.parse_header(bytes(packed))
    with pytest.raises(vhd_format.VhdError, match="blocks"):
        vhd_format.parse_header(vhd_format.header(vhd_format.ENTRIES_MAX + 1, None))
