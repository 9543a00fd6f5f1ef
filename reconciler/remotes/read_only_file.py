"""What open files have alike that cannot be written: objects in a store, decrypted bytes."""

from collections.abc import Sequence

from reconciler.remotes.errors import RemoteError
from reconciler.remotes.filesystem import Piece
from reconciler.remotes.remote import Move, RemoteFile


class ReadOnlyFile:
    """Refuses whatever would change the file."""

    def __init__(self, remote: str, key: str) -> None:
        self._remote = remote
        self._key = key

    @property
    def key(self) -> str:
        return self._key

    async def write(self, pieces: Sequence[Piece], offset: int) -> None:
        raise self._refusal()

    async def move(self, moves: Sequence[Move]) -> None:
        raise self._refusal()

    async def clone_whole(self, source: RemoteFile) -> None:
        raise self._refusal()

    async def truncate(self, size: int) -> None:
        raise self._refusal()

    async def sync(self) -> None:
        """What can be read is durable."""

    async def close(self) -> None:
        """Nothing is held open."""

    def _refusal(self) -> RemoteError:
        return RemoteError(self._remote, self._key, "files are not changed in place on this remote")

    def _too_short(self, end: int) -> RemoteError:
        return RemoteError(self._remote, self._key, f"the file ends at byte {end}, inside a read")


class BytesFile(ReadOnlyFile):
    """A file whose content is in memory."""

    def __init__(self, remote: str, key: str, content: bytes) -> None:
        super().__init__(remote, key)
        self._content = content

    async def read_into(self, target: memoryview, offset: int) -> int:
        piece = self._content[offset : offset + target.nbytes]
        target.cast("B")[: len(piece)] = piece
        return len(piece)

    async def read(self, offset: int, count: int) -> bytes:
        piece = self._content[offset : offset + count]
        if len(piece) < count:
            raise self._too_short(offset + len(piece))
        return piece

    async def read_many(self, offsets: Sequence[int], count: int) -> list[bytes]:
        return [await self.read(offset, count) for offset in offsets]

    async def size(self) -> int:
        return len(self._content)
