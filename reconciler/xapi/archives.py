"""Whole VMs on the move: out of a pool as an archive (XVA), and into one.

The length of an archive is not known beforehand. An export ends with the connection, as a disk's
does; an import is told of more than will ever come, then the connection is closed in our direction.
The pool tells archives that are compressed by their first bytes.

The new VM is there as soon as its description was read, and belongs to the pool until the import
is over: what fails, the pool removes again.
"""

import asyncio
from types import TracebackType

from reconciler.xapi.client import XapiClient
from reconciler.xapi.disks import ExportStream
from reconciler.xapi.errors import BadAnswer, OutcomeUnknown, StreamBroken
from reconciler.xapi.streams import Link, Piece
from reconciler.xapi.tasks import destroy_task, wait_for_task
from reconciler.xapi.transfers import Request, begin, failure_of, stop
from reconciler.xapi.wire import parse_task_result

COMPRESSIONS = {"None": "false", "Gzip": "true", "Zstd": "zstd"}
"""What the pool calls them. Hosts older than XenServer 8 know no zstd."""

_ENDLESS = 1 << 50


async def open_vm_export(
    client: XapiClient, vm: str, compression: str = "None", *, label: str = ""
) -> ExportStream:
    """Begin to export a VM or a snapshot (a reference) that does not run. Raises XapiError.

    compression: None, Gzip or Zstd. label: names the VM for people who look at the pool's tasks.
    """
    query = {"ref": vm, "use_compression": COMPRESSIONS[compression]}
    what = f"export of {label or vm}"
    link, task = await begin(client, Request("GET", "/export", query, ()), what)
    return ExportStream(client, link, task, what)


class ImportStream:
    """A VM on its way in. Write, then `finish`; left early as a context manager, it aborts.

    One task at a time uses it. A cancelled write has stopped the transfer when it returns.
    """

    def __init__(
        self, client: XapiClient, link: Link, task: str, what: str, length: int | None
    ) -> None:
        self._client = client
        self._link = link
        self._task = task
        self._what = what
        self._left = length
        self._over = False

    async def __aenter__(self) -> "ImportStream":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.abort()

    @property
    def task(self) -> str:
        """Its reference: while the import goes on it is among the new VM's operations."""
        return self._task

    async def write(self, piece: Piece) -> None:
        """Send the next bytes. Raises XapiFailure with the task's error, where it has one, else
        StreamBroken; ValueError for more than the length that was said."""
        if self._left is not None:
            self._left -= memoryview(piece).nbytes
            if self._left < 0:
                raise ValueError("there is more to send than was announced")
        try:
            await self._link.write(piece)
        except StreamBroken as error:
            raise await failure_of(self._client, self._task) or error from error

    async def finish(self) -> tuple[str, ...]:
        """Say that this was all, and wait for the task's end; return the new VMs' references.

        Raises XapiFailure if the task failed, OutcomeUnknown if it is gone or does not end,
        ValueError for less than the length that was said.
        """
        if self._left is None:
            await self._link.end()
        elif self._left:
            raise ValueError(f"{self._left} bytes less than announced were there to send")
        try:
            async with asyncio.timeout(self._client.deadlines.finish_s):
                task = await wait_for_task(self._client, self._task, self._what)
        except TimeoutError:
            raise OutcomeUnknown(self._what, "its task does not end") from None
        made = parse_task_result(task.result)
        self._over = True
        self._link.close()
        await destroy_task(self._client, self._task)
        match made:
            case [*refs] if refs and all(isinstance(ref, str) for ref in refs):
                return tuple(map(str, refs))
        raise BadAnswer(f"{self._what}: the task's result names no VM")

    async def abort(self) -> None:
        """Stop the transfer, from any state, more than once if need be; bounded."""
        if not self._over:
            self._over = True
            await stop(self._client, self._link, self._task)


async def open_vm_import(
    client: XapiClient, sr: str, *, length: int | None = None, label: str = ""
) -> ImportStream:
    """Begin to import a VM as a new one (with uuids of its own) onto a storage repository.

    sr: a reference. length: bytes that will come, None if that is not known. Raises XapiError.
    """
    what = f"import of {label or 'a VM'}"
    query = {"sr_id": sr, "restore": "false", "force": "false"}
    headers = (("content-length", str(_ENDLESS if length is None else length)),)
    link, task = await begin(client, Request("PUT", "/import", query, headers), what)
    return ImportStream(client, link, task, what, length)
