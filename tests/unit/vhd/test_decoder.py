"""The stream decoder, driven piece by piece over sound and unsound streams."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from reconciler.vhd.decoder import Block, End, Event, Preamble, Skip, StreamDecoder
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.errors import VhdInvalid, VhdUnsupported
from reconciler.vhd.footer import Footer
from reconciler.vhd.header import Header
from reconciler.vhd.layout import BLOCK, BLOCK_RECORD, DiskType

UUID = "00112233-4455-6677-8899-aabbccddeeff"
PARENT = (UUID, "20260101T000000Z.vhd")
SIZE = 8 * BLOCK


def content(block: int) -> bytes:
    return bytes([block + 1]) * BLOCK


def stream_of(layout: Layout) -> bytearray:
    stream = bytearray(layout.preamble())
    for block in layout.blocks:
        stream += layout.slot_head + content(block)
    return stream + layout.trailer()


def drive(decoder: StreamDecoder, stream: bytes | bytearray) -> Iterator[Event]:
    view = memoryview(stream)
    while decoder.wanted:
        piece = view[decoder.position : decoder.position + decoder.wanted]
        assert len(piece) == decoder.wanted, "the stream is too short"
        yield decoder.take(piece)
    assert decoder.position == len(stream)


def events_of(stream: bytes | bytearray, length: int | None = None) -> list[Event]:
    decoder = StreamDecoder(length)
    return [event for event in drive(decoder, stream) if not isinstance(event, Skip)]


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize("blocks", [[], [0], [7], [1, 2, 5], [5, 1, 2]])
def test_blocks_come_in_the_order_of_the_stream(
    blocks: list[int], packing: Packing, known: bool
) -> None:
    layout = Layout.of_disk(SIZE, blocks, UUID, PARENT, packing=packing)
    stream = stream_of(layout)
    events = events_of(stream, len(stream) if known else None)
    assert events == [
        Preamble(layout.footer, layout.header, layout.bat, tuple(blocks)),
        *(Block(block) for block in blocks),
        End(layout.footer),
    ]


def test_a_block_is_wanted_in_one_piece() -> None:
    stream = memoryview(stream_of(Layout.of_disk(SIZE, [3], UUID, packing=Packing.PACKED)))
    decoder = StreamDecoder()
    wants = []
    while decoder.wanted:
        wants.append(decoder.wanted)
        decoder.take(stream[decoder.position : decoder.position + decoder.wanted])
    assert wants == [512, 1024, 512, BLOCK_RECORD, 512]


def test_a_stream_of_xapi_with_its_free_sector_and_its_path() -> None:
    footer = replace(
        Footer.new(SIZE, UUID, DiskType.DIFFERENCING), creator_application=b"caml", timestamp=0
    )
    header = Header(2048, 8, parent_uuid=UUID, parent_name="/run/sr-mount/a/b.vhd")
    stream = stream_of(Layout(footer, header, [2, 4], Packing.PACKED))
    first, *_, last = events_of(stream)
    assert isinstance(first, Preamble)
    assert first.header.parent_name == "/run/sr-mount/a/b.vhd"
    assert last == End(footer)


def test_a_gap_before_the_trailer_needs_a_known_length() -> None:
    layout = Layout.of_disk(SIZE, [3], UUID)
    stream = stream_of(layout)
    stream[-512:-512] = bytes(3 * BLOCK)
    assert events_of(stream, len(stream))[-1] == End(layout.footer)
    with pytest.raises(VhdInvalid, match="footer"):
        events_of(stream)


def broken(offset: int, replacement: bytes) -> bytearray:
    stream = stream_of(Layout.of_disk(SIZE, [3, 4], UUID, packing=Packing.PACKED))
    stream[offset : offset + len(replacement)] = replacement
    return stream


@pytest.mark.parametrize(
    ("stream", "what"),
    [
        (broken(0, b"HTTP/1.1 500"), "cookie"),
        (broken(512, b"x"), "cookie"),
        (broken(1536, bytes(4)), "overlaps the tables"),
        (broken(1536 + 12, b"\0\0\0\7"), "overlaps another block"),
        (broken(-1, b"x"), "footer at the end"),
        (broken(-512, bytes(512)), "footer at the end"),
    ],
)
def test_unsound_streams_are_refused(stream: bytearray, what: str) -> None:
    with pytest.raises(VhdInvalid, match=what):
        events_of(stream)


def test_a_stream_shorter_than_its_tables_say_is_refused_at_the_tables() -> None:
    stream = stream_of(Layout.of_disk(SIZE, [3, 4], UUID))
    with pytest.raises(VhdInvalid, match="cut off"):
        events_of(stream, len(stream) - 512)


def test_a_block_beyond_the_disk_is_refused() -> None:
    layout = Layout(Footer.new(BLOCK, UUID, DiskType.DYNAMIC), Header.new(4), [0, 1])
    with pytest.raises(VhdInvalid, match="block 1 lies beyond the end of the disk"):
        events_of(stream_of(layout))


def test_too_short_a_table_is_refused() -> None:
    stream = stream_of(Layout.of_disk(SIZE, [], UUID))
    stream[512:1536] = Header.new(7).pack()
    with pytest.raises(VhdInvalid, match=r"header\.entries"):
        events_of(stream)


def test_fixed_disks_are_no_streams_of_blocks() -> None:
    raw = Footer.new(SIZE, UUID, DiskType.FIXED).pack()
    with pytest.raises(VhdUnsupported, match="fixed"):
        StreamDecoder().take(raw)


@pytest.mark.parametrize("parent", [None, PARENT])
def test_partial_blocks_are_refused_unless_asked_for(parent: tuple[str, str] | None) -> None:
    layout = Layout.of_disk(SIZE, [3, 4], UUID, parent)
    stream = stream_of(layout)
    stream[layout.offset_of(4) + 511] = 0xFE
    with pytest.raises(VhdUnsupported, match="block 4 holds only some of its sectors"):
        events_of(stream)
    found = [e for e in drive(StreamDecoder(partial_blocks=True), stream) if isinstance(e, Block)]
    assert found == [Block(3, whole=True), Block(4, whole=False)]


def test_hostile_gaps_are_wanted_in_bounded_pieces() -> None:
    stream = broken(1536 + 16, (0xFFFFFFF0).to_bytes(4, "big"))
    decoder = StreamDecoder()
    for event in drive(decoder, stream):
        if isinstance(event, Block):
            break
    assert decoder.wanted == BLOCK_RECORD
    assert decoder.take(bytes(BLOCK_RECORD)) == Skip()
    assert decoder.wanted == BLOCK_RECORD


def test_only_what_is_wanted_may_be_given() -> None:
    with pytest.raises(AssertionError):
        StreamDecoder().take(bytes(511))
