"""The threads that disk streams move on: blocking socket calls, away from the event loop.

A thread in a system call cannot be interrupted, but its socket can be shut down under it. So each
call brings a `cut` along, which makes it return at once; a caller that is cancelled cuts, waits for
the thread to be done with its buffers, and only then lets go.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakSet

from reconciler.xapi.errors import Unreachable

T = TypeVar("T")

_SPARE = 4
"""Threads beyond the streams that are to move at once: for heads, ends and cleaning up."""


class Threads:
    """count: streams at once. More may be open; their reads wait for a thread."""

    def __init__(self, count: int) -> None:
        self._executor = ThreadPoolExecutor(count + _SPARE, "xapi-stream")
        self._cuts: WeakSet[Cuttable] = WeakSet()
        self._closed = False

    async def run(self, subject: "Cuttable", call: Callable[[], T]) -> T:
        """Run `call` on a thread. If cancelled: cut, wait until the thread is done, then leave."""
        if self._closed:
            raise Unreachable("this connection was closed")
        self._cuts.add(subject)
        queued = self._executor.submit(call)
        running = asyncio.wrap_future(queued)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            subject.cut()
            if not queued.cancel():
                await _settled(running)
            raise

    def close(self) -> None:
        """Cut whatever still moves and take no more calls."""
        self._closed = True
        for subject in list(self._cuts):
            subject.cut()
        self._executor.shutdown(wait=False)


class Cuttable:
    """Something whose blocking calls end at once when it is cut."""

    def cut(self) -> None:
        """From any thread, any number of times. Never blocks, never raises."""
        raise NotImplementedError


async def _settled(running: "asyncio.Future[T]") -> None:
    """Wait for a call to end, whatever it ends with and however often we are cancelled."""
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            continue
    if not running.cancelled():
        running.exception()  # fetched, so that nobody is told it was lost
