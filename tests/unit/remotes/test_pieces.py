"""What is appended, and what is missing of it."""

import contextlib
import errno

import pytest

from reconciler.remotes.errors import RemoteError, Unavailable
from reconciler.remotes.faults import Fault
from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem


async def test_a_piece_that_failed_is_missed_at_the_end():
    """Its error was caught by whoever wrote; the rest went well: it is still no whole object."""
    filesystem = MemoryFilesystem()
    remote = await FileRemote.attach("cellar", filesystem, threads=None)
    with pytest.raises(Unavailable, match="could not be written"):
        async with remote.upload("f") as upload:
            await upload.write(b"one")
            filesystem.fault = Fault(len(filesystem.calls), errno.EIO)
            with pytest.raises(RemoteError):
                await upload.write(b"two")
            with contextlib.suppress(RemoteError):
                await upload.write(b"three")
    assert filesystem.paths() == []
    await remote.close()
