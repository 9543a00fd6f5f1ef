"""The clock as a port: wall time and waiting, so that a month can pass in a test.

The only module that asks the machine what time it is. Wall time decides what is *due*; it never
decides what is *safe* (no deletion or lock depends on two clocks agreeing). Within one process no
two readings are equal and none goes back, so that "seen after it was done" can be told by them.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, aware, UTC; later than any this clock gave before."""

    async def sleep_until(self, instant: datetime) -> None:
        """Return once `now() >= instant`."""


_TICK = timedelta(microseconds=1)


class SystemClock:
    """The machine's clock. Waits in slices, so that a stepped clock is noticed within one.

    When the machine's clock is set back, this one stands (but for ticks) until it is caught up.
    """

    slice_s = 30.0

    def __init__(self) -> None:
        self._last = datetime.min.replace(tzinfo=UTC)

    def now(self) -> datetime:
        self._last = max(datetime.now(UTC), self._last + _TICK)
        return self._last

    async def sleep_until(self, instant: datetime) -> None:
        while (remaining_s := (instant - self.now()).total_seconds()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(remaining_s, self.slice_s))


class SteppedClock:
    """A clock that stands (but for ticks) until it is stepped: demos and tests move it by days."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._stepped = asyncio.Event()

    def now(self) -> datetime:
        self._now += _TICK
        return self._now

    def step_to(self, instant: datetime) -> None:
        """Move forward to `instant`, if that is ahead; sleepers up to it wake."""
        self._now = max(self._now, instant)
        self._stepped.set()
        self._stepped = asyncio.Event()

    def step(self, span: timedelta) -> None:
        self.step_to(self._now + span)

    async def sleep_until(self, instant: datetime) -> None:
        while self._now < instant:
            await self._stepped.wait()


async def wait_until(bell: asyncio.Event, clock: Clock, instant: datetime | None) -> None:
    """Return once the bell rings, or the clock reaches the instant (None: never)."""
    if instant is None:
        await bell.wait()
        return

    async def alarm() -> None:
        await clock.sleep_until(instant)
        bell.set()

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(alarm())
        await bell.wait()
        waiting.cancel()
