"""Streams of VHDs: any disk, any order, any split, any one wrong byte, any end."""

import itertools
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reconciler.vhd.bat import Bat
from reconciler.vhd.bitmap import FULL
from reconciler.vhd.decoder import Block, End, Preamble, StreamDecoder
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.errors import VhdError
from reconciler.vhd.footer import Footer
from reconciler.vhd.header import Header
from reconciler.vhd.layout import (
    ALIGNMENT,
    BITMAP,
    BLOCK,
    BLOCK_RECORD,
    SECTOR,
    TABLE_OFFSET,
    DiskType,
    blocks_of,
)
from reconciler.vhd.merge import fold

UUID = "00112233-4455-6677-8899-aabbccddeeff"
PARENT = (UUID, "20260101T000000Z.vhd")


@dataclass(frozen=True)
class Stream:
    """A VHD without its data: only what is not data is kept, so thousands can be tried."""

    layout: Layout

    @property
    def length(self) -> int:
        return self.layout.total_bytes

    def read(self, offset: int, count: int) -> bytes:
        """Any bytes of it; the data of block n is made of the byte n + 1."""
        layout = self.layout
        parts = [(0, layout.preamble())]
        for index, block in enumerate(layout.blocks):
            at = layout.slot_offset(index)
            if offset - BLOCK - 4096 < at < offset + count:
                parts.append((at, layout.slot_head + bytes([block % 255 + 1]) * BLOCK))
        parts.append((layout.trailer_offset, layout.trailer()))
        got = b"".join(
            part[max(0, offset - at) : max(0, offset + count - at)] for at, part in parts
        )
        assert len(got) == min(count, max(0, self.length - offset))
        return got


@st.composite
def layouts(draw: st.DrawFn, blocks_max: int = 4) -> Layout:
    size = draw(st.integers(1, 40 * BLOCK // SECTOR)) * SECTOR
    count = blocks_of(size)
    blocks = draw(st.lists(st.integers(0, count - 1), unique=True, max_size=blocks_max))
    parent = draw(st.sampled_from([None, PARENT]))
    planned = Layout.of_disk(size, blocks, UUID, parent)
    header = replace(
        planned.header,
        table_offset=TABLE_OFFSET + draw(st.integers(0, 3)) * SECTOR,
        entries=count + draw(st.integers(0, 300)),
    )
    return Layout(planned.footer, header, blocks, draw(st.sampled_from(Packing)))


class Cut(Exception):
    """The stream ended before the decoder was content."""


def decode(
    source: Iterator[bytes], decoder: StreamDecoder, wants_max: int = 4 << 20
) -> tuple[Preamble, dict[int, bytes]]:
    """Collect what the source gives, in whatever pieces, to what the decoder wants."""
    buffer = bytearray()
    preamble: Preamble | None = None
    data: dict[int, bytes] = {}
    while wanted := decoder.wanted:
        assert wanted <= wants_max
        while len(buffer) < wanted:
            piece = next(source, None)
            if piece is None:
                raise Cut
            buffer += piece
        taken = bytes(buffer[:wanted])
        del buffer[:wanted]
        match decoder.take(taken):
            case Preamble() as preamble:
                pass
            case Block(index):
                data[index] = taken[BITMAP:]
            case End(footer):
                assert preamble is not None and footer == preamble.footer
    assert preamble is not None
    assert not buffer and next(source, None) is None
    return preamble, data


def in_pieces(stream: Stream, cuts: list[int]) -> Iterator[bytes]:
    edges = sorted({0, stream.length, *(cut % stream.length for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        yield stream.read(start, end - start)


@given(layouts(), st.lists(st.integers(0, 1 << 40), max_size=30), st.booleans())
@settings(deadline=None)
def test_every_disk_survives_every_split(layout: Layout, cuts: list[int], known: bool) -> None:
    stream = Stream(layout)
    decoder = StreamDecoder(stream.length if known else None)
    preamble, data = decode(in_pieces(stream, cuts), decoder)
    assert preamble == Preamble(layout.footer, layout.header, layout.bat, layout.blocks)
    assert data == {block: bytes([block % 255 + 1]) * BLOCK for block in layout.blocks}
    assert decoder.position == stream.length
    if layout.slot_head != FULL:
        assert all((offset + BITMAP) % ALIGNMENT == 0 for _, offset in layout.bat.allocated())


@given(layouts(blocks_max=2), st.integers(0, 1 << 40))
@settings(deadline=None)
def test_a_stream_that_ends_early_is_never_content(layout: Layout, at: int) -> None:
    stream = Stream(layout)
    end = at % stream.length
    for length in (None, stream.length):
        decoder = StreamDecoder(length)
        with pytest.raises(Cut):
            decode(iter([stream.read(0, end)]), decoder)
        assert decoder.wanted > 0


def corrupted(stream: Stream, at: int, change: int) -> Iterator[bytes]:
    yield stream.read(0, at)
    yield bytes([stream.read(at, 1)[0] ^ change])
    yield stream.read(at + 1, stream.length)


@given(layouts(blocks_max=2), st.integers(0, 1 << 40), st.integers(1, 255), st.booleans())
@settings(deadline=None)
def test_a_wrong_byte_outside_the_data_is_seen_or_harmless(
    layout: Layout, where: int, change: int, known: bool
) -> None:
    """Structure: an error. Gaps: nothing. Never another exception, never other data."""
    stream = Stream(layout)
    slots = [layout.slot_offset(n) for n in range(len(layout.blocks))]
    loose = len(layout.preamble()) + len(slots) * len(layout.slot_head) + 512
    at = where % loose
    for slot in slots:
        if at >= slot + len(layout.slot_head):
            at += BLOCK
    decoder = StreamDecoder(stream.length if known else None)
    try:
        preamble, data = decode(corrupted(stream, at, change), decoder)
    except (VhdError, Cut):
        return
    assert preamble == Preamble(layout.footer, layout.header, layout.bat, layout.blocks)
    assert data == {block: bytes([block % 255 + 1]) * BLOCK for block in layout.blocks}
    table = layout.header.table_offset
    structure = [(0, TABLE_OFFSET), (table, table + 4 * len(layout.bat))]
    structure += [(offset, offset + BITMAP) for _, offset in layout.bat.allocated()]
    assert at < layout.trailer_offset
    assert not any(start <= at < end for start, end in structure)


@given(
    st.integers(1, 20 * BLOCK // SECTOR).map(lambda sectors: sectors * SECTOR),
    st.integers(0, 300),
    st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 9000), max_size=20),
    st.none() | st.integers(0, 1 << 42),
)
@settings(deadline=None)
def test_hostile_tables_are_refused_or_lead_nowhere(
    size: int, spare: int, entries: list[int], length: int | None
) -> None:
    """Right checksums, wild offsets: a VhdError, or bounded wants that zeros do not satisfy."""
    header = Header.new(blocks_of(size) + spare)
    table = Bat.empty(header.entries).with_offsets(
        {block: sector * SECTOR for block, sector in enumerate(entries[: header.entries])}
    )
    footer = Footer.new(size, UUID, DiskType.DYNAMIC)
    decoder = StreamDecoder(length)
    try:
        for piece in (footer.pack(), header.pack(), table.pack()):
            decoder.take(piece)
        for _ in range(50):
            assert 0 < decoder.wanted <= BLOCK_RECORD
            decoder.take(bytes(decoder.wanted))
    except VhdError:
        return
    assume(length is None or length > 40 * BLOCK_RECORD)


@settings(deadline=None)
@given(st.binary(max_size=4096), st.none() | st.integers(0, 1 << 42))
def test_no_bytes_break_the_decoder(raw: bytes, length: int | None) -> None:
    decoder = StreamDecoder(length)
    with pytest.raises((VhdError, Cut)):
        decode(iter([raw]), decoder)


@given(layouts(blocks_max=8), st.data())
@settings(deadline=None)
def test_a_fold_keeps_what_only_the_target_has_and_takes_all_of_the_source(
    target: Layout, data: st.DataObject
) -> None:
    source = data.draw(layouts(blocks_max=8))
    plan = fold(target.bat, target.header.table_offset, source.bat)
    entries = max(len(target.bat), len(source.bat))
    table_end = replace(target.header, entries=entries).table_end
    plan.bat.check(plan.file_bytes, table_end)
    moved = {move.source_offset: move.offset for move in plan.moves}
    relocated = {move.source_offset: move.offset for move in plan.relocations}
    for block in range(entries):
        kept = target.bat.offset_of(block) if block < len(target.bat) else None
        taken = source.bat.offset_of(block) if block < len(source.bat) else None
        now = plan.bat.offset_of(block)
        if taken is not None:
            assert moved[taken] == now
        elif kept is not None:
            assert now == relocated.get(kept, kept)
        else:
            assert now is None
    assert len(moved) == source.bat.count()
    # Nothing that stays is overwritten, nor the old trailer by anything but a longer table.
    written = sorted([*moved.values(), *relocated.values()])
    assert all(b - a >= BLOCK_RECORD for a, b in itertools.pairwise(written))
    at = bisect_left(written, target.trailer_offset)
    assert at == 0 or written[at - 1] + BLOCK_RECORD <= target.trailer_offset
    assert at == len(written) or written[at] >= target.trailer_offset + 512


@given(layouts(blocks_max=8), st.data())
@settings(deadline=None)
def test_a_fold_planned_again_from_a_half_written_table_leads_to_the_same(
    target: Layout, data: st.DataObject
) -> None:
    """A crash while the table was written leaves some entries old and some new."""
    source = data.draw(layouts(blocks_max=8))
    assume(len(source.bat) <= len(target.bat))
    done = fold(target.bat, target.header.table_offset, source.bat)
    torn = target.bat.with_offsets(
        {
            block: offset
            for block, offset in done.bat.allocated()
            if target.bat[block] is None and data.draw(st.booleans())
        }
    )
    again = fold(torn, target.header.table_offset, source.bat)
    again.bat.check(again.file_bytes, target.header.table_end)
    assert {b for b, _ in again.bat.allocated()} == {b for b, _ in done.bat.allocated()}
    moved = {move.source_offset: move.offset for move in again.moves}
    for block, offset in source.bat.allocated():
        assert moved[offset] == again.bat.offset_of(block)
    for block, offset in target.bat.allocated():
        assert again.bat.offset_of(block) == offset
