"""A whole VM into a pool: an archive that is imported as it is read.

The pool makes the VM as soon as it has read its description, and removes it again if the archive
does not come to its end. So the end is held back until whoever copies has marked the new VM: one
that dies before that leaves nothing that could be taken for anything else.

Knows imports; never what the VM is.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from reconciler.xapi.archives import VmImport

HELD_BACK_BYTES = 64 * 1024
"""More than the end of any archive takes, compressed or not: without it none is whole."""
_RELEASE_S = 10.0
"""A compressed archive may be so small that the description itself is held back, and there is no VM
to mark. Then the end goes out all the same."""


class VmImportSink:
    """opened: begins the import, when the first bytes are there. Raises XapiError."""

    def __init__(self, opened: Callable[[], Awaitable[VmImport]]) -> None:
        self._opened = opened
        self._stream: VmImport | None = None
        self._began = asyncio.Event()
        self._released = asyncio.Event()
        self._held = b""
        self.made: tuple[str, ...] = ()
        """References of the new VMs, after the end."""

    async def task(self) -> str:
        """Wait until the import has begun; its task is among the new VM's operations."""
        await self._began.wait()
        assert self._stream is not None
        return self._stream.task

    def release(self) -> None:
        """Say that the new VM is marked: the archive may come to its end."""
        self._released.set()

    async def write(self, piece: memoryview) -> None:
        stream = await self._begun()
        if len(piece) < HELD_BACK_BYTES:
            joined = self._held + bytes(piece)
            count = max(0, len(joined) - HELD_BACK_BYTES)
            await stream.write(joined[:count])
            self._held = joined[count:]
            return
        count = len(piece) - HELD_BACK_BYTES
        await stream.write(self._held)
        await stream.write(piece[:count])
        self._held = bytes(piece[count:])

    async def end(self) -> None:
        stream = await self._begun()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                await self._released.wait()
        await stream.write(self._held)
        self.made = await stream.finish()

    async def abort(self) -> None:
        if self._stream is not None:
            await self._stream.abort()

    async def _begun(self) -> VmImport:
        if self._stream is None:
            self._stream = await self._opened()
            self._began.set()
        return self._stream
