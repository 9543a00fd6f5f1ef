"""Which system call a thread is in and since when: what a watchdog has to go by.

A long piece of work (a listing, a merge's moves) is many system calls, each of which shows that
the server is alive; one that does not come back shows that it may not be. So whoever makes system
calls on a remote says so here, right before each; threads that nobody watches say it to nobody.

A piece of work that was given up begins no further system call: what hung when everybody left may
still happen on the server, what would have come after it does not.
"""

import contextlib
import errno
import threading
import time
from collections.abc import Iterator

_thread = threading.local()


class Pulse:
    """Of one piece of work. Written by the thread that does it, read by whoever watches."""

    __slots__ = ("_given_up", "_turn", "path", "since_s", "what")

    def __init__(self) -> None:
        self.what = ""
        self.path = ""
        self.since_s: float | None = None  # monotonic; None: not begun
        self._given_up = False
        self._turn = threading.Lock()

    def begin(self, what: str, path: str) -> None:
        """Say that a system call begins. Raises OSError (ECANCELED) if nobody waits any more."""
        if self._given_up:
            raise OSError(errno.ECANCELED, "given up before it was done")
        self.what, self.path, self.since_s = what, path, time.monotonic()

    def give_up(self) -> None:
        with self._turn:
            self._given_up = True

    @contextlib.contextmanager
    def still_wanted(self) -> Iterator[None]:
        """Hold off giving up for a moment, to hand something over that is only then safe to touch.

        Raises OSError (ECANCELED) if it is too late."""
        with self._turn:
            if self._given_up:
                raise OSError(errno.ECANCELED, "given up before it was done")
            yield


@contextlib.contextmanager
def felt(pulse: Pulse) -> Iterator[None]:
    """Let `begin` on this thread speak of this piece of work."""
    _thread.pulse = pulse
    try:
        yield
    finally:
        _thread.pulse = None


def current() -> Pulse | None:
    """The pulse of the work that this thread does, if anybody feels it."""
    pulse = getattr(_thread, "pulse", None)
    return pulse if isinstance(pulse, Pulse) else None


def begin(what: str, path: str) -> None:
    """Say that a system call begins on this thread. Raises OSError if nobody waits for it."""
    pulse = current()
    if pulse is not None:
        pulse.begin(what, path)
