"""A remote in front of another one: what a skin does not change goes through as it is."""

from reconciler.remotes.filesystem import Space, Stat
from reconciler.remotes.remote import Entry, Remote, Traits


class Skin:
    """inner: what lies below. Whatever moves content is each skin's own affair."""

    def __init__(self, inner: Remote) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def traits(self) -> Traits:
        return self._inner.traits

    @property
    def identity(self) -> str | None:
        return self._inner.identity

    async def prove(self) -> None:
        await self._inner.prove()

    async def close(self) -> None:
        await self._inner.close()

    async def list(self, key: str) -> list[Entry]:
        return await self._inner.list(key)

    async def stat(self, key: str) -> Stat:
        return await self._inner.stat(key)

    async def copy(self, source: str, target: str) -> None:
        await self._inner.copy(source, target)

    async def delete(self, key: str) -> None:
        await self._inner.delete(key)

    async def settle(self, key: str) -> None:
        await self._inner.settle(key)

    async def make_directory(self, key: str) -> None:
        await self._inner.make_directory(key)

    async def remove_directory(self, key: str) -> None:
        await self._inner.remove_directory(key)

    async def touch(self, key: str) -> Stat:
        return await self._inner.touch(key)

    async def space(self) -> Space | None:
        return await self._inner.space()
