"""What is read counts before it is read, for each of the rates, in small pieces."""

import pytest

from reconciler.remotes.rate import Rate
from reconciler.transfer.limited_source import LimitedByteSource, LimitedOpenSource
from reconciler.transfer.source import StreamTruncated

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * (10 * MIB // 256)


class Counting(Rate):
    def __init__(self, limited=True):
        super().__init__(lambda: 1 if limited else None)
        self.taken = 0

    async def take(self, count):
        self.taken += count


class Source:
    """A stream that says how far it was read, and what had been allowed then."""

    def __init__(self, rates):
        self.rates = rates
        self.position = 0
        self.largest = 0
        self.finished = self.aborted = False

    async def read_exactly(self, view):
        if await self.read_up_to(view) < len(view):
            raise StreamTruncated(len(view), 0)

    async def read_up_to(self, view):
        piece = CONTENT[self.position : self.position + len(view)]
        view[: len(piece)] = piece
        self.position += len(piece)
        self.largest = max(self.largest, len(view))
        assert all(rate.taken >= self.position for rate in self.rates if rate.is_limited)
        return len(piece)

    async def finish(self):
        self.finished = True

    async def abort(self):
        self.aborted = True


async def test_every_byte_counts_once_for_each_rate():
    rates = Counting(), Counting()
    inner = Source(rates)
    source = LimitedByteSource(inner, rates)
    whole = bytearray(len(CONTENT))
    for start in range(0, len(whole), 3 * MIB):
        await source.read_exactly(memoryview(whole)[start : start + 3 * MIB])
    assert whole == CONTENT
    assert [rate.taken for rate in rates] == [len(CONTENT)] * 2
    assert inner.largest < MIB
    await source.finish()
    assert inner.finished
    await source.abort()
    assert inner.aborted
    with pytest.raises(StreamTruncated):
        await source.read_exactly(memoryview(bytearray(1)))


async def test_a_stream_that_ends_within_a_view_ends_there():
    rates = (Counting(),)
    source = LimitedOpenSource(Source(rates), rates)
    view = memoryview(bytearray(7 * MIB + 5))
    assert await source.read_up_to(view) == len(view)
    assert await source.read_up_to(view) == len(CONTENT) - len(view)
    assert view[: len(CONTENT) - len(view)] == CONTENT[len(view) :]
    assert await source.read_up_to(view) == 0


async def test_what_nothing_limits_is_read_in_one_go():
    inner = Source(())
    source = LimitedByteSource(inner, [Counting(limited=False)])
    await source.read_exactly(memoryview(bytearray(2 * MIB)))
    assert inner.largest == 2 * MIB
