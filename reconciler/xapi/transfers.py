"""Transfers over HTTP: what disks and whole VMs have in common on their way.

A transfer is given a task that we made, so that its end can be asked for. A host that does not see
the storage redirects to one that does. Only hosts of this pool are followed, never from https to
http, and the session travels in a cookie, never in an address.
"""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote

from reconciler.xapi.client import XapiClient
from reconciler.xapi.endpoint import Endpoint, parse_location
from reconciler.xapi.errors import (
    SessionLost,
    StreamRefused,
    Untrusted,
    XapiError,
    XapiFailure,
)
from reconciler.xapi.login import Session
from reconciler.xapi.streams import Head, Link
from reconciler.xapi.tasks import cancel_task, create_task, destroy_task, wait_for_task

_OK = 200
_UNAUTHORIZED = 401
_REDIRECTS_MAX = 4
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for; the task and the session come on top."""

    method: str
    path: str
    query: dict[str, str]
    headers: tuple[tuple[str, str], ...]

    def target(self, task: str) -> str:
        query = {**self.query, "task_id": task}
        pairs = (f"{name}={quote(value, safe=':')}" for name, value in query.items())
        return f"{self.path}?{'&'.join(pairs)}"


class Transfer:
    """One transfer under way; as a context manager it aborts if left early."""

    def __init__(self, client: XapiClient, link: Link, task: str, what: str) -> None:
        self._client = client
        self._link = link
        self._task = task
        self._what = what
        self._over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.abort()

    async def abort(self) -> None:
        """Stop the transfer, from any state, more than once if need be; bounded."""
        if not self._over:
            self._over = True
            await stop(self._client, self._link, self._task)


async def begin(client: XapiClient, request: Request, what: str) -> tuple[Link, str]:
    """Make a task and have the transfer accepted; once more if the session turns out to be over
    (its tasks are then gone with it). Returns the link and the task. Raises XapiError."""
    if request.method != "GET":
        client.expect_permit(what)
    try:
        return await _begin_in(client, await client.session(), request, what)
    except SessionLost:
        return await _begin_in(client, await client.session(), request, what)


async def _begin_in(
    client: XapiClient, session: Session, request: Request, what: str
) -> tuple[Link, str]:
    task = await create_task(client, f"[reconciler] {what}")
    link: Link | None = None
    try:
        link, head = await _ask(client, session, request, task)
        if head.status == _OK:
            return link, task
        refused = StreamRefused(head.status, gist(await link.read_text()) or head.reason)
        raise refused.because(await failure_of(client, task))
    except BaseException:
        await stop(client, link, task)
        raise


async def _ask(
    client: XapiClient, session: Session, request: Request, task: str
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


async def failure_of(client: XapiClient, task: str) -> XapiFailure | None:
    """What a task that failed says, if it says so soon."""
    try:
        async with asyncio.timeout(client.deadlines.reason_s):
            await wait_for_task(client, task, "")
    except XapiFailure as failure:
        return failure
    except (XapiError, TimeoutError):
        return None
    return None


async def stop(client: XapiClient, link: Link | None, task: str) -> None:
    """Cut the transfer and get rid of its task."""
    if link is not None:
        link.close()
    await put_away(client, task)


async def put_away(client: XapiClient, task: str) -> None:
    """Get rid of a task whose transfer was stopped. It fails by itself soon after the socket went;
    until then it is marked to be destroyed when it does."""
    await cancel_task(client, task)
    await destroy_task(client, task)


def gist(text: str) -> str:
    """The readable part of an HTML error page."""
    body = text.partition("<body")[2] or text
    words = " ".join(part.rpartition(">")[2] for part in body.split("<"))
    return " ".join(words.split())
