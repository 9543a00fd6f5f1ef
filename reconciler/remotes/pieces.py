"""Objects of any size, piece by piece, on an open file: appended in order, read in order."""

from collections.abc import AsyncGenerator

from reconciler.remotes.errors import Unavailable
from reconciler.remotes.filesystem import Piece
from reconciler.remotes.remote import RemoteFile

PIECE_BYTES = 2 * 1024 * 1024


class Appending:
    """The `Upload` of a file that is being written. What failed once stays failed."""

    def __init__(self, remote: str, file: RemoteFile) -> None:
        self._remote = remote
        self._file = file
        self._bytes = 0
        self._whole = True

    async def write(self, piece: Piece) -> None:
        self.conclude()
        self._whole = False
        await self._file.write([piece], self._bytes)
        self._bytes += memoryview(piece).nbytes
        self._whole = True

    def conclude(self) -> None:
        """Raises Unavailable if a piece is missing: its error may have been caught on the way."""
        if not self._whole:
            raise Unavailable(self._remote, self._file.key, "a piece of it could not be written")


async def pieces_of(file: RemoteFile) -> AsyncGenerator[memoryview, None]:
    """Read a file from its start to its end. Each piece is valid until the next is asked for."""
    buffer = memoryview(bytearray(PIECE_BYTES))
    offset = 0
    while count := await file.read_into(buffer, offset):
        yield buffer[:count]
        offset += count
