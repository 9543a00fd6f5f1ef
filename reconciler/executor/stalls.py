"""Ends an action whose bytes stopped moving: a stream that is open and silent, a write that hangs.

Only what has begun to move and is not through is watched: before the first byte and after the last
a pool attaches and detaches disks, which takes its time and has deadlines of its own. Nor is it a
stall if bytes wait for their share of a bandwidth, its own or that of a place it waits for.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from reconciler.executor.refusal import Refused
from reconciler.executor.transfers import Gauge
from reconciler.plan.reasons import Reason
from reconciler.remotes.pacing import Pacing

_LOOKS = 4  # within the time


@contextlib.asynccontextmanager
async def stall_watch(gauge: Gauge, stall_s: float | None, pacing: Pacing) -> AsyncIterator[None]:
    """Cancel the body once nothing moved for `stall_s` seconds; then Refused(Stalled) comes out.

    None watches nothing. pacing: of the body, and of all that it waits for. By the machine's time:
    bytes move in no other.
    """
    if stall_s is None:
        yield
        return
    body = asyncio.current_task()
    assert body is not None
    watch = _Watch(gauge, stall_s, pacing, body)
    failure: BaseException | None = None
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch.run())
        try:
            yield
        except BaseException as error:  # carried around the group, which would wrap it
            failure = error
        finally:
            watching.cancel()
    if watch.has_struck and isinstance(failure, asyncio.CancelledError) and body.uncancel() == 0:
        raise Refused(Reason.STALLED, f"no byte moved for {stall_s:g} s")
    if failure is not None:
        raise failure


class _Watch:
    def __init__(
        self, gauge: Gauge, stall_s: float, pacing: Pacing, body: "asyncio.Task[object]"
    ) -> None:
        self.has_struck = False
        self._gauge = gauge
        self._stall_s = stall_s
        self._pacing = pacing
        self._body = body

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        seen, since = self._gauge.done_bytes, loop.time()
        while True:
            await asyncio.sleep(self._stall_s / _LOOKS)
            moves = self._gauge.done_bytes != seen or not self._gauge.is_moving
            if moves or self._pacing.was_held_back_since(since):
                seen, since = self._gauge.done_bytes, loop.time()
            elif loop.time() - since >= self._stall_s:
                self.has_struck = True
                self._body.cancel()
                return
