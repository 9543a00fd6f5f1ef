"""Archives are compressed as a whole or not at all; which way, their first bytes say.

Unpacking goes in steps of a bounded size whatever the ratio, and ends where the compressed stream
says that it ends: a stream that was cut off, or that is followed by something else, is found out.
"""

import sys
import zlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

from reconciler.xva.errors import XvaCorrupt, XvaTruncated

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC_BYTES = 4
STEP = 1 << 20
"""Most that one step unpacks, bytes."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SLICE = 64 * 1024
_WINDOW_LOG_MAX = 27  # 128 MiB, the most that the zstd program unpacks without being asked to
_GZIP = 16 + zlib.MAX_WBITS

Piece = bytes | bytearray | memoryview


class Compression(StrEnum):
    NONE = "None"
    GZIP = "Gzip"
    ZSTD = "Zstd"


def detect(start: bytes) -> Compression:
    """Tell from the first `MAGIC_BYTES` bytes."""
    if start.startswith(_GZIP_MAGIC):
        return Compression.GZIP
    return Compression.ZSTD if start.startswith(_ZSTD_MAGIC) else Compression.NONE


class Unpacker(Protocol):
    def feed(self, piece: Piece) -> Iterator[Piece]:
        """Unpack a piece, in steps. Raises XvaCorrupt."""

    def finish(self) -> None:
        """Say that nothing follows. Raises XvaTruncated if the stream did not end."""


def unpacker(compression: Compression) -> Unpacker:
    match compression:
        case Compression.NONE:
            return _Plain()
        case Compression.GZIP:
            return _Gzip()
        case Compression.ZSTD:
            return _Zstd()


class _Plain:
    def feed(self, piece: Piece) -> Iterator[Piece]:
        yield piece

    def finish(self) -> None:
        pass


class _Gzip:
    """Several members one after the other are one stream."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(_GZIP)

    def feed(self, piece: Piece) -> Iterator[Piece]:
        for packed in _slices(piece):
            left: Piece = packed
            while len(left):
                if self._inflater.eof:
                    self._inflater = zlib.decompressobj(_GZIP)
                if unpacked := self._step(left):
                    yield unpacked
                left = self._inflater.unused_data or self._inflater.unconsumed_tail
            while not self._inflater.eof and (unpacked := self._step(b"")):
                yield unpacked  # what a full step had left inside

    def _step(self, packed: Piece) -> bytes:
        try:
            return self._inflater.decompress(packed, STEP)
        except zlib.error as error:
            raise XvaCorrupt(f"the gzip stream is damaged: {error}") from None

    def finish(self) -> None:
        if not self._inflater.eof:
            raise XvaTruncated("the gzip stream is cut off")


class _Zstd:
    """Several frames one after the other are one stream."""

    def __init__(self) -> None:
        self._frame = _new_frame()

    def feed(self, piece: Piece) -> Iterator[Piece]:
        for packed in _slices(piece):
            left: Piece = packed
            while len(left) or not (self._frame.eof or self._frame.needs_input):
                if self._frame.eof:
                    self._frame = _new_frame()
                try:
                    unpacked = self._frame.decompress(left, STEP)
                except zstd.ZstdError as error:
                    raise XvaCorrupt(f"the zstd stream is damaged: {error}") from None
                left = self._frame.unused_data if self._frame.eof else b""
                if unpacked:
                    yield unpacked

    def finish(self) -> None:
        if not self._frame.eof:
            raise XvaTruncated("the zstd stream is cut off")


def _new_frame() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}
    )


def _slices(piece: Piece) -> Iterator[memoryview]:
    """Small ones: what is left of one is copied at each step and at each end of a frame."""
    view = memoryview(piece)
    for start in range(0, len(view), _SLICE):
        yield view[start : start + _SLICE]
