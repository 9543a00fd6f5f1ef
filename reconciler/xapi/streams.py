"""One HTTP/1.1 exchange on a connection of its own: the road of the data plane.

Disks are read by blocking system calls on threads, because that is several times cheaper than any
event loop: a plain socket fills a whole 2 MiB block in one `recv` (MSG_WAITALL), with the kernel's
own timer (SO_RCVTIMEO) as the stall deadline. TLS sockets are read record by record into the same
buffers.

```
open ── connect (event loop) ── handshake (thread)
exchange ── request out, response head in, leftover bytes kept
read_exactly · write · expect_end
cut (from anywhere: whatever blocks returns) · close
```

One task at a time uses a link. Every method that waits can be cancelled: the link is cut, and when
the method has returned, nothing touches its buffers any more.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import h11

from reconciler.xapi.deadlines import Deadlines
from reconciler.xapi.endpoint import Endpoint
from reconciler.xapi.errors import (
    StreamBroken,
    StreamStalled,
    StreamTruncated,
    Unreachable,
    Untrusted,
    redact,
)
from reconciler.xapi.framing import Chunked, Framing, Length, Unread, UntilClose
from reconciler.xapi.threads import Cuttable, Threads

HEAD_MAX = 64 * 1024
_BUFFER = 64 * 1024
ERROR_TEXT_MAX = 16 * 1024
_TLS_END_S = 0.5
Piece = bytes | bytearray | memoryview
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """A response's head. headers: names in lower case."""

    status: int
    reason: str
    headers: dict[str, str]


class Link(Cuttable):
    """One connection, one exchange."""

    def __init__(
        self, connection: socket.socket, threads: Threads, deadlines: Deadlines, endpoint: Endpoint
    ) -> None:
        self._socket = connection
        self._threads = threads
        self._deadlines = deadlines
        self._endpoint = endpoint
        self._buffer = memoryview(b"")
        self._framing: Framing = UntilClose()
        self._whole_reads = not isinstance(connection, ssl.SSLSocket)
        self._running = 0
        self._closed = False
        self.received_bytes = 0

    @staticmethod
    async def open(
        endpoint: Endpoint, context: ssl.SSLContext, threads: Threads, deadlines: Deadlines
    ) -> "Link":
        """Connect. Raises Unreachable or Untrusted."""
        connection = await _connect(endpoint, deadlines.connect_s)
        try:
            if endpoint.tls:
                connection = context.wrap_socket(
                    connection, server_hostname=endpoint.host, do_handshake_on_connect=False
                )
            link = Link(connection, threads, deadlines, endpoint)
            if endpoint.tls:
                await link._run(link._shake_hands)
        except BaseException:
            connection.close()
            raise
        return link

    async def exchange(self, method: str, target: str, headers: Sequence[tuple[str, str]]) -> Head:
        """Send a request's head and read the response's. Raises StreamBroken.

        A body, if the request has one, follows by `write`, after the response's head: XAPI
        answers before it reads.
        """
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
        request = parser.send(
            h11.Request(
                method=method,
                target=target,
                headers=[("host", self._endpoint.authority), *headers],
            )
        )
        assert request is not None, "h11 renders every request"
        return await self._run(lambda: self._exchange(parser, bytes(request)))

    async def read_exactly(self, view: memoryview) -> None:
        """Fill the view with the next bytes of the body. Raises StreamBroken."""
        await self._run(lambda: self._read_exactly(view))

    async def read_up_to(self, view: memoryview) -> int:
        """Fill the view, or as much of it as comes before the body's end; return how much.

        Raises StreamBroken."""
        return await self._run(lambda: self._read_into(view))

    async def peek(self, count: int) -> bytes:
        """Look at the first bytes of the body without taking them; fewer if it has fewer."""
        return await self._run(lambda: self._peek(count))

    async def read_text(self, count_max: int = ERROR_TEXT_MAX) -> str:
        """Read what is left of the body, clipped, as text for a person. Never raises for it."""
        return await self._run(lambda: self._read_text(count_max))

    async def expect_end(self) -> None:
        """Wait for the body's end. Raises StreamBroken if there is more of it."""
        await self._run(self._expect_end)

    async def write(self, piece: Piece) -> None:
        """Send all of the piece. Raises StreamBroken."""
        await self._run(lambda: self._write(piece))

    async def end(self) -> None:
        """Say that nothing more will be written, by closing this direction. Never raises."""
        await self._run(self._end)

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            # not SSLSocket.shutdown, which would take the TLS state from under a reading thread
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut, and let go of the connection once no method is running."""
        self._closed = True
        self.cut()
        self._let_go()

    def _let_go(self) -> None:
        # never under a running thread: the system could give the number to somebody else's file
        if self._closed and not self._running:
            with contextlib.suppress(OSError):
                self._socket.close()

    async def _run(self, call: Callable[[], T]) -> T:
        self._running += 1
        try:
            return await self._threads.run(self, call)
        finally:
            self._running -= 1
            self._let_go()

    # -- on a thread --------------------------------------------------------------------------

    def _shake_hands(self) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)
        self._socket.settimeout(self._deadlines.connect_s)
        try:
            self._socket.do_handshake()
        except ssl.SSLCertVerificationError as error:
            why = error.verify_message or str(error)
            raise Untrusted(f"{self._endpoint.url}: {why}") from error
        except OSError as error:
            raise Unreachable(f"{self._endpoint.url}: {error or 'no TLS'}") from error

    def _set_deadline(self, seconds: float) -> None:
        if self._whole_reads:
            self._socket.settimeout(None)
            timer = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timer)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timer)
        else:
            self._socket.settimeout(seconds)

    def _exchange(self, parser: h11.Connection, request: bytes) -> Head:
        self._set_deadline(self._deadlines.first_byte_s)
        self._write(request)
        while True:
            try:
                parser.receive_data(self._read_head())
                event = parser.next_event()
            except h11.RemoteProtocolError as error:
                raise StreamBroken(f"{self._endpoint.url}: no HTTP answer: {error}") from error
            match event:
                case h11.InformationalResponse():
                    continue
                case h11.Response():
                    head = _head(event)
                    self._framing = _framing(head)
                    return head
                case _:
                    raise StreamBroken(f"{self._endpoint.url}: no HTTP answer")

    def _read_head(self) -> bytes:
        """Read up to and with the empty line; what came after it stays in the buffer."""
        head = bytearray()
        while (end := head.find(b"\r\n\r\n")) < 0:
            if len(head) > HEAD_MAX:
                raise StreamBroken(f"{self._endpoint.url}: the answer's head has no end")
            self._fill_buffer()
            if not self._buffer:
                raise StreamBroken(f"{self._endpoint.url}: closed before it answered")
            head += self._buffer
            self._buffer = memoryview(b"")
        self._buffer = memoryview(bytes(head[end + 4 :]))
        return bytes(head[: end + 4])

    def _fill_buffer(self) -> None:
        """Take what has come, waiting for at least a byte; empty only at the end."""
        if not self._buffer:
            space = bytearray(_BUFFER)
            count = self._receive(memoryview(space), 0)
            self._buffer = memoryview(space)[:count].toreadonly()

    def _feed(self, view: memoryview) -> int:
        """The connection's bytes, buffered ones first; large views are filled straight."""
        if not self._buffer:
            if len(view) >= _BUFFER:
                return self._receive(view, socket.MSG_WAITALL)
            self._fill_buffer()
        count = min(len(self._buffer), len(view))
        view[:count] = self._buffer[:count]
        self._buffer = self._buffer[count:]
        return count

    def _receive(self, view: memoryview, flags: int) -> int:
        try:
            if self._whole_reads:
                return self._socket.recv_into(view, len(view), flags)
            return self._socket.recv_into(view)
        except (BlockingIOError, TimeoutError) as error:
            raise StreamStalled(
                f"{self._endpoint.url}: no byte for too long, after {self.received_bytes}"
            ) from error
        except (OSError, ValueError) as error:
            raise StreamBroken(f"{self._endpoint.url}: {error}") from error

    def _read_exactly(self, view: memoryview) -> None:
        if (done := self._read_into(view)) < len(view):
            raise StreamTruncated(len(view), done)

    def _read_into(self, view: memoryview) -> int:
        done = 0
        while done < len(view):
            count = self._framing.read_into(view[done:], self._feed)
            if count == 0:
                break
            if self.received_bytes == 0:
                self._set_deadline(self._deadlines.stall_s)
            done += count
            self.received_bytes += count
        return done

    def _peek(self, count: int) -> bytes:
        seen = self._read_up_to(count)
        self._framing = Unread(seen, self._framing)
        return seen

    def _read_text(self, count_max: int) -> str:
        text = bytearray()
        with contextlib.suppress(StreamBroken):
            self._set_deadline(self._deadlines.connect_s)
            while len(text) < count_max and (more := self._read_up_to(1024)):
                text += more
        return redact(text.decode("utf-8", "replace").strip())

    def _read_up_to(self, count: int) -> bytes:
        seen = bytearray(count)
        got = 0
        while got < count:
            step = self._framing.read_into(memoryview(seen)[got:], self._feed)
            if step == 0:
                break
            got += step
        return bytes(seen[:got])

    def _expect_end(self) -> None:
        self._set_deadline(self._deadlines.finish_s)
        more = bytearray(1)
        if self._framing.read_into(memoryview(more), self._feed):
            raise StreamBroken("the stream goes on after its end")

    def _write(self, piece: Piece) -> None:
        try:
            self._socket.sendall(piece)
        except (BlockingIOError, TimeoutError) as error:
            raise StreamStalled(f"{self._endpoint.url}: takes no byte for too long") from error
        except (OSError, ValueError) as error:
            raise StreamBroken(f"{self._endpoint.url}: {error}") from error

    def _end(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self._socket, ssl.SSLSocket):
                # Sends TLS's own end, then waits for the other side's, which is still listening.
                self._socket.settimeout(_TLS_END_S)
                self._socket.unwrap()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_WR)


def _head(event: h11.Response) -> Head:
    headers = {
        bytes(name).decode("ascii"): bytes(value).decode("latin-1") for name, value in event.headers
    }
    return Head(event.status_code, bytes(event.reason).decode("latin-1"), headers)


def _framing(head: Head) -> Framing:
    if head.headers.get("transfer-encoding", "").lower() == "chunked":
        return Chunked()
    if (length := head.headers.get("content-length")) is not None:
        return Length(int(length))
    return UntilClose()


async def _connect(endpoint: Endpoint, connect_s: float) -> socket.socket:
    """Connect to the first address that answers. The socket comes back blocking."""
    loop = asyncio.get_running_loop()
    why: BaseException = OSError("no address")
    try:
        async with asyncio.timeout(connect_s):
            found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
            for family, kind, protocol, _, address in found:
                connection = socket.socket(family, kind, protocol)
                try:
                    connection.setblocking(False)
                    await loop.sock_connect(connection, address)
                    connection.setblocking(True)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    return connection
                except OSError as error:
                    connection.close()
                    why = error
                except BaseException:
                    connection.close()
                    raise
    except TimeoutError:
        raise Unreachable(f"{endpoint.url}: no connection in time") from None
    except OSError as error:
        why = error
    raise Unreachable(f"{endpoint.url}: {why}") from why
