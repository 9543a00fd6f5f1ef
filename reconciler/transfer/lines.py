"""One task fills buffers, and any number of lines each get all that is in them, in order.

    free ─▶ being filled ─▶ put ─┬─▶ line a: waiting ─▶ in hand ─▶ let go ─┐
      ▲                          └─▶ line b: waiting ─▶ in hand ─▶ let go ─┤ the last one frees it
      └────────────────────────────────────────────────────────────────────┘

A fixed number of buffers goes round, each with a count of the lines that still hold it, so memory
is bounded whatever the number of lines, and the slowest line sets the pace. A line can be dropped
at any moment, even while somebody reads a buffer for it and will not stop: that buffer is given
up (a fresh one takes its place), never filled again under the reader's eyes.

Knows buffers and who holds them; never what is in them. One event loop only.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from reconciler.remotes.pacing import Pacing
from reconciler.transfer.sink import SlowSink, StalledSink

T = TypeVar("T")


class Buffer:
    """A buffer that goes round. content: its bytes, for whoever fills it."""

    __slots__ = ("_given_up", "_holders", "content")

    def __init__(self, count: int) -> None:
        self.content = bytearray(count)
        self._holders: set[object] = set()
        self._given_up = False


class Lines(Generic[T]):
    """T: what is handed over, beside the buffer that it is about.

    names: of the lines, at least one. buffers: how many go round, of `buffer_bytes` each.
    detach_s: a line that alone kept the filling side waiting for more than so many seconds in all
    is dropped with SlowSink, unless it is the only one left; None: never. stall_s: lines that took
    nothing for so long, while all others wait for them, are dropped with StalledSink, unless they
    were held back on purpose (`Line.pacing`); None: never.
    """

    def __init__(
        self,
        names: Iterable[str],
        buffers: int,
        buffer_bytes: int,
        detach_s: float | None = None,
        stall_s: float | None = None,
    ) -> None:
        self._lines = {name: Line[T](self, name) for name in names}
        assert self._lines, "somebody must want it"
        self._buffer_bytes = buffer_bytes
        self._free = deque(Buffer(buffer_bytes) for _ in range(buffers))
        self._in_use: deque[Buffer] = deque()
        self._detach_s = detach_s
        self._stall_s = stall_s
        self._released = asyncio.Event()
        self._deserted = asyncio.Event()
        self._closed = False

    def line(self, name: str) -> "Line[T]":
        return self._lines[name]

    @property
    def living(self) -> tuple[str, ...]:
        """The names of the lines that were not dropped."""
        return tuple(name for name, line in self._lines.items() if line.error is None)

    # ── the filling side ─────────────────────────────────────────────────────────────────────

    async def free(self) -> Buffer:
        """Wait for a free buffer. It belongs to the filling side until it is put or given back."""
        while not self._free:
            await self._wait_for_the_slowest()
        return self._free.popleft()

    def give_back(self, buffer: Buffer) -> None:
        """Take a buffer back in which nothing is for anybody."""
        self._free.append(buffer)

    def put(self, item: T, buffer: Buffer | None = None) -> None:
        """Hand over to every line. The filling side must not touch the buffer again."""
        assert not self._closed, "nothing is handed over after the end"
        living = [line for line in self._lines.values() if line.error is None]
        if buffer is not None:
            buffer._holders.update(living)
            if living:
                self._in_use.append(buffer)
            else:
                self._free.append(buffer)
        for line in living:
            line._take(item, buffer)

    def close(self) -> None:
        """Say that nothing more will come."""
        self._closed = True
        for line in self._lines.values():
            line._changed.set()

    async def deserted(self) -> None:
        """Wait until no line is left that anything could be put for."""
        await self._deserted.wait()

    # ── from anywhere ────────────────────────────────────────────────────────────────────────

    def drop(self, name: str, error: Exception) -> None:
        """Leave a line behind, for good; its `get` raises the error. No matter if it is over."""
        line = self._lines[name]
        if line.error is not None or line.over:
            return
        line._leave(error)
        if not self.living:
            self._deserted.set()

    def fail(self, error: Exception) -> None:
        """Drop every line: nothing more can come."""
        for name in self._lines:
            self.drop(name, error)

    # ── within ───────────────────────────────────────────────────────────────────────────────

    async def _wait_for_the_slowest(self) -> None:
        """Wait for any buffer to be let go, by one holder; note whom the wait was for."""
        slowest = self._held_up_by()
        detach_s = None
        if slowest is not None and self._detach_s is not None:
            detach_s = max(self._detach_s - slowest.held_up_s, 0)
        now = asyncio.get_running_loop().time
        since = now()
        self._released.clear()
        try:
            async with asyncio.timeout(_sooner(detach_s, self._stall_s)):
                await self._released.wait()
        except TimeoutError:
            released = self._released.is_set()  # at the last moment
            if self._stall_s is not None and now() - since >= self._stall_s and not released:
                self._drop_stalled(since, self._stall_s)
        if slowest is None:
            return
        slowest.held_up_s += now() - since
        if self._detach_s is not None and slowest.held_up_s >= self._detach_s:
            error = SlowSink(slowest.name, slowest.held_up_s, self._detach_s)
            self.drop(slowest.name, error)

    def _drop_stalled(self, since_s: float, stall_s: float) -> None:
        """Drop those who still hold the oldest buffer: all others have let go of it long ago."""
        stuck = [
            line.name
            for line in self._lines.values()
            if line in self._in_use[0]._holders and not line.pacing.was_held_back_since(since_s)
        ]
        if len(stuck) < len(self.living):
            for name in stuck:
                self.drop(name, StalledSink(name, stall_s))

    def _held_up_by(self) -> "Line[T] | None":
        """Find the line that alone keeps a buffer from being free, if there are others.

        Lines let go in the order in which buffers were put, so the oldest has the fewest holders.
        """
        if len(self.living) < 2 or not self._in_use:
            return None
        holders = self._in_use[0]._holders
        if len(holders) > 1:
            return None
        return next(line for line in self._lines.values() if line in holders)

    def _let_go(self, line: "Line[T]", buffer: Buffer) -> None:
        """One line less holds a buffer; the last one makes room."""
        buffer._holders.discard(line)
        if not buffer._holders:
            self._in_use.remove(buffer)
            self._free.append(Buffer(self._buffer_bytes) if buffer._given_up else buffer)
        self._released.set()


def _sooner(first_s: float | None, second_s: float | None) -> float | None:
    return min((span_s for span_s in (first_s, second_s) if span_s is not None), default=None)


class Line(Generic[T]):
    """What one sink gets of it. One task at a time asks.

    held_up_s: seconds for which the filling side waited for this line alone. pacing: felt by
    whoever empties it.
    """

    def __init__(self, lines: Lines[T], name: str) -> None:
        self.name = name
        self.held_up_s = 0.0
        self.pacing = Pacing()
        self._lines = lines
        self._waiting: deque[tuple[T, Buffer | None]] = deque()
        self._in_hand: Buffer | None = None
        self._peak = 0
        self._error: Exception | None = None
        self._over = False
        self._changed = asyncio.Event()
        self._dropped = asyncio.Event()

    @property
    def error(self) -> Exception | None:
        """Why the line was dropped; None if it was not."""
        return self._error

    @property
    def over(self) -> bool:
        """Whether its sink has all of it, for good."""
        return self._over

    @property
    def peak(self) -> int:
        """The most buffers that were ever waiting: 0 if the sink was never behind."""
        return self._peak

    async def get(self) -> T | None:
        """Let go of what came before, and wait for the next; None at the end.

        Raises the error that the line was dropped with.
        """
        self.put_down()
        while True:
            if self._error is not None:
                raise self._error
            if self._waiting:
                item, self._in_hand = self._waiting.popleft()
                return item
            if self._lines._closed:
                return None
            self._changed.clear()
            await self._changed.wait()

    def put_down(self) -> None:
        """Let go of what came last: nobody reads it any more."""
        buffer, self._in_hand = self._in_hand, None
        if buffer is not None:
            self._lines._let_go(self, buffer)

    def finish(self) -> None:
        """Say that the sink has all of it: from now on the line cannot be dropped."""
        self._over = True

    async def dropped(self) -> None:
        """Wait until the line is dropped."""
        await self._dropped.wait()

    def _take(self, item: T, buffer: Buffer | None) -> None:
        self._waiting.append((item, buffer))
        if buffer is not None:
            self._peak = max(self._peak, sum(held is not None for _, held in self._waiting))
        self._changed.set()

    def _leave(self, error: Exception) -> None:
        self._error = error
        if self._in_hand is not None:
            # Whoever reads it may be beyond reach: a system call on a mount that hangs.
            self._in_hand._given_up = True
        self.put_down()
        while self._waiting:
            _, buffer = self._waiting.popleft()
            if buffer is not None:
                self._lines._let_go(self, buffer)
        self._changed.set()
        self._dropped.set()
