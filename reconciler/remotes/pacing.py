"""Who is held back on purpose: what a watchdog has to know besides the bytes.

A transfer that waits for its share of a bandwidth moves nothing, perhaps for minutes, and is not
stuck: its turn comes, because nobody who has a turn does anything but wait for its end. So whoever
waits for a rate says so here, and whoever watches bytes asks here before it calls silence a stall.

Knows who waits and since when; never for how much, nor what a stall is.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from contextvars import ContextVar


class Pacing:
    """Of one piece of work, and of all that is done for it in tasks that it starts.

    Works may lie in each other: what holds back the inner one holds back the outer ones.
    """

    def __init__(self) -> None:
        self._waiting = 0
        self._waited_until_s: float | None = None

    @contextlib.contextmanager
    def felt(self) -> Iterator[None]:
        """Let `held_back` in the body speak of this work, and of the works that it lies in."""
        token = _felt.set((*_felt.get(), self))
        try:
            yield
        finally:
            _felt.reset(token)

    def was_held_back_since(self, instant_s: float) -> bool:
        """Whether it is being held back, or was at any moment from this one of the loop's on."""
        if self._waiting:
            return True
        return self._waited_until_s is not None and self._waited_until_s >= instant_s

    def _begin(self) -> None:
        self._waiting += 1

    def _end(self) -> None:
        self._waiting -= 1
        self._waited_until_s = asyncio.get_running_loop().time()


_felt: ContextVar[tuple[Pacing, ...]] = ContextVar("pacing", default=())


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Say that what is done here waits on purpose while the body runs."""
    works = _felt.get()
    for work in works:
        work._begin()
    try:
        yield
    finally:
        for work in works:
            work._end()
