"""A disk into a new VHD file on a remote.

The file is made so that it looks whole only when it is: blocks first, then the trailer, the tables
at its start last of all. It stays under its temporary name; giving it its own is the catalog's
business. Knows the format and remotes that are file systems; never what the disk belongs to.
"""

import asyncio
import contextlib
from array import array
from collections.abc import Sequence

from reconciler.remotes.errors import RemoteError
from reconciler.remotes.remote import Remote, RemoteFile
from reconciler.transfer.sink import DiskHead, Identity, Received
from reconciler.transfer.source import StreamError
from reconciler.transfer.temporary import created_anew
from reconciler.vhd.encoder import Layout
from reconciler.vhd.layout import BLOCK, FOOTER_BYTES, SLOT_PAD

_PAD = bytes(SLOT_PAD)


class VhdFileSink:
    """temporary: key of the file until it is published; one that an earlier try left is replaced.

    Raises StreamError, VhdError, RemoteError.
    """

    def __init__(self, remote: Remote, temporary: str, identity: Identity) -> None:
        self._remote = remote
        self._temporary = temporary
        self._identity = identity
        self._open = contextlib.AsyncExitStack()
        self._file: RemoteFile | None = None
        self._head: DiskHead | None = None
        self._kept = array("I")
        # As if every block were kept: where the n-th slot lies does not depend on it.
        self._planned: Layout | None = None

    async def begin(self, head: DiskHead) -> None:
        if head.differencing and self._identity.parent is None:
            raise StreamError("a full was asked for, and the stream is a delta")
        self._planned = self._laid_out(head, head.blocks)
        self._head = head
        self._file = await self._open.enter_async_context(
            created_anew(self._remote, self._temporary)
        )

    async def block(self, index: int, record: memoryview, is_zero: bool) -> None:
        """As `DiskSink.block`. A full has nothing below it that zeros would have to hide."""
        assert self._file is not None and self._head is not None and self._planned is not None
        if is_zero and not self._head.differencing:
            return
        offset = self._planned.slot_offset(len(self._kept))
        await self._file.write([_PAD, record], offset)
        self._kept.append(index)

    async def end(self) -> Received:
        """Make the file a VHD: trailer, then tables; sync; look whether it is there."""
        assert self._file is not None and self._head is not None
        layout = self._laid_out(self._head, self._kept)
        await self._file.write([layout.trailer()], layout.trailer_offset)
        await self._file.write([layout.preamble()], 0)
        await self._file.sync()
        await _check(self._file, layout)
        await self._open.aclose()
        return Received(
            file_bytes=layout.total_bytes,
            data_bytes=len(self._kept) * BLOCK,
            blocks=len(self._kept),
            virtual_bytes=self._head.virtual_bytes,
            differencing=self._head.differencing,
        )

    async def abort(self) -> None:
        """Remove the file, if that is still possible (space may be what was short).

        After a cancellation it stays: whoever cancels does not want to wait, and if the lock was
        lost, the file of that name may be somebody else's by now.
        """
        with contextlib.suppress(RemoteError):
            await self._open.aclose()
        task = asyncio.current_task()
        if self._head is None or (task is not None and task.cancelling()):
            return
        with contextlib.suppress(RemoteError):
            await self._remote.delete(self._temporary)

    def _laid_out(self, head: DiskHead, blocks: Sequence[int]) -> Layout:
        return Layout.of_disk(
            head.virtual_bytes,
            blocks,
            self._identity.uuid,
            self._identity.parent if head.differencing else None,
            timestamp=self._identity.timestamp,
        )


async def _check(file: RemoteFile, layout: Layout) -> None:
    """Look at the file's size and both its ends. Raises StreamError, RemoteError."""
    first, last = await file.read_many([0, layout.trailer_offset], FOOTER_BYTES)
    size = await file.size()
    if size != layout.total_bytes or first != last or first != layout.trailer():
        raise StreamError(
            f"{file.key} does not read back as it was written: {size} bytes instead of "
            f"{layout.total_bytes}, or other footers"
        )
