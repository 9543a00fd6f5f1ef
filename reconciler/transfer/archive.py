"""Whole VMs as archives: from a pool to remotes, checked on the way, and back to a pool.

    pool ─▶ CheckedSource ─▶ fanout ─▶ ArchiveSink    seen under its name only once the sender has
                                                      said that it sent all, and the check that it
                                                      was all
    remote ─▶ checked_pieces ─▶ pool                  checked again: the pool is not told of its
                                                      end unless it was whole

An archive is read and unpacked once, however many take it. Knows archives, remotes and streams;
never what a VM is kept for.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable

from reconciler.remotes.errors import RemoteError
from reconciler.remotes.remote import Remote, Upload
from reconciler.transfer.source import OpenSource, StreamError
from reconciler.xva.checker import Checked, XvaChecker


class CheckedSource:
    """An `OpenSource` that raises XvaError for anything but a whole archive, before its end.

    Hashing and unpacking go on threads, while the sender fills the sockets' buffers.
    """

    def __init__(self, source: OpenSource) -> None:
        self._source = source
        self._checker = XvaChecker()
        self.checked: Checked | None = None
        """What came; None until `finish` has returned."""

    async def read_up_to(self, view: memoryview) -> int:
        count = await self._source.read_up_to(view)
        await asyncio.to_thread(self._checker.feed, view[:count])
        return count

    async def finish(self) -> None:
        """The sender is asked first: it may know why there is no more."""
        await self._source.finish()
        self.checked = self._checker.finish()

    async def abort(self) -> None:
        await self._source.abort()


class ArchiveSink:
    """A `ByteSink`: an archive into one object of a remote. size_expected: as `Remote.upload`.

    Each piece is hashed while it is written, for the checksum that lies beside archives.
    """

    def __init__(self, remote: Remote, key: str, *, size_expected: int = 0) -> None:
        self._remote = remote
        self._key = key
        self._size_expected = size_expected
        self._open = contextlib.AsyncExitStack()
        self._upload: Upload | None = None
        self._md5 = hashlib.md5(usedforsecurity=False)

    @property
    def md5(self) -> str:
        """Of all that was written, hexadecimal."""
        return self._md5.hexdigest()

    async def write(self, piece: memoryview) -> None:
        if self._upload is None:
            self._upload = await self._open.enter_async_context(
                self._remote.upload(self._key, size_expected=self._size_expected)
            )
        hashing = asyncio.get_running_loop().run_in_executor(None, self._md5.update, piece)
        try:
            await self._upload.write(piece)
        finally:
            await hashing  # a few milliseconds; the piece is not ours for longer

    async def end(self) -> None:
        if self._upload is None:
            raise StreamError(f"{self._key}: nothing came")
        await self._open.aclose()

    async def abort(self) -> None:
        given_up = StreamError(f"{self._key}: given up")
        with contextlib.suppress(StreamError, RemoteError):
            await self._open.__aexit__(StreamError, given_up, None)


async def checked_pieces(
    pieces: AsyncIterator[memoryview], on_progress: Callable[[int], None] = lambda _: None
) -> AsyncIterator[memoryview]:
    """Pass an archive on, each piece once it was checked; end only if it was whole.

    Raises XvaError, and what the pieces raise.
    """
    checker = XvaChecker()
    async for piece in pieces:
        await asyncio.to_thread(checker.feed, piece)
        yield piece
        on_progress(len(piece))
    checker.finish()
