"""A bandwidth that any number of users share.

They take turns in small slices, so that a long transfer never shuts out a short one. One who waits
can be cancelled, and has then taken nothing; whoever watches it is told that it waits (pacing.py).
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from reconciler.remotes.pacing import held_back

_SLICE_S = 0.05
_SLICE_BYTES_MIN = 4096


class Stopwatch(Protocol):
    """Time that passes evenly, whatever is done to the machine's clock."""

    def now_s(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class LoopStopwatch:
    """The event loop's own time."""

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Rate:
    """bytes_per_s: on the average, from the first byte on; bursts are a slice (50 ms).

    A function is asked again for each slice, so that those who wait already get what it says now;
    None: no limit, for as long as it says so.
    """

    def __init__(
        self, bytes_per_s: int | Callable[[], int | None], stopwatch: Stopwatch | None = None
    ) -> None:
        self._limit = bytes_per_s if callable(bytes_per_s) else lambda: bytes_per_s
        self._stopwatch = stopwatch or LoopStopwatch()
        self._turns = asyncio.Lock()  # first come, first served
        self._free_at_s = 0.0

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at the moment."""
        return self._limit() is not None

    async def take(self, count: int) -> None:
        """Return once `count` bytes may pass."""
        while count > 0 and (bytes_per_s := self._limit()) is not None:
            assert bytes_per_s > 0
            taken = min(count, max(int(bytes_per_s * _SLICE_S), _SLICE_BYTES_MIN))
            with held_back():
                await self._turn(taken, bytes_per_s)
            count -= taken

    async def _turn(self, taken: int, bytes_per_s: int) -> None:
        """Take one slice, once it is its turn and the bytes before it are through."""
        async with self._turns:
            while (wait_s := self._free_at_s - self._stopwatch.now_s()) > 0:
                await self._stopwatch.sleep(wait_s)
            now_s = self._stopwatch.now_s()
            # Waking late is made up for, up to a slice; idling is not saved up.
            self._free_at_s = max(self._free_at_s, now_s - _SLICE_S) + taken / bytes_per_s
