"""A small HTTP server for programs that watch: one request per connection, all of it bounded.

h11 speaks the protocol, asyncio moves the bytes. Nobody is trusted: a client that is slow to ask
is cut off, and gives way before that when others want in; one that is slow to read is cut off, too,
and holds no more of an answer than the kernel has taken. An answer comes from the event loop that
works for the backups, so that one that comes is in itself a sign of life.
"""

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET, socket

import h11
import structlog

log = structlog.get_logger(__name__)

CONNECTIONS_MAX = 64
REQUEST_S = 5.0
ANSWER_S = 30.0
_HEAD_BYTES_MAX = 16 * 1024
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. headers: by name in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """Serves until cancelled. answer: never called for anything but GET and HEAD."""

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Answer]],
        *,
        connections_max: int = CONNECTIONS_MAX,
        request_s: float = REQUEST_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._answer = answer
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
        writer.transport.set_write_buffer_limits(high=0)  # `drain` waits until all is taken
        is_done = False
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES_MAX)
        try:
            async with asyncio.timeout(self._request_s):
                request = await _request(connection, reader)
            if request is not None:
                task = asyncio.current_task()
                assert task is not None
                self._asking.pop(task, None)
                self._answering.add(task)
                async with asyncio.timeout(self._answer_s):
                    await _send(connection, writer, request, await self._answered(request))
            is_done = True
        except h11.RemoteProtocolError as error:
            is_done = await self._refuse(connection, writer, error)
        except (TimeoutError, OSError):
            pass  # a client that is too slow, or gone
        finally:
            _close(writer, at_once=not is_done)

    async def _answered(self, request: Request) -> Answer:
        if request.method not in {"GET", "HEAD"}:
            return Answer(405, b"only GET\n", "text/plain", {"Allow": "GET, HEAD"})
        try:
            return await self._answer(request)
        except Exception:
            log.exception("request not answered", path=request.path)
            return Answer(500, b"internal error; the log has it\n", "text/plain")

    async def _refuse(
        self,
        connection: h11.Connection,
        writer: asyncio.StreamWriter,
        error: h11.RemoteProtocolError,
    ) -> bool:
        if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return False
        answer = Answer(error.error_status_hint, b"this is no request\n", "text/plain")
        try:
            async with asyncio.timeout(self._request_s):
                await _send(connection, writer, None, answer)
        except (TimeoutError, OSError):
            return False
        return True


_NO_LINGER = struct.pack("ii", 1, 0)


def _close(writer: asyncio.StreamWriter, *, at_once: bool) -> None:
    """Close a connection. at_once: the kernel, too, forgets what it was to send."""
    if at_once and (sock := writer.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(SOL_SOCKET, SO_LINGER, _NO_LINGER)
    writer.transport.abort()  # of ours, nothing is left to send


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    """Read the head of a request; None if the client ends without one."""
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await reader.read(_HEAD_BYTES_MAX))
            case h11.Request():
                return Request(
                    method=event.method.decode("ascii"),
                    path=event.target.decode("ascii").partition("?")[0],
                    headers={
                        name.decode("ascii"): value.decode("latin-1")
                        for name, value in event.headers
                    },
                )
            case _:
                return None


async def _send(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    request: Request | None,
    answer: Answer,
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
    writer.write(connection.send(response) or b"")
    body = b"" if request is not None and request.method == "HEAD" else answer.body
    for at in range(0, len(body), _PIECE_BYTES):
        writer.write(connection.send(h11.Data(data=body[at : at + _PIECE_BYTES])) or b"")
        await writer.drain()
    connection.send(h11.EndOfMessage())
    await writer.drain()
