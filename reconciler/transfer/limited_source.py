"""A source that is held to rates: what is read from it counts, before it is read.

Read in small pieces, so that a slow rate is a slow stream, and not one that is silent for seconds:
the sender sees the other end take bytes all the time.
"""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from reconciler.remotes.rate import Rate
from reconciler.transfer.source import ByteSource, OpenSource, Source

_PIECE_BYTES = 256 * 1024

S = TypeVar("S", bound=Source)


class _LimitedSource(Generic[S]):
    """inner: what is limited. rates: all of them hold, each shared with its other users."""

    def __init__(self, inner: S, rates: Sequence[Rate]) -> None:
        self._inner = inner
        self._rates = rates

    async def finish(self) -> None:
        await self._inner.finish()

    async def abort(self) -> None:
        await self._inner.abort()

    def _pieces(self, view: memoryview) -> Iterator[memoryview]:
        """Cut a view; what nothing limits at the moment stays whole."""
        while view:
            limited = any(rate.is_limited for rate in self._rates)
            count = _PIECE_BYTES if limited else len(view)
            yield view[:count]
            view = view[count:]

    async def _take(self, count: int) -> None:
        for rate in self._rates:
            await rate.take(count)


class LimitedByteSource(_LimitedSource[ByteSource]):
    """A ByteSource that is held to rates."""

    async def read_exactly(self, view: memoryview) -> None:
        for piece in self._pieces(view):
            await self._take(len(piece))
            await self._inner.read_exactly(piece)


class LimitedOpenSource(_LimitedSource[OpenSource]):
    """An OpenSource that is held to rates."""

    async def read_up_to(self, view: memoryview) -> int:
        total = 0
        for piece in self._pieces(view):
            await self._take(len(piece))
            count = await self._inner.read_up_to(piece)
            total += count
            if count < len(piece):
                break
        return total
