"""The clock as a port: wall time and waiting, so that a month can pass in a test.

The only module that asks the machine what time it is. Wall time decides what is *due*; it never
decides what is *safe* (no deletion or lock depends on two clocks agreeing).
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present instant, aware, UTC."""

    async def sleep_until(self, instant: datetime) -> None:
        """Return once `now() >= instant`."""


class SystemClock:
    """The machine's clock. Waits in slices, so that a stepped clock is noticed within one."""

    slice_s = 30.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep_until(self, instant: datetime) -> None:
        while (remaining_s := (instant - self.now()).total_seconds()) > 0:
            await asyncio.sleep(min(remaining_s, self.slice_s))  # noqa: ASYNC110 (time is the event)


class SteppedClock:
    """A clock that stands still until it is stepped: demos and tests move it by days."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._stepped = asyncio.Event()

    def now(self) -> datetime:
        return self._now

    def step_to(self, instant: datetime) -> None:
        """Move forward to `instant`; sleepers up to it wake."""
        assert instant >= self._now, "a stepped clock moves forward only"
        self._now = instant
        self._stepped.set()
        self._stepped = asyncio.Event()

    def step(self, span: timedelta) -> None:
        self.step_to(self._now + span)

    async def sleep_until(self, instant: datetime) -> None:
        while self._now < instant:
            await self._stepped.wait()
