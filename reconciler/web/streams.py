"""The two ends of a connection that the server uses: in clear, and over TLS.

TLS is done in memory and the bytes are moved by us, so that a handshake is held to the same
deadline and counted among the same connections as all else that a client may be slow at.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")

_READ_BYTES_MAX = 64 * 1024


class Stream(Protocol):
    """One connection. Raises OSError where it is broken, or no TLS is spoken."""

    async def read(self) -> bytes:
        """Return what has come; b"" once the client has ended."""

    async def send(self, data: bytes) -> None:
        """Send, and wait until the kernel has taken it all."""

    async def end(self) -> None:
        """Say that there is no more to come, as far as that can be said."""


class Clear:
    """Bytes as they come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # `drain` waits until all is taken
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(_READ_BYTES_MAX)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        pass


class Secured:
    """The server's side of TLS upon another stream; the handshake comes with the first read."""

    def __init__(self, context: ssl.SSLContext, below: Stream) -> None:
        self._below = below
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes, server_side=True)

    async def read(self) -> bytes:
        try:
            return await self._turn(lambda: self._tls.read(_READ_BYTES_MAX))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    async def send(self, data: bytes) -> None:
        if data:
            await self._turn(lambda: self._tls.write(data))

    async def end(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # it wants to read the client's goodbye, too
            self._tls.unwrap()
        await self._flush()

    async def _turn(self, act: Callable[[], T]) -> T:
        """Do it, however much has to come and go for it."""
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                await self._flush()
                came = await self._below.read()
                if came:
                    self._came.write(came)
                else:
                    self._came.write_eof()
            finally:
                await self._flush()

    async def _flush(self) -> None:
        if self._goes.pending:
            await self._below.send(self._goes.read())
