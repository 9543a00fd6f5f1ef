"""A mailbox of size one: the newest value wins, and readers wait for a newer one.

This is how workers talk (the control plane): a slow reader skips to the newest picture and can
never be flooded. Knows nothing of what it carries. One event loop only.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """The newest value put, with a version that grows by one at each put."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._version = 0
        self._changed = asyncio.Event()
        self._bells: list[asyncio.Event] = []

    @property
    def value(self) -> T:
        return self._value

    @property
    def version(self) -> int:
        return self._version

    def put(self, value: T) -> None:
        """Replace the value and wake every reader."""
        self._value = value
        self._version += 1
        self._changed.set()
        self._changed = asyncio.Event()
        for bell in self._bells:
            bell.set()

    def ring(self, bell: asyncio.Event) -> None:
        """Set `bell` at each put from now on: how one reader waits for several mailboxes."""
        self._bells.append(bell)

    async def newer_than(self, version: int) -> tuple[int, T]:
        """Wait until the version exceeds `version`; return it with its value."""
        while self._version <= version:
            await self._changed.wait()
        return self._version, self._value

    async def follow(self) -> AsyncGenerator[T, None]:
        """Yield the present value, then each newer one; skipped values are never seen."""
        version = self._version
        yield self._value
        while True:
            version, value = await self.newer_than(version)
            yield value
