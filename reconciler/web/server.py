"""A small HTTP server for programs: one request per connection, all of it bounded.

h11 speaks the protocol, asyncio moves the bytes. Nobody is trusted: a client that is slow to ask
is cut off, and gives way before that when others want in; one that is slow to read is cut off, too,
and holds no more of an answer than the kernel has taken. An answer comes from the event loop that
works for the backups, so that one that comes is in itself a sign of life.
"""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET, socket

import h11
import structlog

from reconciler.web.streams import Clear, Secured, Stream

log = structlog.get_logger(__name__)

CONNECTIONS_MAX = 64
REQUEST_S = 5.0
ANSWER_S = 30.0
_HEAD_BYTES_MAX = 16 * 1024
_PIECE_BYTES = 64 * 1024

READS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. headers: by name in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str
    headers: dict[str, str] = field(default_factory=dict)


class _TooLarge(Exception):
    pass


class Server:
    """Serves until cancelled.

    methods: `answer` is never called for others. body_bytes_max: of a request. tls: what the next
    connection is secured with, None if there is nothing yet; without it, all is in clear.
    """

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Answer]],
        *,
        methods: tuple[str, ...] = READS,
        body_bytes_max: int = 0,
        tls: Callable[[], ssl.SSLContext | None] | None = None,
        connections_max: int = CONNECTIONS_MAX,
        request_s: float = REQUEST_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._answer = answer
        self._methods = methods
        self._body_bytes_max = body_bytes_max
        self._tls = tls
        self._connections_max = connections_max
        self._request_s = request_s
        self._answer_s = answer_s
        self._asking: dict[asyncio.Task[None], None] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def serve(self, bound: socket) -> None:
        """Answer on a bound socket, for ever; closes it."""
        async with asyncio.TaskGroup() as group:

            def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                if len(self._asking) + len(self._answering) >= self._connections_max:
                    if not self._asking:
                        _close(writer, at_once=True)
                        return
                    oldest = next(iter(self._asking))
                    del self._asking[oldest]
                    oldest.cancel()
                task = group.create_task(self._connection(reader, writer), name="web connection")
                self._asking[task] = None
                task.add_done_callback(self._gone)

            server = await asyncio.start_server(connected, sock=bound, limit=_HEAD_BYTES_MAX)
            try:
                await asyncio.Event().wait()
            finally:
                server.close()  # the group ends the connections

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._asking.pop(task, None)
        self._answering.discard(task)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its request to its end. Lets only a cancel out."""
        is_done = False
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES_MAX)
        try:
            stream = self._secured(Clear(reader, writer))
            if stream is not None:
                is_done = await self._exchange(connection, stream)
        except (TimeoutError, OSError):
            pass  # a client that is too slow, or gone
        finally:
            _close(writer, at_once=not is_done)

    def _secured(self, stream: Stream) -> Stream | None:
        """Return what to speak through; None while there is no certificate."""
        if self._tls is None:
            return stream
        context = self._tls()
        return None if context is None else Secured(context, stream)

    async def _exchange(self, connection: h11.Connection, stream: Stream) -> bool:
        """Hear a request and answer it; say whether all was said that there was to say."""
        try:
            async with asyncio.timeout(self._request_s):
                request = await _request(connection, stream, self._body_bytes_max)
        except h11.RemoteProtocolError as error:
            return await self._refuse(
                connection, stream, error.error_status_hint, b"this is no request\n"
            )
        except _TooLarge:
            said = f"more than {self._body_bytes_max} bytes\n".encode()
            return await self._refuse(connection, stream, 413, said)
        if request is None:
            return True
        task = asyncio.current_task()
        assert task is not None
        self._asking.pop(task, None)
        self._answering.add(task)
        async with asyncio.timeout(self._answer_s):
            answer = await self._answered(request)
            await _send(connection, stream, answer, bodiless=request.method == "HEAD")
        return True

    async def _answered(self, request: Request) -> Answer:
        if request.method not in self._methods:
            allowed = ", ".join(self._methods)
            return Answer(405, f"only {allowed}\n".encode(), "text/plain", {"Allow": allowed})
        try:
            return await self._answer(request)
        except Exception:
            log.exception("request not answered", path=request.path)
            return Answer(500, b"internal error; the log has it\n", "text/plain")

    async def _refuse(
        self, connection: h11.Connection, stream: Stream, status: int, said: bytes
    ) -> bool:
        if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return False
        async with asyncio.timeout(self._request_s):
            await _send(connection, stream, Answer(status, said, "text/plain"))
        return True


_NO_LINGER = struct.pack("ii", 1, 0)


def _close(writer: asyncio.StreamWriter, *, at_once: bool) -> None:
    """Close a connection. at_once: the kernel, too, forgets what it was to send."""
    if at_once and (sock := writer.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(SOL_SOCKET, SO_LINGER, _NO_LINGER)
    writer.transport.abort()  # of ours, nothing is left to send


async def _request(
    connection: h11.Connection, stream: Stream, body_bytes_max: int
) -> Request | None:
    """Read a request; None if the client ends without one. Raises _TooLarge."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    await stream.send(connection.send(go_on) or b"")
                connection.receive_data(await stream.read())
            case h11.Request():
                head = event
                if not body_bytes_max:
                    return _request_of(head)
                if _said_length(head) > body_bytes_max:
                    raise _TooLarge
            case h11.Data() if len(body) + len(event.data) <= body_bytes_max:
                body += event.data
            case h11.Data():
                raise _TooLarge
            case h11.EndOfMessage() if head is not None:
                return _request_of(head, bytes(body))
            case _:
                return None


def _request_of(head: h11.Request, body: bytes = b"") -> Request:
    return Request(
        method=head.method.decode("ascii"),
        path=head.target.decode("ascii").partition("?")[0],
        headers={name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
        body=body,
    )


def _said_length(head: h11.Request) -> int:
    """What the client says that it will send; h11 has checked that it is a number."""
    return int(next((value for name, value in head.headers if name == b"content-length"), b"0"))


async def _send(
    connection: h11.Connection, stream: Stream, answer: Answer, *, bodiless: bool = False
) -> None:
    headers = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **answer.headers,
    }
    response = h11.Response(status_code=answer.status, headers=list(headers.items()))
    pieces = [connection.send(response) or b""]
    body = b"" if bodiless else answer.body
    for at in range(0, len(body), _PIECE_BYTES):
        pieces.append(connection.send(h11.Data(data=body[at : at + _PIECE_BYTES])) or b"")
        await stream.send(b"".join(pieces))
        pieces.clear()
    connection.send(h11.EndOfMessage())
    await stream.send(b"".join(pieces))
    await stream.end()
