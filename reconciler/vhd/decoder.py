"""Decodes a VHD that comes as a stream, by asking for what it wants next.

The caller reads exactly `wanted` bytes, wherever it likes, and hands them to `take`, until
`wanted` is 0. For a block that is its bitmap and its data in one piece, so they can be received
into the very buffer they are written from; nothing here copies data.

    FOOTER ─512─▶ HEADER ─1024─▶ (gap) ─▶ TABLE ─▶ ┌─▶ (gap) ─▶ BLOCK ─┐ ─▶ (gap) ─▶ TRAILER ─▶ done
                                                   └───────────────────┘

Takes what XAPI exports (table at 2048, blocks without gaps), what XO writes (table at 1536), our
own files (gaps before each bitmap), and any order of blocks in the file. Knows the format; never
where bytes come from, and never trusts them: sizes are bounded before anything is allocated, and
a stream of wrong bytes ends in a VhdError after at most its tables.
"""

from dataclasses import dataclass
from enum import Enum, auto

from reconciler.vhd.bat import Bat
from reconciler.vhd.bitmap import is_full
from reconciler.vhd.errors import VhdInvalid, VhdUnsupported
from reconciler.vhd.footer import Footer
from reconciler.vhd.header import Header
from reconciler.vhd.layout import (
    BITMAP,
    BLOCK_RECORD,
    FOOTER_BYTES,
    HEADER_BYTES,
    HEADER_OFFSET,
    DiskType,
    bat_bytes,
    blocks_of,
)

Piece = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Preamble:
    """All tables have been read. blocks: those that will come, in the order they will come."""

    footer: Footer
    header: Header
    bat: Bat
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """The piece just taken is the record of this block: 512 bytes of bitmap, 2 MiB of data.

    whole: all bits of the bitmap are set. Always so, unless the decoder was asked for partial
    blocks; then sectors with a clear bit hold nothing (bitmap.py).
    """

    index: int
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Skip:
    """The piece just taken carries nothing: structure still incomplete, or a gap."""


@dataclass(frozen=True, slots=True)
class End:
    """The stream is whole: its last footer is its first one."""

    footer: Footer


Event = Preamble | Block | Skip | End

_SKIP = Skip()


class _Want(Enum):
    FOOTER = auto()
    HEADER = auto()
    GAP = auto()
    TABLE = auto()
    BLOCK = auto()
    TRAILER = auto()
    NOTHING = auto()


class StreamDecoder:
    """One VHD stream. See the module for how it is driven.

    length: bytes of the whole stream, if known: then its last 512 bytes are the trailer, whatever
    gap lies before. If not known, the trailer follows the last block.
    partial_blocks: accept blocks whose bitmaps are not full (no XAPI, XO or we make them).
    """

    def __init__(self, length: int | None = None, *, partial_blocks: bool = False) -> None:
        self._length = length
        self._partial_blocks = partial_blocks
        self._position = 0
        self._want = _Want.FOOTER
        self._wanted = FOOTER_BYTES
        self._after_gap = _Want.TABLE
        self._gap_end = 0
        self._raw_footer = b""
        self._footer: Footer | None = None
        self._header: Header | None = None
        self._bat = Bat.empty(0)
        self._blocks: tuple[int, ...] = ()
        self._next = 0

    @property
    def wanted(self) -> int:
        """How many bytes `take` must be given next, at most 4 MiB; 0 when the stream is whole."""
        return self._wanted

    @property
    def position(self) -> int:
        """Bytes taken so far."""
        return self._position

    def take(self, piece: Piece) -> Event:
        """Take exactly the wanted bytes and tell what they were.

        The piece is not kept: its buffer may be used again. Raises VhdInvalid, VhdUnsupported.
        """
        assert len(piece) == self._wanted > 0, "the caller reads exactly what is wanted"
        self._position += len(piece)
        match self._want:
            case _Want.BLOCK:
                return self._take_block(piece)
            case _Want.GAP:
                self._skip_to(self._gap_end, self._after_gap)
                return _SKIP
            case _Want.FOOTER:
                return self._take_footer(bytes(piece))
            case _Want.HEADER:
                return self._take_header(bytes(piece))
            case _Want.TABLE:
                return self._take_table(piece)
            case _Want.TRAILER:
                return self._take_trailer(bytes(piece))
            case _Want.NOTHING:
                raise AssertionError("nothing is wanted after the end")

    def _ask(self, want: _Want) -> None:
        match want:
            case _Want.TABLE:
                assert self._header is not None
                self._wanted = bat_bytes(self._header.entries)
            case _Want.BLOCK:
                self._wanted = BLOCK_RECORD
            case _Want.TRAILER:
                self._wanted = FOOTER_BYTES
            case _:
                raise AssertionError(want)
        self._want = want

    def _skip_to(self, offset: int, then: _Want) -> None:
        """Ask for the gap up to an offset, a bounded piece of it at a time, and then for `then`."""
        gap = offset - self._position
        if gap == 0:
            self._ask(then)
            return
        self._want = _Want.GAP
        self._wanted = min(gap, BLOCK_RECORD)
        self._gap_end = offset
        self._after_gap = then

    def _take_footer(self, raw: bytes) -> Event:
        footer = Footer.parse(raw)
        if footer.disk_type is DiskType.FIXED:
            raise VhdUnsupported("a fixed VHD cannot be read as a stream of blocks")
        self._raw_footer = raw
        self._footer = footer
        self._want = _Want.HEADER
        self._wanted = HEADER_BYTES
        assert footer.data_offset == HEADER_OFFSET == self._position, "Footer.parse sees to it"
        return _SKIP

    def _take_header(self, raw: bytes) -> Event:
        assert self._footer is not None
        header = Header.parse(raw, any_parent_name=True)
        if header.entries < blocks_of(self._footer.current_size):
            raise VhdInvalid(
                f"{header.entries} are too few for a disk of {self._footer.current_size} bytes",
                "header.entries",
            )
        self._header = header
        self._skip_to(header.table_offset, _Want.TABLE)
        return _SKIP

    def _take_table(self, piece: Piece) -> Event:
        footer, header = self._footer, self._header
        assert footer is not None and header is not None
        bat = Bat.parse(piece, header.entries)
        bat.check(self._length, header.table_end)
        blocks = tuple(bat.blocks_in_file_order())
        if blocks and max(blocks) >= blocks_of(footer.current_size):
            raise VhdInvalid(f"block {max(blocks)} lies beyond the end of the disk", "bat")
        self._bat, self._blocks = bat, blocks
        self._ask_next()
        return Preamble(footer, header, bat, blocks)

    def _ask_next(self) -> None:
        if self._next < len(self._blocks):
            offset = self._bat.offset_of(self._blocks[self._next])
            assert offset is not None, "only blocks that are in the file are listed"
            self._skip_to(offset, _Want.BLOCK)
        elif self._length is not None:
            self._skip_to(self._length - FOOTER_BYTES, _Want.TRAILER)
        else:
            self._ask(_Want.TRAILER)

    def _take_block(self, piece: Piece) -> Event:
        block = self._blocks[self._next]
        whole = is_full(piece[:BITMAP])
        if not whole and not self._partial_blocks:
            raise VhdUnsupported(
                f"block {block} holds only some of its sectors; only whole blocks are supported"
            )
        self._next += 1
        self._ask_next()
        return Block(block, whole)

    def _take_trailer(self, raw: bytes) -> Event:
        assert self._footer is not None
        if raw != self._raw_footer:
            raise VhdInvalid("the footer at the end is not the one at the start", "footer")
        self._want = _Want.NOTHING
        self._wanted = 0
        return End(self._footer)
