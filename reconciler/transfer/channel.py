"""A bounded hand-over between one task that fills buffers and one that empties them.

All buffers there will ever be exist from the start and go round: free, being filled, filled, being
emptied, free. So memory is bounded by construction, no fresh pages are touched per block (that
would cost more than the copying), and the slower side sets the pace. Nothing is ever dropped.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Generic, TypeVar

B = TypeVar("B")
T = TypeVar("T")


class Channel(Generic[B, T]):
    """B: the buffers that go round. T: what is handed over (a filled buffer and what is in it).

    One task fills, one empties; `fill_and_empty` runs the two.
    """

    def __init__(self, buffers: Sequence[B]) -> None:
        self._free = deque(buffers)
        self._filled: deque[T] = deque()
        self._closed = False
        self._changed = asyncio.Event()
        self._peak = 0

    @property
    def peak(self) -> int:
        """The most that was ever filled and waiting: 0 if the emptying side was never behind."""
        return self._peak

    async def free(self) -> B:
        """Wait for a free buffer. Called by the filling side."""
        while not self._free:
            await self._wait()
        return self._free.popleft()

    def put(self, filled: T) -> None:
        """Hand over. Called by the filling side, which must not touch the buffer again."""
        assert not self._closed, "nothing is handed over after the end"
        self._filled.append(filled)
        self._peak = max(self._peak, len(self._filled))
        self._changed.set()

    def close(self) -> None:
        """Say that nothing more will come."""
        self._closed = True
        self._changed.set()

    async def get(self) -> T | None:
        """Wait for what was handed over, in order; None at the end. Called by the emptying side."""
        while not self._filled:
            if self._closed:
                return None
            await self._wait()
        return self._filled.popleft()

    def give_back(self, buffer: B) -> None:
        """Make a buffer free again. Called by the side that holds it."""
        self._free.append(buffer)
        self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


async def fill_and_empty(fill: Coroutine[None, None, None], empty: Coroutine[None, None, T]) -> T:
    """Run both sides of a channel at once; return what the emptying side returns.

    The first that fails cancels the other, and its error comes out as it was raised.
    """
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fill)
            emptied = group.create_task(empty)
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__
    return emptied.result()
