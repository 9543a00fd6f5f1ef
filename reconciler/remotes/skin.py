"""A remote in front of another one: what a skin does not change goes through as it is."""

import dataclasses
from collections.abc import Sequence

from reconciler.remotes.filesystem import Piece, Space, Stat
from reconciler.remotes.remote import Entry, Move, Remote, RemoteFile, Traits


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


class SkinFile:
    """An open file in front of another one. Files that meet in a call wear the same skins."""

    def __init__(self, inner: RemoteFile) -> None:
        self._inner = inner

    @property
    def key(self) -> str:
        return self._inner.key

    async def read_into(self, target: memoryview, offset: int) -> int:
        return await self._inner.read_into(target, offset)

    async def read(self, offset: int, count: int) -> bytes:
        return await self._inner.read(offset, count)

    async def read_many(self, offsets: Sequence[int], count: int) -> list[bytes]:
        return await self._inner.read_many(offsets, count)

    async def write(self, pieces: Sequence[Piece], offset: int) -> None:
        await self._inner.write(pieces, offset)

    async def move(self, moves: Sequence[Move]) -> None:
        bare = [dataclasses.replace(move, source=_below(move.source)) for move in moves]
        await self._inner.move(bare)

    async def clone_whole(self, source: RemoteFile) -> None:
        await self._inner.clone_whole(_below(source))

    async def truncate(self, size: int) -> None:
        await self._inner.truncate(size)

    async def size(self) -> int:
        return await self._inner.size()

    async def sync(self) -> None:
        await self._inner.sync()

    async def close(self) -> None:
        await self._inner.close()


def _below(file: RemoteFile) -> RemoteFile:
    return file._inner if isinstance(file, SkinFile) else file
