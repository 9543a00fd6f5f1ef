"""A remote in a skin that holds its traffic to a rate, whoever uses it and however many do.

What goes to the remote and comes from it counts; what the remote does by itself (copies, moves,
shared extents) does not.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from reconciler.remotes.filesystem import Piece
from reconciler.remotes.rate import Rate
from reconciler.remotes.remote import Remote, RemoteFile, Upload
from reconciler.remotes.skin import Skin, SkinFile


class LimitedRemote(Skin):
    """inner: what is limited. rate: shared by all uses of it."""

    def __init__(self, inner: Remote, rate: Rate) -> None:
        super().__init__(inner)
        self._rate = rate

    async def get(self, key: str, size_max: int) -> bytes:
        content = await self._inner.get(key, size_max)
        await self._rate.take(len(content))
        return content

    async def put(self, key: str, content: Piece) -> None:
        await self._rate.take(memoryview(content).nbytes)
        await self._inner.put(key, content)

    async def put_new(self, key: str, content: Piece) -> None:
        await self._rate.take(memoryview(content).nbytes)
        await self._inner.put_new(key, content)

    @contextlib.asynccontextmanager
    async def upload(self, key: str, *, size_expected: int = 0) -> AsyncIterator[Upload]:
        async with self._inner.upload(key, size_expected=size_expected) as upload:
            yield _LimitedUpload(upload, self._rate)

    @contextlib.asynccontextmanager
    async def download(self, key: str) -> AsyncIterator[AsyncIterator[memoryview]]:
        async with (
            self._inner.download(key) as pieces,
            contextlib.aclosing(self._pieces(pieces)) as limited,
        ):
            yield limited

    async def _pieces(self, pieces: AsyncIterator[memoryview]) -> AsyncGenerator[memoryview, None]:
        async for piece in pieces:
            await self._rate.take(piece.nbytes)
            yield piece

    @contextlib.asynccontextmanager
    async def open(self, key: str, *, write: bool = False) -> AsyncIterator[RemoteFile]:
        async with self._inner.open(key, write=write) as file:
            yield LimitedFile(file, self._rate)

    @contextlib.asynccontextmanager
    async def create(self, key: str) -> AsyncIterator[RemoteFile]:
        async with self._inner.create(key) as file:
            yield LimitedFile(file, self._rate)

    async def publish(self, temporary: str, key: str) -> None:
        await self._inner.publish(temporary, key)


class _LimitedUpload:
    def __init__(self, inner: Upload, rate: Rate) -> None:
        self._inner = inner
        self._rate = rate

    async def write(self, piece: Piece) -> None:
        await self._rate.take(memoryview(piece).nbytes)
        await self._inner.write(piece)


class LimitedFile(SkinFile):
    """An open file whose reads and writes count."""

    def __init__(self, inner: RemoteFile, rate: Rate) -> None:
        super().__init__(inner)
        self._rate = rate

    async def read_into(self, target: memoryview, offset: int) -> int:
        await self._rate.take(target.nbytes)
        return await super().read_into(target, offset)

    async def read(self, offset: int, count: int) -> bytes:
        await self._rate.take(count)
        return await super().read(offset, count)

    async def read_many(self, offsets: Sequence[int], count: int) -> list[bytes]:
        await self._rate.take(len(offsets) * count)
        return await super().read_many(offsets, count)

    async def write(self, pieces: Sequence[Piece], offset: int) -> None:
        await self._rate.take(sum(memoryview(piece).nbytes for piece in pieces))
        await super().write(pieces, offset)
