"""Opened pools and remotes by name: opened at first use, closed when their settings change.

Shared by observers and executor, so that a process holds one session per pool. Knows how to open;
never what for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import structlog

from reconciler.desired.state import Desired, Pool, Remote, SecretRef
from reconciler.ids import PoolName, RemoteName
from reconciler.latest import Latest
from reconciler.remotes.errors import Missing
from reconciler.remotes.file import FileRemote
from reconciler.remotes.open import open_remote
from reconciler.xapi.client import XapiClient
from reconciler.xapi.trust import trust_of

log = structlog.get_logger(__name__)


class _Closable(Protocol):
    async def close(self) -> None: ...


Settings = TypeVar("Settings")
Opened = TypeVar("Opened", bound=_Closable)


class _Shelf(Generic[Settings, Opened]):
    """Opened things by name, each with the settings it was opened with."""

    def __init__(self, open_one: Callable[[Settings], Awaitable[Opened]]) -> None:
        self._open_one = open_one
        self._opened: dict[str, tuple[Settings, Opened]] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def get(self, name: str, settings: Settings) -> Opened:
        async with self._turns.setdefault(name, asyncio.Lock()):
            known = self._opened.get(name)
            if known is not None and known[0] == settings:
                return known[1]
            if known is not None:
                del self._opened[name]
                await known[1].close()
            opened = await self._open_one(settings)
            self._opened[name] = (settings, opened)
            return opened

    async def close(self) -> None:
        while self._opened:
            _, (_, opened) = self._opened.popitem()
            await opened.close()


class Connections:
    """Gives opened pools and remotes of the newest desired state."""

    def __init__(
        self,
        desired: Latest[Desired],
        reveal: Callable[[SecretRef], str],
        *,
        read_only: bool = False,
    ) -> None:
        """reveal: fetches a secret at the moment of its use.

        read_only: opens every remote so, whatever is desired: nothing is written by looking.
        """
        self._desired = desired
        self._reveal = reveal
        self._read_only = read_only
        self._pools: _Shelf[Pool, XapiClient] = _Shelf(self._open_pool)
        self._remotes: _Shelf[Remote, FileRemote] = _Shelf(self._open_remote)

    async def pool(self, name: PoolName) -> XapiClient:
        """Raises XapiError; KeyError if no such pool is desired any more."""
        return await self._pools.get(name, self._desired.value.pools[name])

    async def remote(self, name: RemoteName) -> FileRemote:
        """Raises RemoteError."""
        settings = self._desired.value.remotes.get(name)
        if settings is None:
            raise Missing(name, "", "no such remote is desired any more")
        return await self._remotes.get(name, settings)

    async def close(self) -> None:
        await self._pools.close()
        await self._remotes.close()

    async def _open_pool(self, pool: Pool) -> XapiClient:
        return XapiClient(
            pool.urls,
            pool.username,
            lambda: self._reveal(pool.password),
            trust_of(pool.ca, pool.fingerprint),
            transfers_max=pool.exports_max,
        )

    async def _open_remote(self, remote: Remote) -> FileRemote:
        assert remote.path is not None, "other places come with their manifests"
        return await open_remote(
            remote.name, remote.path, read_only=self._read_only or remote.read_only
        )
