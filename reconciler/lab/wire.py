"""One connection: buffered reading, sending from memory or straight from files, and its limits.

Sending a file is `sendfile` on a plain socket and a read into one reused buffer under TLS. A
connection can be told to end after n more bytes (a fault), to keep a pace, and to tell what it
moves.
"""

import contextlib
import ctypes
import os
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Protocol

from reconciler.lab.faults import Dropped

_BUFFER = 1 << 20
# sendfile is asked for at most this much, so that a fault is exact enough.
_PIECE = 4 << 20
# What may be on its way: with the kernel's own megabytes, all of a small disk would count as sent
# to a client that only looks at the table and goes.
_ON_THE_WAY = 128 << 10
_FAREWELL_S = 0.2
_SOCKADDR_BYTES = 16
_LIBC = ctypes.CDLL(None)


class Pace(Protocol):
    """How fast a connection sends."""

    def piece(self, count_max: int) -> int:
        """How much may be sent in one go now, at least a byte."""
        ...

    def sent(self, count: int) -> None:
        """Wait until what was sent has taken its time."""
        ...


class Closed(Exception):
    """The peer closed the connection."""


class Connection:
    """A socket with a read buffer. Not for several threads, except `abort`."""

    def __init__(self, sock: socket.socket, stall_s: float) -> None:
        self.socket = sock
        self.tls = isinstance(sock, ssl.SSLSocket)
        self._stall_s = stall_s
        self._buffer = b""
        self._scratch: memoryview | None = None
        self._drop_at: int | None = None  # how many bytes sent and read
        self._drop_reset = False
        self.on_drop: Callable[[], None] = lambda: None
        self.pacer: Pace | None = None
        self.meter: Callable[[int], None] | None = None  # told of bytes sent and of bodies read
        self.sent = 0
        self.read = 0  # of bodies
        if not self.tls:
            # A blocking socket with kernel deadlines: sendfile stays one system call, where
            # Python's own timeout would make the socket non-blocking.
            sock.settimeout(None)
            deadline = struct.pack("ll", int(stall_s), 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, deadline)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, deadline)
        else:
            sock.settimeout(stall_s)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ON_THE_WAY)

    # -- reading ----------------------------------------------------------------------------------

    def read_head(self, limit: int) -> bytes:
        """Up to and with the empty line that ends a head; b"" at a clean end before it.

        Raises:
            ValueError: longer than `limit`.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > limit:
                raise ValueError("head too long")
            piece = self.socket.recv(65536)
            if not piece:
                if self._buffer.strip():
                    raise Closed
                return b""
            self._buffer += piece
        head, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :]
        return head

    def read_some(self, view: memoryview) -> int:
        """Fill some of the view; 0 at the end."""
        if self._buffer:
            count = min(len(view), len(self._buffer))
            view[:count] = self._buffer[:count]
            self._buffer = self._buffer[count:]
        else:
            count = self.socket.recv_into(view)
        self._took(count)
        return count

    def read_exactly(self, view: memoryview) -> None:
        """Fill the whole view.

        Raises:
            Closed: when the peer ends before.
        """
        while view:
            if self._buffer or self.tls:
                count = self.read_some(view)
            else:
                # The kernel gathers everything in one call.
                count = self.socket.recv_into(view, len(view), socket.MSG_WAITALL)
                self._took(count)
            if count == 0:
                raise Closed
            view = view[count:]

    def _took(self, count: int) -> None:
        self.read += count
        self._tell(count)
        if self._drop_at is not None and self.sent + self.read >= self._drop_at:
            self._drop()

    def _tell(self, count: int) -> None:
        if self.meter is not None:
            self.meter(count)

    # -- sending ----------------------------------------------------------------------------------

    def drop_after(self, count: int, *, reset: bool) -> None:
        """End the connection once `count` more bytes are sent, or read of a body."""
        self._drop_at = self.sent + self.read + count
        self._drop_reset = reset

    def _allowed(self, count: int) -> int:
        """How much of `count` may go now; the rest never will if this is less."""
        if self._drop_at is None:
            return count
        return min(count, self._drop_at - self.sent - self.read)

    def _drop(self) -> None:
        self.on_drop()
        raise Dropped(self._drop_reset)

    def send(self, data: bytes | memoryview, *, more: bool = False) -> None:
        """Send all of it; `more` lets the kernel join it with what follows."""
        view = memoryview(data)
        allowed = self._allowed(len(view))
        flags = socket.MSG_MORE if more and not self.tls else 0
        if allowed:
            if self.tls:
                self.socket.sendall(view[:allowed])
            else:
                self.socket.sendall(view[:allowed], flags)
            self._account(allowed)
        if allowed < len(view):
            self._drop()

    def send_file(self, descriptor: int, offset: int, count: int) -> None:
        """Send a range of a file; the file must be long enough."""
        while count:
            wanted = min(count, _PIECE)
            piece = self._allowed(wanted if self.pacer is None else self.pacer.piece(wanted))
            if piece == 0:
                self._drop()
            done = (
                self._send_copied(descriptor, offset, piece)
                if self.tls
                else os.sendfile(self.socket.fileno(), descriptor, offset, piece)
            )
            if done == 0:
                raise OSError("the file ended before its length")
            self._account(done)
            offset += done
            count -= done

    def _account(self, count: int) -> None:
        self.sent += count
        self._tell(count)
        if self.pacer is not None:
            self.pacer.sent(count)

    def _send_copied(self, descriptor: int, offset: int, count: int) -> int:
        if self._scratch is None:
            self._scratch = memoryview(bytearray(_BUFFER))
        got = os.preadv(descriptor, [self._scratch[: min(count, _BUFFER)]], offset)
        self.socket.sendall(self._scratch[:got])
        return got

    # -- ends -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Everything sent arrives, then the end."""
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self.socket, ssl.SSLSocket):
                # Our close_notify tells the client that nothing is missing; its own may never come.
                self.socket.settimeout(_FAREWELL_S)
                self.socket.unwrap()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        self._drain()
        self.socket.close()

    def _drain(self) -> None:
        """Take what the peer still sends for a moment: closing over it would reset the rest."""
        with contextlib.suppress(OSError):
            self.socket.settimeout(_FAREWELL_S)
            while self.socket.recv(65536):
                pass

    def abort(self) -> None:
        """Reset, as when a process dies; may be called from any thread.

        Connecting to nowhere (AF_UNSPEC) is how Linux resets a connection at once and wakes the
        threads that wait in it; `shutdown` would say a polite goodbye first.
        """
        with contextlib.suppress(OSError):
            _LIBC.connect(self.socket.fileno(), bytes(_SOCKADDR_BYTES), _SOCKADDR_BYTES)
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
