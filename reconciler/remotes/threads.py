"""A remote's own threads: blocking calls leave the event loop here, and come back as RemoteError.

A server that hangs blocks the thread that called it, and nothing can be done about that from
outside; so each remote has threads of its own and a hung one holds up nothing but itself.

Callers are not held up for ever either. A call is *given up* when its caller was cancelled and it
did not end within a grace, or when one of its system calls hangs: the caller goes on, the thread
stays where it is. The system call may yet be carried out by the server, so until the thread is
back

- nothing is done in the same neighbourhood (`neighbourhood_of`): a caller that gave up and let go
  of its lock cannot be overtaken by what it began, not by us;
- the work begins no further system call (pulse.py);
- files it was about stay open: a descriptor's number must not come to mean another file.

While a system call *hangs* (`Patience.hang_after_s`), nothing at all is done on the remote: all
calls fail at once instead of queueing up behind the hung thread. When it is back, so is the remote.
"""

import asyncio
import contextlib
import errno
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from reconciler.remotes.errors import Unavailable, from_os_error
from reconciler.remotes.pulse import Pulse, felt
from reconciler.remotes.workers import Workers

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a remote may take.

    hang_after_s: for one system call. A stalled NFS server blocks a call for as long as it stalls,
    mounted soft or hard: this is longer than the restart of a server. grace_s: for the call in
    flight when its caller is cancelled; cancelling takes effect within ten seconds.
    """

    hang_after_s: float = 120.0
    grace_s: float = 5.0


DEFAULT_PATIENCE = Patience()


class Threads:
    """count: threads at most; None calls in place (for file systems that are only a model)."""

    def __init__(
        self,
        remote: str,
        count: int | None,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        self._remote = remote
        self._workers = None if count is None else Workers(count, f"remote-{remote}")
        self._patience = patience
        self._turn = threading.RLock()
        self._calls: set[_Call[Any]] = set()
        self._put_off: list[Callable[[], None]] = []  # until no call is given up any more

    async def run(self, key: str, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call on a thread. key: named in errors. Raises RemoteError for any OSError."""
        return await self._run(_Call(key, lambda: call(*args, **kwargs)))

    async def run_stoppable(self, key: str, call: Callable[["Flag"], T]) -> T:
        """The same for a call that takes long: its flag is set once nobody wants it any more."""
        flag = Flag()
        return await self._run(_Call(key, lambda: call(flag), flag))

    async def run_opening(self, key: str, call: Callable[[], T], dispose: Callable[[T], None]) -> T:
        """The same for a call whose result has to be closed, should nobody be there to take it."""
        return await self._run(_Call(key, call, dispose=dispose))

    async def run_closing(self, key: str, call: Callable[[], None]) -> None:
        """The same for a call that must happen, if only later: after what was given up there."""
        with self._turn:
            if self._hung() or self._given_up_beside(key):
                self._put_off.append(call)
                return
        await self._run(_Call(key, call, must=True))

    async def _run(self, call: "_Call[T]") -> T:
        try:
            if self._workers is None:
                return call.function()
            if not call.must:
                self._refuse(call.key)
            return await self._on_thread(self._workers, call)
        except OSError as error:
            raise from_os_error(self._remote, call.key, error) from error

    async def close(self) -> None:
        """Take no more calls. Threads end by themselves; a hung one is not waited for."""
        if self._workers is not None:
            self._workers.close()

    async def _on_thread(self, workers: Workers, call: "_Call[T]") -> T:
        future = self._submitted(workers, call)
        running = asyncio.wrap_future(future)
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=self._patience_s(call))
                hung = None if running.done() else self._hung()
                if hung is not None and (self._hangs(call) or call.must or future.cancel()):
                    self._give_up(call, running)
                    raise self._unavailable(call.key, hung)
        except asyncio.CancelledError:
            call.flag.set()
            if call.must or not future.cancel():
                await self._settled(call, running)
            if call.has_something_to_dispose_of(future):
                self._aside(lambda: call.dispose_of(future))
            raise
        if running.cancelled():
            raise self._closed(call.key)
        return running.result()

    def _submitted(self, workers: Workers, call: "_Call[T]") -> "Future[T]":
        with self._turn:
            self._calls.add(call)
        try:
            future = workers.submit(call.carry_out)
        except RuntimeError:
            with self._turn:
                self._calls.discard(call)
            if call.must:
                self._aside(call.function)
            raise self._closed(call.key) from None
        future.add_done_callback(lambda future: self._came_back(call, future))
        return future

    def _patience_s(self, call: "_Call[T]") -> float:
        """How long to wait before looking whether it, or what it waits behind, hangs."""
        with self._turn:
            begun = [call] if call.since_s is not None else self._calls
            since_s = [each.since_s for each in begun if each.since_s is not None]
        now_s = time.monotonic()
        return max(0.01, min(since_s, default=now_s) + self._patience.hang_after_s - now_s)

    async def _settled(self, call: "_Call[T]", running: "asyncio.Future[T]") -> None:
        """Wait for a call to end, whatever it ends with and however often we are cancelled."""
        loop = asyncio.get_running_loop()
        grace_s = 0.0 if self._hung() or self._given_up_beside(call.key) else self._patience.grace_s
        until_s = loop.time() + grace_s
        while not running.done() and (left_s := until_s - loop.time()) > 0:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running}, timeout=left_s)
        if not running.done():
            self._give_up(call, running)
        elif not running.cancelled():
            running.exception()  # fetched, so that nobody is told it was lost

    def _give_up(self, call: "_Call[T]", running: "asyncio.Future[T]") -> None:
        call.pulse.give_up()
        call.given_up = True
        running.cancel()

    def _came_back(self, call: "_Call[T]", future: "Future[T]") -> None:
        """On the thread that comes back, or where a call that was not begun is cancelled."""
        if call.given_up:
            with contextlib.suppress(OSError):
                call.dispose_of(future)
        with self._turn:
            self._calls.discard(call)
            if any(each.given_up for each in self._calls):
                return
            due, self._put_off = self._put_off, []
        for put_off in due:
            self._aside(put_off)

    def _aside(self, call: Callable[[], object]) -> None:
        """Have something done that nobody waits for, nor hears of if it fails."""

        def attempt() -> None:
            with contextlib.suppress(OSError):
                call()

        threading.Thread(target=attempt, name=f"remote-{self._remote}-aside", daemon=True).start()

    def _hangs(self, call: "_Call[Any]") -> bool:
        return call.since_s is not None and call.age_s > self._patience.hang_after_s

    def _hung(self) -> "_Call[Any] | None":
        """The call whose system call has been under way for the longest, if that is too long."""
        with self._turn:
            hung = [each for each in self._calls if self._hangs(each)]
        return max(hung, key=lambda each: each.age_s, default=None)

    def _given_up_beside(self, key: str) -> "_Call[Any] | None":
        with self._turn:
            for each in self._calls:
                if each.given_up and neighbourhood_of(each.key) == neighbourhood_of(key):
                    return each
        return None

    def _refuse(self, key: str) -> None:
        """Raise Unavailable if nothing can or may be done there now."""
        blocking = self._hung() or self._given_up_beside(key)
        if blocking is not None:
            raise self._unavailable(key, blocking)

    def _closed(self, key: str) -> Unavailable:
        return Unavailable(self._remote, key, "the remote was closed", errno.ESHUTDOWN)

    def _unavailable(self, key: str, blocking: "_Call[Any]") -> Unavailable:
        what, path, age_s = blocking.pulse.what, blocking.pulse.path, blocking.age_s
        call = f"{what or 'a call'} on {path or blocking.key or 'the root'}"
        hangs = f"a call has been hanging for {age_s:.0f} s: {call}"
        return Unavailable(self._remote, key, hangs, errno.ETIMEDOUT)


class _Call(Generic[T]):
    """A call on its way through a thread. key: what it is about. must: it is always begun."""

    def __init__(
        self,
        key: str,
        function: Callable[[], T],
        flag: "Flag | None" = None,
        dispose: Callable[[T], None] | None = None,
        *,
        must: bool = False,
    ) -> None:
        self.key = key
        self.function = function
        self.flag = flag or Flag()
        self.pulse = Pulse()
        self.given_up = False
        self.must = must
        self._dispose = dispose

    def carry_out(self) -> T:
        if self.must:
            with contextlib.suppress(OSError):  # whoever waits for it
                self.pulse.begin("close", self.key)
            return self.function()
        self.pulse.begin("", self.key)
        with felt(self.pulse):
            return self.function()

    @property
    def since_s(self) -> float | None:
        return self.pulse.since_s

    @property
    def age_s(self) -> float:
        since_s = self.since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def has_something_to_dispose_of(self, future: "Future[T]") -> bool:
        made = future.done() and not future.cancelled() and future.exception() is None
        return made and self._dispose is not None

    def dispose_of(self, future: "Future[T]") -> None:
        """Close what nobody takes, if it was made. Blocks."""
        if self.has_something_to_dispose_of(future) and self._dispose is not None:
            dispose, self._dispose = self._dispose, None
            dispose(future.result())


def neighbourhood_of(key: str) -> str:
    """What is worked on together lies together: a directory of the second level, whose lock, and
    whatever else has its name and an ending, lies beside it."""
    first, _, rest = key.partition("/")
    second = rest.partition("/")[0]
    return f"{first}/{second[:1]}{second[1:].partition('.')[0]}"


class Flag:
    """Set by a caller that was cancelled; long calls look at it between two pieces of work."""

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set
