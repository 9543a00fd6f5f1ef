"""One destination's delta, out of a wider reading of the same snapshot.

Destinations whose bases differ need different blocks of one snapshot. What each of them needs is
told by the table at the head of its own delta's stream; the data is the same in all. So the widest
is read whole, once, and every other sink is given those of its blocks that its own table names:

    widest stream   [0][1][2][3]…[9]          a full, or the delta to the oldest base
    own table        0     2       9  12      block 12 is not in the widest: then it is all zeros,
    own sink        [0]   [2]     [9][12]     which a full leaves out, and a delta must hold

Knows tables and sinks; never why bases differ.
"""

from collections.abc import Sequence

from reconciler.transfer.sink import DiskHead, DiskSink, Received
from reconciler.transfer.source import ByteSource
from reconciler.vhd.decoder import Preamble, StreamDecoder
from reconciler.vhd.layout import BITMAP, BLOCK, DiskType

_ZERO_RECORD = memoryview(b"\xff" * BITMAP + bytes(BLOCK)).toreadonly()


class NarrowingSink:
    """A DiskSink in front of another one: passes everything on, or, once narrowed, its part."""

    def __init__(self, sink: DiskSink) -> None:
        self._sink = sink
        self._wanted: set[int] | None = None
        self._left_out: tuple[int, ...] = ()

    def narrow(self, blocks: Sequence[int]) -> None:
        """Pass on these blocks alone, as a delta. Called before anything comes."""
        self._wanted = set(blocks)

    async def begin(self, head: DiskHead) -> None:
        if self._wanted is None:
            await self._sink.begin(head)
            return
        come = [index for index in head.blocks if index in self._wanted]
        self._left_out = tuple(sorted(self._wanted.difference(come)))
        await self._sink.begin(DiskHead(head.virtual_bytes, True, (*come, *self._left_out)))

    async def block(self, index: int, record: memoryview, is_zero: bool) -> None:
        if self._wanted is None or index in self._wanted:
            await self._sink.block(index, record, is_zero)

    async def end(self) -> Received:
        for index in self._left_out:
            await self._sink.block(index, _ZERO_RECORD, True)
        return await self._sink.end()

    async def abort(self) -> None:
        await self._sink.abort()


async def read_table(source: ByteSource) -> Sequence[int] | None:
    """Read which blocks a delta's stream would bring, and let its sender go.

    None: the sender would send a full. Raises VhdError, StreamError and what the source raises.
    """
    decoder = StreamDecoder(None, partial_blocks=True)
    try:
        while wanted := decoder.wanted:
            piece = bytearray(wanted)
            await source.read_exactly(memoryview(piece))
            match decoder.take(piece):
                case Preamble() as preamble:
                    is_delta = preamble.footer.disk_type is DiskType.DIFFERENCING
                    return preamble.blocks if is_delta else None
                case _:
                    continue
    finally:
        await source.abort()
    return None
