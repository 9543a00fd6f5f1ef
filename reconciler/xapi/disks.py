"""Disks on their way out of a pool, as VHD streams.

An export is a GET whose body is the disk and whose end is the connection's close; XAPI says "200
OK" before it has attached anything. So three things decide whether a stream was whole: its own
trailer (the reader's affair), nothing after it, and the status of the task that the transfer was
given. An error after the head stands *in the body* as the text of a second response; it is found
before a byte of it is taken for a disk. What disks and whole VMs share: transfers.py.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import (
    OutcomeUnknown,
    StreamBroken,
    StreamRefused,
    StreamStalled,
)
from reconciler.xapi.streams import Link
from reconciler.xapi.tasks import destroy_task, wait_for_task
from reconciler.xapi.transfers import Request, Transfer, begin, failure_of, gist

_ANSWER_START = b"HTTP/"
T = TypeVar("T")


class ExportStream(Transfer):
    """A disk, or a VM, on its way out. Read, then `finish`; as a context manager it aborts if left
    early.

    One task at a time uses it. A cancelled read has stopped the transfer when it returns.
    """

    def __init__(self, client: XapiClient, link: Link, task: str, what: str) -> None:
        super().__init__(client, link, task, what)
        self._looked = False

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
