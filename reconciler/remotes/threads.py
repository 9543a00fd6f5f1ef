"""A remote's own threads: blocking calls leave the event loop here, and come back as RemoteError.

A server that hangs blocks the thread that called it, and nothing can be done about that from
outside; so each remote has threads of its own and a hung one holds up nothing but itself.

Cancelling waits for the system call in flight: when a caller gives up (and releases its lock),
nothing of what it began can still happen on the remote.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from reconciler.remotes.errors import from_os_error

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """count: threads at most; None calls in place (for file systems that are only a model)."""

    def __init__(self, remote: str, count: int | None) -> None:
        self._remote = remote
        self._executor = None if count is None else ThreadPoolExecutor(count, f"remote-{remote}")

    async def run(self, key: str, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call on a thread. key: named in errors. Raises RemoteError for any OSError."""
        return await self._run(key, lambda: call(*args, **kwargs), Flag())

    async def run_stoppable(self, key: str, call: Callable[["Flag"], T]) -> T:
        """The same for a call that takes long: its flag is set once nobody wants it any more."""
        flag = Flag()
        return await self._run(key, lambda: call(flag), flag)

    async def _run(self, key: str, call: Callable[[], T], flag: "Flag") -> T:
        try:
            if self._executor is None:
                return call()
            return await _on_thread(self._executor, call, flag)
        except OSError as error:
            raise from_os_error(self._remote, key, error) from error

    async def close(self) -> None:
        """Take no more calls. Threads end by themselves; a hung one is not waited for."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)


async def _on_thread(executor: ThreadPoolExecutor, call: Callable[[], T], flag: "Flag") -> T:
    queued = executor.submit(call)
    running = asyncio.wrap_future(queued)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        flag.set()
        if not queued.cancel():
            await _settled(running)
        raise


async def _settled(running: "asyncio.Future[T]") -> None:
    """Wait for a call to end, whatever it ends with and however often we are cancelled."""
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            continue
    if not running.cancelled():
        running.exception()  # fetched, so that nobody is told it was lost


class Flag:
    """Set by a caller that was cancelled; long calls look at it between two pieces of work."""

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set
