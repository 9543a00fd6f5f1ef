"""Disks on the move: out of a pool as a VHD stream, and into one.

An export is a GET whose body is the disk and whose end is the connection's close; XAPI says "200
OK" before it has attached anything. So three things decide whether a stream was whole: its own
trailer (the reader's affair), nothing after it, and the status of the task that the transfer was
given. An error after the head stands *in the body* as the text of a second response; it is found
before a byte of it is taken for a disk.

A host that does not see the disk's storage redirects to one that does. Only hosts of this pool are
followed, never from https to http, and the session travels in a cookie, never in an address.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import quote

from reconciler.xapi.client import XapiClient
from reconciler.xapi.endpoint import Endpoint, parse_location
from reconciler.xapi.errors import (
    OutcomeUnknown,
    SessionLost,
    StreamBroken,
    StreamRefused,
    StreamStalled,
    Untrusted,
    XapiError,
    XapiFailure,
)
from reconciler.xapi.login import Session
from reconciler.xapi.streams import Head, Link, Piece
from reconciler.xapi.tasks import (
    cancel_task,
    create_task,
    destroy_task,
    wait_for_task,
)

_OK = 200
_UNAUTHORIZED = 401
_REDIRECTS_MAX = 4
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ANSWER_START = b"HTTP/"


class ExportStream:
    """One disk on its way out. Read, then `finish`; as a context manager it aborts if left early.

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
        try:
            if not self._looked:
                await self._look_at_start()
            await self._link.read_exactly(view)
        except StreamStalled:
            raise  # its task goes on and has nothing to say
        except StreamBroken as error:
            raise error.because(await _failure_of(self._client, self._task)) from None

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
        await _put_away(self._client, self._task)

    async def _look_at_start(self) -> None:
        start = await self._link.peek(len(_ANSWER_START))
        if start == _ANSWER_START:
            raise StreamRefused(200, _gist(await self._link.read_text()))
        self._looked = True


async def open_export(
    client: XapiClient, vdi: str, base: str | None = None, *, label: str = ""
) -> ExportStream:
    """Begin to export a disk as a VHD stream. vdi, base: references; base: make it a delta.

    label: names the disk for people who look at the pool's tasks. Raises XapiError.
    """
    query = {"format": "vhd", "vdi": vdi} | ({"base": base} if base else {})
    what = f"export of {label or vdi}"
    link, task = await _begin(client, _Request("GET", "/export_raw_vdi", query, ()), what)
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
    link, task = await _begin(client, _Request("PUT", "/import_raw_vdi", query, headers), what)
    try:
        await _send(link, length, pieces, on_sent)
        async with asyncio.timeout(client.deadlines.finish_s):
            await wait_for_task(client, task, what)
    except StreamBroken as error:
        failure = await _failure_of(client, task)
        await _stop(client, link, task)
        raise failure or error from error
    except BaseException as error:
        await _stop(client, link, task)
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


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    query: dict[str, str]
    headers: tuple[tuple[str, str], ...]

    def target(self, task: str) -> str:
        query = {**self.query, "task_id": task}
        pairs = (f"{name}={quote(value, safe=':')}" for name, value in query.items())
        return f"{self.path}?{'&'.join(pairs)}"


async def _begin(client: XapiClient, request: _Request, what: str) -> tuple[Link, str]:
    """Make a task and have the transfer accepted; once more if the session turns out to be over
    (its tasks are then gone with it). Returns the link and the task."""
    try:
        return await _begin_in(client, await client.session(), request, what)
    except SessionLost:
        return await _begin_in(client, await client.session(), request, what)


async def _begin_in(
    client: XapiClient, session: Session, request: _Request, what: str
) -> tuple[Link, str]:
    task = await create_task(client, f"[reconciler] {what}")
    link: Link | None = None
    try:
        link, head = await _ask(client, session, request, task)
        if head.status == _OK:
            return link, task
        refused = StreamRefused(head.status, _gist(await link.read_text()) or head.reason)
        raise refused.because(await _failure_of(client, task))
    except BaseException:
        await _stop(client, link, task)
        raise


async def _ask(
    client: XapiClient, session: Session, request: _Request, task: str
) -> tuple[Link, Head]:
    """Ask the master, then whoever it redirects to."""
    endpoint = session.endpoint
    headers = [("cookie", f"session_id={session.ref}"), *request.headers]
    for _ in range(_REDIRECTS_MAX):
        link = await _open(client, endpoint)
        try:
            head = await link.exchange(request.method, request.target(task), headers)
        except BaseException:
            link.close()
            raise
        if head.status == _UNAUTHORIZED:
            link.close()
            client.drop(session)
            raise SessionLost("the session of the transfer is over")
        if head.status not in _REDIRECTS:
            return link, head
        link.close()
        endpoint = await _next_host(client, endpoint, head)
    raise StreamRefused(head.status, f"redirected more than {_REDIRECTS_MAX} times")


async def _open(client: XapiClient, endpoint: Endpoint) -> Link:
    context = client.transport.context()
    try:
        return await Link.open(endpoint, context, client.threads, client.deadlines)
    except Untrusted:
        # its certificate may have been renewed since the master told us about it
        if endpoint == client.master or not await client.is_member(endpoint.host, afresh=True):
            raise
        return await Link.open(endpoint, context, client.threads, client.deadlines)


async def _next_host(client: XapiClient, here: Endpoint, head: Head) -> Endpoint:
    """Where a redirect leads, if it may be followed."""
    try:
        there = parse_location(head.headers.get("location", ""))
    except ValueError as error:
        raise StreamRefused(head.status, f"redirected to no host: {error}") from error
    if here.tls and not there.tls:
        raise StreamRefused(head.status, f"redirected from https to {there.url}: not followed")
    if not await client.is_member(there.host):
        raise StreamRefused(
            head.status, f"redirected to {there.url}, which is no host of this pool: not followed"
        )
    return there


async def _failure_of(client: XapiClient, task: str) -> XapiFailure | None:
    """What a task that failed says, if it says so soon."""
    try:
        async with asyncio.timeout(client.deadlines.reason_s):
            await wait_for_task(client, task, "")
    except XapiFailure as failure:
        return failure
    except (XapiError, TimeoutError):
        return None
    return None


async def _stop(client: XapiClient, link: Link | None, task: str) -> None:
    if link is not None:
        link.close()
    await _put_away(client, task)


async def _put_away(client: XapiClient, task: str) -> None:
    """Get rid of a task whose transfer was stopped. It fails by itself soon after the socket went;
    until then it is marked to be destroyed when it does."""
    await cancel_task(client, task)
    await destroy_task(client, task)


def _gist(text: str) -> str:
    """The readable part of an HTML error page."""
    body = text.partition("<body")[2] or text
    words = " ".join(part.rpartition(">")[2] for part in body.split("<"))
    return " ".join(words.split())
