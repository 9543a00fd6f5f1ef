"""A file for a person, on this machine: complete under its name, or not there at all.

Written under a temporary name beside it, synced, then linked to its own. A file that is there is
never replaced. Blocking calls run on threads of the event loop.
"""

import asyncio
import contextlib
import errno
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence

from reconciler.remotes.filesystem import Handle, Piece
from reconciler.remotes.posix import PosixFilesystem

# Where hard links do not exist (FAT, some network shares), renaming is what is left.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})


class LocalFile:
    """Raises OSError. One task at a time writes."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def write(self, pieces: Sequence[Piece], offset: int) -> None:
        await _on_thread(lambda: self._handle.pwritev(pieces, offset))

    async def truncate(self, size: int) -> None:
        await _on_thread(lambda: self._handle.truncate(size))

    async def run(self, work: Callable[[Handle], None]) -> None:
        """Do several things to the file, and what leads to them, in one go on a thread."""
        await _on_thread(lambda: work(self._handle))


@contextlib.asynccontextmanager
async def new_local_file(path: str) -> AsyncIterator[LocalFile]:
    """Create a file that appears under `path` when the body ends well. Raises FileExistsError."""
    directory, name = os.path.split(path)
    directory = directory or "."
    temporary = f".{name}.{secrets.token_hex(4)}.partial"
    filesystem = await asyncio.to_thread(_directory_for, directory, name)
    handle = await asyncio.to_thread(filesystem.create, temporary)
    try:
        try:
            yield LocalFile(handle)
            await _on_thread(handle.sync)
        finally:
            handle.close()
        await asyncio.to_thread(_publish, filesystem, directory, temporary, name)
    except BaseException:
        with contextlib.suppress(OSError):
            filesystem.unlink(temporary)
        raise


async def _on_thread(work: Callable[[], None]) -> None:
    """Run work on a thread. If cancelled, leave only once it is done: the file is closed next, and
    its number may be another file's a moment later."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        running.exception()  # fetched, so that nobody is told it was lost
        raise


def _directory_for(directory: str, name: str) -> PosixFilesystem:
    if os.path.lexists(os.path.join(directory, name)):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    return PosixFilesystem(directory)


def _publish(filesystem: PosixFilesystem, directory: str, temporary: str, name: str) -> None:
    source, target = os.path.join(directory, temporary), os.path.join(directory, name)
    try:
        os.link(source, target, follow_symlinks=False)
        filesystem.unlink(temporary)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from error
        filesystem.rename(temporary, name)
    with contextlib.suppress(OSError):  # not every file system can sync a directory
        filesystem.sync_directory("")
