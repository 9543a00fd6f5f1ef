"""A remote in a skin that changes nothing any more once we may not: for one of several operators.

Whoever leads asks again, by the machine's own clock, right before each change and between two
pieces of a long one. A process that stood still while another took over finds out here, at the
first call that would change something, whatever it was in the middle of. Reading stays allowed.

What was handed to the system before that moment may still arrive: who gives permission stops
giving it some seconds before anybody else may take over.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from reconciler.remotes.errors import NotPermitted
from reconciler.remotes.filesystem import Piece, Stat
from reconciler.remotes.remote import Move, Remote, RemoteFile, Upload
from reconciler.remotes.skin import Skin, SkinFile

Permit = Callable[[], bool]
"""Says whether changes are allowed right now. Cheap, and never blocks."""


class FencedRemote(Skin):
    """Lies directly on the remote: below it nothing waits between the question and the change."""

    def __init__(self, inner: Remote, permit: Permit) -> None:
        super().__init__(inner)
        self._fence = _Fence(inner.name, permit)

    async def get(self, key: str, size_max: int) -> bytes:
        return await self._inner.get(key, size_max)

    def download(self, key: str) -> AbstractAsyncContextManager[AsyncIterator[memoryview]]:
        return self._inner.download(key)

    async def put(self, key: str, content: Piece) -> None:
        self._fence.check(key)
        await self._inner.put(key, content)

    async def put_new(self, key: str, content: Piece) -> None:
        self._fence.check(key)
        await self._inner.put_new(key, content)

    @contextlib.asynccontextmanager
    async def upload(self, key: str, *, size_expected: int = 0) -> AsyncIterator[Upload]:
        self._fence.check(key)
        async with self._inner.upload(key, size_expected=size_expected) as upload:
            yield _FencedUpload(upload, key, self._fence)
            self._fence.check(key)  # before it is published

    @contextlib.asynccontextmanager
    async def open(self, key: str, *, write: bool = False) -> AsyncIterator[RemoteFile]:
        if write:
            self._fence.check(key)
        async with self._inner.open(key, write=write) as file:
            yield FencedFile(file, self._fence)

    @contextlib.asynccontextmanager
    async def create(self, key: str) -> AsyncIterator[RemoteFile]:
        self._fence.check(key)
        async with self._inner.create(key) as file:
            yield FencedFile(file, self._fence)

    async def publish(self, temporary: str, key: str) -> None:
        self._fence.check(key)
        await self._inner.publish(temporary, key)

    async def copy(self, source: str, target: str) -> None:
        self._fence.check(target)
        await super().copy(source, target)

    async def delete(self, key: str) -> None:
        self._fence.check(key)
        await super().delete(key)

    async def make_directory(self, key: str) -> None:
        self._fence.check(key)
        await super().make_directory(key)

    async def remove_directory(self, key: str) -> None:
        self._fence.check(key)
        await super().remove_directory(key)

    async def touch(self, key: str) -> Stat:
        self._fence.check(key)
        return await super().touch(key)


class FencedFile(SkinFile):
    """An open file that is written to while that is allowed."""

    def __init__(self, inner: RemoteFile, fence: "_Fence") -> None:
        super().__init__(inner)
        self._fence = fence

    async def write(self, pieces: Sequence[Piece], offset: int) -> None:
        self._fence.check(self.key)
        await super().write(pieces, offset)

    async def move(self, moves: Sequence[Move]) -> None:
        self._fence.check(self.key)
        await super().move(moves)

    async def clone_whole(self, source: RemoteFile) -> None:
        self._fence.check(self.key)
        await super().clone_whole(source)

    async def truncate(self, size: int) -> None:
        self._fence.check(self.key)
        await super().truncate(size)


class _FencedUpload:
    def __init__(self, inner: Upload, key: str, fence: "_Fence") -> None:
        self._inner = inner
        self._key = key
        self._fence = fence

    async def write(self, piece: Piece) -> None:
        self._fence.check(self._key)
        await self._inner.write(piece)


class _Fence:
    def __init__(self, remote: str, permit: Permit) -> None:
        self._remote = remote
        self._permit = permit

    def check(self, key: str) -> None:
        """Raises NotPermitted."""
        if not self._permit():
            raise NotPermitted(self._remote, key, "another operator leads: nothing is changed here")
