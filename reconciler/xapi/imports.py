"""Into a pool, piece by piece: what imports of disks and of whole VMs have in common.

The pool answers before it reads, so a redirect is met before the first piece is asked for. What
decides whether an import was whole is the status of the task that it was given.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import OutcomeUnknown, StreamBroken
from reconciler.xapi.streams import Link, Piece
from reconciler.xapi.tasks import destroy_task, wait_for_task
from reconciler.xapi.transfers import Request, Transfer, begin, failure_of
from reconciler.xapi.wire import Json, parse_task_result


class ImportStream(Transfer):
    """Something on its way in. Write, then finish; left early as a context manager, it aborts.

    One task at a time uses it. A cancelled write has stopped the transfer when it returns.
    length: of all that will come; None: it is over when the connection is closed in our direction.
    """

    def __init__(
        self, client: XapiClient, link: Link, task: str, what: str, length: int | None
    ) -> None:
        super().__init__(client, link, task, what)
        self._left = length

    @property
    def task(self) -> str:
        """Its reference: while the import goes on it is among the new VM's operations."""
        return self._task

    async def write(self, piece: Piece) -> None:
        """Send the next bytes. Raises XapiFailure with the task's error, where it has one, else
        StreamBroken; NotPermitted; ValueError for more than the length that was said."""
        if self._left is not None:
            self._left -= memoryview(piece).nbytes
            if self._left < 0:
                raise ValueError("there is more to send than was announced")
        self._client.expect_permit(self._what)
        try:
            await self._link.write(piece)
        except StreamBroken as error:
            raise await failure_of(self._client, self._task) or error from error

    async def _finish(self) -> Json:
        """Say that this was all, wait for the task's end, and return its result."""
        self._client.expect_permit(self._what)
        if self._left is None:
            await self._link.end()
        elif self._left:
            raise ValueError(f"{self._left} bytes less than announced were there to send")
        try:
            async with asyncio.timeout(self._client.deadlines.finish_s):
                task = await wait_for_task(self._client, self._task, self._what)
        except TimeoutError:
            raise OutcomeUnknown(self._what, "its task does not end") from None
        result = parse_task_result(task.result)
        self._over = True
        self._link.close()
        await destroy_task(self._client, self._task)
        return result


class DiskImport(ImportStream):
    """A disk on its way in, as a VHD stream."""

    async def finish(self) -> None:
        """Wait until all that was sent is written.

        Raises XapiFailure if the task failed, OutcomeUnknown if it is gone or does not end,
        ValueError for less than the length that was said.
        """
        await self._finish()


async def open_vhd_import(
    client: XapiClient, vdi: str, length: int, *, label: str = ""
) -> DiskImport:
    """Begin to write a VHD stream of exactly `length` bytes into a disk (a reference).

    What the stream holds is written, and nothing else is touched: a difference is right on a disk
    that is equal to its base. Stopped early, the disk's content is undefined. Raises XapiError.
    """
    what = f"import of {label or vdi}"
    query = {"format": "vhd", "vdi": vdi}
    headers = (("content-length", str(length)),)
    link, task = await begin(client, Request("PUT", "/import_raw_vdi", query, headers), what)
    return DiskImport(client, link, task, what, length)


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

    on_sent: told the size of each piece that went out. Raises XapiFailure with the task's error,
    StreamBroken, OutcomeUnknown, and ValueError if the pieces are not `length` bytes. Cancelled or
    failed, the transfer is stopped; the disk's content is then undefined.
    """
    async with await open_vhd_import(client, vdi, length, label=label) as sending:
        async for piece in pieces:
            await sending.write(piece)
            if on_sent is not None:
                on_sent(memoryview(piece).nbytes)
        await sending.finish()
