"""What is in a file of the in-memory model: immutable, sparse, shared, cheap to compare.

A content is a size and extents; an extent is a range of a chunk of bytes that never changes. Equal
chunks are one object, so that two contents with the same extents are known to be equal without
looking at a byte, and ten thousand states of a disk cost little more than one.
"""

import bisect
import operator
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reconciler.remotes.filesystem import Piece

_SAMPLE_BYTES = 64
_zeros = memoryview(bytes(2 * 1024 * 1024))


class Chunk:
    """Bytes that never change; made by `chunk_of` only, so that equal ones are one object."""

    __slots__ = ("__weakref__", "content", "number")

    def __init__(self, content: bytes, number: int) -> None:
        self.content = content
        self.number = number


_chunks: weakref.WeakValueDictionary[tuple[int, bytes, int], Chunk] = weakref.WeakValueDictionary()
_made = 0


def chunk_of(piece: Piece) -> Chunk:
    """Find or make the chunk with these bytes. Long ones are found by samples, then compared."""
    global _made  # noqa: PLW0603 (numbers are never reused, whatever is collected)
    content = bytes(piece)
    middle = len(content) // 2
    sample = (
        content
        if len(content) <= 3 * _SAMPLE_BYTES
        else content[:_SAMPLE_BYTES]
        + content[middle : middle + _SAMPLE_BYTES]
        + content[-_SAMPLE_BYTES:]
    )
    attempt = 0
    while (chunk := _chunks.get((len(content), sample, attempt))) is not None:
        if chunk.content == content:
            return chunk
        attempt += 1
    _made += 1
    chunk = Chunk(content, _made)
    _chunks[len(content), sample, attempt] = chunk
    return chunk


class Extent(NamedTuple):
    """`length` bytes at `start` of the file are those at `skip` of the chunk."""

    start: int
    length: int
    chunk: Chunk
    skip: int

    @property
    def stop(self) -> int:
        return self.start + self.length

    def between(self, start: int, stop: int) -> "Extent":
        """Cut to a range that it overlaps."""
        first = max(start, self.start)
        length = min(stop, self.stop) - first
        return Extent(first, length, self.chunk, self.skip + first - self.start)

    def moved(self, distance: int) -> "Extent":
        return self._replace(start=self.start + distance)

    def continues(self, before: "Extent") -> bool:
        return (
            self.chunk is before.chunk
            and self.start == before.stop
            and self.skip == before.skip + before.length
        )


_start_of = operator.attrgetter("start")


@dataclass(frozen=True, slots=True)
class Content:
    """extents: by start, none overlapping; what is between them is zero."""

    size: int = 0
    extents: tuple[Extent, ...] = ()

    @property
    def key(self) -> tuple[int, ...]:
        """Equal keys mean equal bytes. (Unequal keys mean nothing.)"""
        numbers = [self.size]
        for start, length, chunk, skip in self.extents:
            numbers += (start, length, chunk.number, skip)
        return tuple(numbers)

    def range(self, start: int, stop: int) -> list[Extent]:
        """The extents in a range, cut to it."""
        first = max(bisect.bisect_right(self.extents, start, key=_start_of) - 1, 0)
        found = []
        for extent in self.extents[first:]:
            if extent.start >= stop:
                break
            if extent.stop > start:
                found.append(extent.between(start, stop))
        return found

    def overlaid(self, start: int, count: int, extents: Iterable[Extent]) -> "Content":
        """Replace a range by extents within it; grows the file if the range ends past its end."""
        if count == 0:
            return self
        stop = start + count
        before = bisect.bisect_left(self.extents, start, key=_start_of)
        after = bisect.bisect_left(self.extents, stop, key=_start_of)
        left, right = list(self.extents[:before]), list(self.extents[after:])
        for side in (self.extents[max(before - 1, 0) : before], self.extents[before:after]):
            for extent in side[-1:]:  # only the last one on each side can reach across
                if extent.stop > stop:
                    right.insert(0, extent.between(stop, extent.stop))
        if left and left[-1].stop > start:
            left[-1] = left[-1].between(left[-1].start, start)
        joined = left
        for extent in (*extents, *right):
            if joined and extent.continues(joined[-1]):
                joined[-1] = joined[-1]._replace(length=joined[-1].length + extent.length)
            else:
                joined.append(extent)
        return Content(max(self.size, stop), tuple(joined))

    def truncated(self, size: int) -> "Content":
        return Content(size, tuple(self.range(0, size)))

    def read_into(self, target: memoryview, offset: int) -> int:
        """Copy bytes out; return how many there were."""
        count = max(min(len(target), self.size - offset), 0)
        position = offset
        for extent in self.range(offset, offset + count):
            _clear(target[position - offset : extent.start - offset])
            view = memoryview(extent.chunk.content)[extent.skip : extent.skip + extent.length]
            target[extent.start - offset : extent.stop - offset] = view
            position = extent.stop
        _clear(target[position - offset : count])
        return count

    def whole(self) -> bytes:
        """All bytes of it; for small files."""
        content = bytearray(self.size)
        self.read_into(memoryview(content), 0)
        return bytes(content)


def extents_of(pieces: Sequence[Piece], start: int) -> tuple[list[Extent], int]:
    """Make extents of pieces laid one after the other; return them and their bytes in all."""
    extents, position = [], start
    for piece in pieces:
        count = memoryview(piece).nbytes
        if count:
            extents.append(Extent(position, count, chunk_of(piece), 0))
            position += count
    return extents, position - start


def _clear(view: memoryview) -> None:
    for done in range(0, len(view), len(_zeros)):
        piece = view[done : done + len(_zeros)]
        piece[:] = _zeros[: len(piece)]
