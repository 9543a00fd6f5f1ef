"""Streams that are compressed as a whole: gzip here, zstd by its own program where there is one."""

import contextlib
import shutil
import subprocess
import threading
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol, cast

_PIECE = 256 << 10
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"

Send = Callable[[bytes | memoryview], None]


class Sink(Protocol):
    """Takes bytes, and at last a `finish`; `abandon` frees what it holds without one."""

    def write(self, data: bytes | memoryview) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...


def has_zstd() -> bool:
    return shutil.which("zstd") is not None


class PlainSink:
    def __init__(self, send: Send) -> None:
        self._send = send

    def write(self, data: bytes | memoryview) -> None:
        self._send(data)

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class GzipSink:
    def __init__(self, send: Send) -> None:
        self._send = send
        self._compressor = zlib.compressobj(1, wbits=31)

    def write(self, data: bytes | memoryview) -> None:
        compressed = self._compressor.compress(data)
        if compressed:
            self._send(compressed)

    def finish(self) -> None:
        self._send(self._compressor.flush())

    def abandon(self) -> None:
        pass


class ZstdSink:
    """A `zstd` process between; a thread carries its output on."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._failure: Exception | None = None
        self._process = subprocess.Popen(
            ["zstd", "-q", "-1", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._pump = threading.Thread(target=self._carry, daemon=True)
        self._pump.start()

    def _carry(self) -> None:
        output = cast(BinaryIO, self._process.stdout)
        try:
            while piece := output.read(_PIECE):
                self._send(piece)
        except Exception as error:  # whatever ends the transfer must end the writer's wait too
            self._failure = error
            self._process.kill()

    def write(self, data: bytes | memoryview) -> None:
        try:
            cast(BinaryIO, self._process.stdin).write(data)
        except OSError as error:
            raise (self._failure or error) from None

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            cast(BinaryIO, self._process.stdin).close()
        self._end()
        if self._failure is not None:
            raise self._failure

    def abandon(self) -> None:
        self._process.kill()
        with contextlib.suppress(OSError):
            cast(BinaryIO, self._process.stdin).close()
        self._end()

    def _end(self) -> None:
        self._pump.join()
        self._process.wait()
        cast(BinaryIO, self._process.stdout).close()


class Source:
    """Reads a stream that may be plain, gzip or zstd: `read(n)` gives n bytes unless it ends."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._ready = bytearray()
        self._ended = False
        self._process: subprocess.Popen[bytes] | None = None
        first = self._at_least(4)
        self._next: Callable[[], bytes]
        if first.startswith(GZIP_MAGIC):
            self._next = self._inflate(first)
        elif first == ZSTD_MAGIC:
            self._next = self._unzstd(first)
        else:
            self._ready += first
            self._next = lambda: receive(_PIECE)

    def _at_least(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (piece := self._receive(count - len(data))):
            data += piece
        return data

    def _inflate(self, first: bytes) -> Callable[[], bytes]:
        inflater = zlib.decompressobj(wbits=31)
        waiting = [first]

        def step() -> bytes:
            while not inflater.eof:
                data = waiting.pop() if waiting else inflater.unconsumed_tail
                data = data or self._receive(_PIECE)
                if not data:
                    return b""
                if produced := inflater.decompress(data, _PIECE):
                    return produced
            return b""

        return step

    def _unzstd(self, first: bytes) -> Callable[[], bytes]:
        process = subprocess.Popen(
            ["zstd", "-q", "-d", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._process = process

        def feed() -> None:
            target = cast(BinaryIO, process.stdin)
            with contextlib.suppress(OSError):
                target.write(first)
                while piece := self._receive(_PIECE):
                    target.write(piece)
            with contextlib.suppress(OSError):
                target.close()

        threading.Thread(target=feed, daemon=True).start()
        return lambda: cast(BinaryIO, process.stdout).read(_PIECE)

    def read(self, count: int) -> bytes:
        while len(self._ready) < count and not self._ended:
            piece = self._next()
            self._ended = not piece
            self._ready += piece
        taken = bytes(self._ready[:count])
        del self._ready[:count]
        return taken

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            cast(BinaryIO, self._process.stdout).close()
