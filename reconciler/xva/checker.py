"""An archive as a pool sends it, compressed or not, checked from its first byte to its last."""

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.xva.compression import MAGIC_BYTES, Compression, Piece, Unpacker, detect, unpacker
from reconciler.xva.decoder import Event, Seen, XvaDecoder
from reconciler.xva.errors import XvaInvalid


@dataclass(frozen=True, slots=True)
class Checked:
    """An archive that was whole. stream_bytes: as it came, compressed or not."""

    compression: Compression
    stream_bytes: int
    seen: Seen


class XvaChecker:
    """Is fed an archive in pieces of any size. Raises XvaError; then it is of no more use.

    Unpacks in bounded steps and holds no more than the description, so hostile input costs no
    memory. It costs time: never feed it on an event loop.
    """

    def __init__(self) -> None:
        self._start = bytearray()
        self._compression: Compression | None = None
        self._unpacker: Unpacker | None = None
        self._decoder = XvaDecoder()
        self._stream_bytes = 0

    @property
    def compression(self) -> Compression | None:
        """What the first bytes say; None before there were enough of them."""
        return self._compression

    def feed(self, piece: Piece) -> None:
        """Check the next bytes of the stream."""
        for _ in self.events(piece):
            pass

    def events(self, piece: Piece) -> Iterator[Event]:
        """Check the next bytes and give what stands in them. Must be iterated to its end.

        A chunk is valid until the next event is asked for.
        """
        self._stream_bytes += len(memoryview(piece))
        if self._unpacker is None:
            self._start += piece
            if len(self._start) < MAGIC_BYTES:
                return
            self._compression = detect(bytes(self._start[:MAGIC_BYTES]))
            self._unpacker = unpacker(self._compression)
            piece = bytes(self._start)
        for unpacked in self._unpacker.feed(piece):
            yield from self._decoder.feed(unpacked)

    def finish(self) -> Checked:
        """Say that the stream is over. Raises XvaTruncated if the archive was not."""
        if self._unpacker is None or self._compression is None:
            raise XvaInvalid(f"the stream has only {self._stream_bytes} bytes")
        self._unpacker.finish()
        return Checked(self._compression, self._stream_bytes, self._decoder.finish())
