"""Disks on the move: out of a pool as a VHD stream, and into one.

An export is a GET whose body is the disk and whose end is the connection's close; XAPI says "200
OK" before it has attached anything. So three things decide whether a stream was whole: its own
trailer (the reader's affair), nothing after it, and the status of the task that the transfer was
given. An error after the head stands *in the body* as the text of a second response; it is found
before a byte of it is taken for a disk. What disks and whole VMs share: transfers.py.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TypeVar

from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import (
    OutcomeUnknown,
    StreamBroken,
    StreamRefused,
    StreamStalled,
)
from reconciler.xapi.streams import Link, Piece
from reconciler.xapi.tasks import destroy_task, wait_for_task
from reconciler.xapi.transfers import Request, begin, failure_of, gist, put_away, stop

_ANSWER_START = b"HTTP/"
T = TypeVar("T")


class ExportStream:
    """A disk, or a VM, on its way out. Read, then `finish`; as a context manager it aborts if left
    early.

    One task at a time uses it. A cancelled read has stopped the transfer when it returns.
    """

    def __init__(self, client: XapiClient, link: Link, task: str, what: str) -> None:
        self._client = client
        self._link = link
        self._task = task
        self._what = what
        self._looked = False
        self._over = False

    async def __aenter__(self) -> "ExportStream":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.abort()

    @property
    def received_bytes(self) -> int:
        return self._link.received_bytes

    async def read_exactly(self, view: memoryview) -> None:
        """Fill the view with the stream's next bytes.

        Raises StreamTruncated, StreamStalled, StreamRefused or StreamBroken; their `failure` is
        the task's error, where it had one.
        """
        await self._read(self._link.read_exactly, view)

    async def read_up_to(self, view: memoryview) -> int:
        """Fill the view, or as much of it as comes before the end; return how much that was.

        Whether the end came too early, only the bytes and `finish` tell. Raises as `read_exactly`.
        """
        return await self._read(self._link.read_up_to, view)

    async def _read(self, read: Callable[[memoryview], Awaitable[T]], view: memoryview) -> T:
        try:
            if not self._looked:
                await self._look_at_start()
            return await read(view)
        except StreamStalled:
            raise  # its task goes on and has nothing to say
        except StreamBroken as error:
            raise error.because(await failure_of(self._client, self._task)) from None

    async def finish(self) -> None:
        """Wait for the stream's end and its task's.

        Raises StreamBroken if there is more to read, XapiFailure if the task failed,
        OutcomeUnknown if it is gone.
        """
        try:
            await self._link.expect_end()
            async with asyncio.timeout(self._client.deadlines.finish_s):
                await wait_for_task(self._client, self._task, self._what)
        except TimeoutError:
            raise OutcomeUnknown(self._what, "its task does not end") from None
        self._over = True
        self._link.close()
        await destroy_task(self._client, self._task)

    async def abort(self) -> None:
        """Stop the transfer, from any state, more than once if need be; bounded."""
        if self._over:
            return
        self._over = True
        self._link.close()
        await put_away(self._client, self._task)

    async def _look_at_start(self) -> None:
        start = await self._link.peek(len(_ANSWER_START))
        if start == _ANSWER_START:
            raise StreamRefused(200, gist(await self._link.read_text()))
        self._looked = True


async def open_export(
    client: XapiClient, vdi: str, base: str | None = None, *, label: str = ""
) -> ExportStream:
    """Begin to export a disk as a VHD stream. vdi, base: references; base: make it a delta.

    label: names the disk for people who look at the pool's tasks. Raises XapiError.
    """
    query = {"format": "vhd", "vdi": vdi} | ({"base": base} if base else {})
    what = f"export of {label or vdi}"
    link, task = await begin(client, Request("GET", "/export_raw_vdi", query, ()), what)
    return ExportStream(client, link, task, what)


async def import_vhd(
    client: XapiClient,
    vdi: str,
    length: int,
    pieces: AsyncIterator[Piece],
    *,
    label: str = "",
    on_sent: Callable[[int], None] | None = None,
) -> None:
    """Write a VHD stream of exactly `length` bytes into a disk (a reference); wait for its end.

    The pool answers before it reads, so a redirect is met before the first piece is asked for.
    on_sent: told the size of each piece that went out. Raises XapiFailure with the task's error,
    StreamBroken, OutcomeUnknown, and ValueError if the pieces are not `length` bytes. Cancelled or
    failed, the transfer is stopped; the disk's content is then undefined.
    """
    what = f"import of {label or vdi}"
    headers = (("content-length", str(length)),)
    query = {"format": "vhd", "vdi": vdi}
    link, task = await begin(client, Request("PUT", "/import_raw_vdi", query, headers), what)
    try:
        await _send(link, length, pieces, on_sent)
        async with asyncio.timeout(client.deadlines.finish_s):
            await wait_for_task(client, task, what)
    except StreamBroken as error:
        failure = await failure_of(client, task)
        await stop(client, link, task)
        raise failure or error from error
    except BaseException as error:
        await stop(client, link, task)
        if isinstance(error, TimeoutError):
            raise OutcomeUnknown(what, "its task does not end") from None
        raise
    link.close()
    await destroy_task(client, task)


async def _send(
    link: Link, length: int, pieces: AsyncIterator[Piece], on_sent: Callable[[int], None] | None
) -> None:
    sent = 0
    async for piece in pieces:
        count = memoryview(piece).nbytes
        sent += count
        if sent > length:
            raise ValueError(f"there is more to send than the {length} bytes announced")
        await link.write(piece)
        if on_sent is not None:
            on_sent(count)
    if sent != length:
        raise ValueError(f"only {sent} of the {length} bytes announced were there to send")
