"""Where an HTTP body ends: at the connection's close, after a length, or after the last chunk.

Sans-IO: each framing asks a `Feed` for bytes and says how many of them are the body's. XAPI closes
the connection at the end of a disk; proxies in between may say it otherwise.
"""

import re
from collections.abc import Callable
from typing import Protocol

from reconciler.xapi.errors import StreamBroken

ReadInto = Callable[[memoryview], int]
"""Fill at most the whole view; return the count, 0 only at the end."""

_HEXADECIMAL = re.compile(rb"[0-9a-fA-F]{1,15}")
_CHUNK_LINE_MAX = 4096
_TRAILER_LINES_MAX = 64


class Framing(Protocol):
    def read_into(self, view: memoryview, feed: ReadInto) -> int:
        """Fill some of the view with the body's bytes; 0 once the body has ended as it should.

        Raises StreamBroken if what frames the body is malformed or ends too early."""


class UntilClose:
    """The body is all that comes. Whether it was whole, only its sender knows."""

    def read_into(self, view: memoryview, feed: ReadInto) -> int:
        return feed(view)


class Length:
    """The body has so many bytes."""

    def __init__(self, count: int) -> None:
        self._left = count

    def read_into(self, view: memoryview, feed: ReadInto) -> int:
        if self._left == 0:
            return 0
        count = feed(view[: self._left])
        if count == 0:
            raise StreamBroken(f"the connection closed with {self._left} bytes of the body to come")
        self._left -= count
        return count


class Chunked:
    """The body comes in chunks, each behind its size in hexadecimal; the last one is empty."""

    def __init__(self) -> None:
        self._left = 0
        self._begun = False
        self._ended = False

    def read_into(self, view: memoryview, feed: ReadInto) -> int:
        if self._left == 0 and not self._ended:
            self._next_chunk(feed)
        if self._ended:
            return 0
        count = feed(view[: self._left])
        if count == 0:
            raise StreamBroken("the connection closed within a chunk")
        self._left -= count
        return count

    def _next_chunk(self, feed: ReadInto) -> None:
        if self._begun and _line(feed) != b"":
            raise StreamBroken("a chunk is longer than it says")
        self._begun = True
        digits = _line(feed).partition(b";")[0].strip()
        try:
            self._left = _parse_hexadecimal(digits)
        except ValueError as error:
            raise StreamBroken("a chunk has no size") from error
        if self._left == 0:
            for _ in range(_TRAILER_LINES_MAX):
                if _line(feed) == b"":
                    break
            else:
                raise StreamBroken("too many trailers after the last chunk")
            self._ended = True


class Unread:
    """Bytes that were looked at before their time come first, then the rest."""

    def __init__(self, seen: bytes, rest: Framing) -> None:
        self._seen = seen
        self._rest = rest

    def read_into(self, view: memoryview, feed: ReadInto) -> int:
        if not self._seen:
            return self._rest.read_into(view, feed)
        count = min(len(view), len(self._seen))
        view[:count] = self._seen[:count]
        self._seen = self._seen[count:]
        return count


def _parse_hexadecimal(digits: bytes) -> int:
    if not _HEXADECIMAL.fullmatch(digits):
        raise ValueError
    return int(digits, 16)


def _line(feed: ReadInto) -> bytes:
    """Read a line, without its end. Byte by byte: the feed has them buffered."""
    line = bytearray()
    letter = bytearray(1)
    while len(line) < _CHUNK_LINE_MAX:
        if feed(memoryview(letter)) == 0:
            raise StreamBroken("the connection closed between two chunks")
        if letter == b"\n":
            return bytes(line.removesuffix(b"\r"))
        line += letter
    raise StreamBroken("a chunk's head has no end")
