"""An open file of a file remote: offsets in, bytes out, one hop to a thread for each call."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from errno import EBUSY, EINVAL, ENOTSUP, ENOTTY, EXDEV

from reconciler.remotes.errors import RemoteError
from reconciler.remotes.filesystem import Handle, Piece
from reconciler.remotes.pulse import current
from reconciler.remotes.remote import Move, RemoteFile, Traits
from reconciler.remotes.threads import Flag, Threads

# Errors of a clone that say "not these two ranges"; they are copied instead.
_CLONE_UNABLE = frozenset({ENOTSUP, ENOTTY, EXDEV, EINVAL, EBUSY})

# A copy looks this often whether it is still wanted; a multiple of every alignment.
_COPY_STRIDE = 16 * 1024 * 1024

_BUFFER_BYTES = 2 * 1024 * 1024

_buffers = threading.local()


class OpenFile:
    def __init__(
        self, threads: Threads, handle: Handle, key: str, remote: str, traits: Traits
    ) -> None:
        self._threads = threads
        self._handle = handle
        self._key = key
        self._remote = remote
        self._traits = traits

    @property
    def key(self) -> str:
        return self._key

    async def read_into(self, target: memoryview, offset: int) -> int:
        return await self._threads.run(self._key, self._read_into, target, offset)

    async def read(self, offset: int, count: int) -> bytes:
        content = bytearray(count)
        got = await self.read_into(memoryview(content), offset)
        if got < count:
            raise self._too_short(offset + got)
        return bytes(content)

    async def read_many(self, offsets: Sequence[int], count: int) -> list[bytes]:
        return await self._threads.run_stoppable(
            self._key, lambda flag: self._read_many(offsets, count, flag)
        )

    async def write(self, pieces: Sequence[Piece], offset: int) -> None:
        await self._threads.run(self._key, self._handle.pwritev, pieces, offset)

    async def move(self, moves: Sequence[Move]) -> None:
        joined = list(_joined(moves))
        await self._threads.run_stoppable(self._key, lambda flag: self._move(joined, flag))

    async def clone_whole(self, source: RemoteFile) -> None:
        assert isinstance(source, OpenFile), "both files are on one remote"
        await self._threads.run(self._key, self._handle.clone_from, source._handle, 0, 0, 0)

    async def truncate(self, size: int) -> None:
        await self._threads.run(self._key, self._handle.truncate, size)

    async def size(self) -> int:
        return await self._threads.run(self._key, self._handle.size)

    async def sync(self) -> None:
        await self._threads.run(self._key, self._handle.sync)

    async def close(self) -> None:
        await self._threads.run_closing(self._key, self._handle.close)

    def _read_into(self, target: memoryview, offset: int) -> int:
        """On a thread: read, by way of a buffer of the thread's own.

        A read that hangs may still fill its buffer after its caller was told so, and has put the
        memory to another use: for another disk's blocks.
        """
        pulse = current()
        if pulse is None:  # in place: whoever called waits
            return self._handle.pread_into(target, offset)
        view, done = target.cast("B"), 0
        while done < len(view):
            piece = _own_buffer()[: len(view) - done]
            got = self._handle.pread_into(piece, offset + done)
            with pulse.still_wanted():
                view[done : done + got] = piece[:got]
            done += got
            if got < len(piece):
                break
        return done

    def _read_many(self, offsets: Sequence[int], count: int, flag: Flag) -> list[bytes]:
        """On a thread: read all pieces, or some of them if nobody wants them any more."""
        content = bytearray(count)
        view = memoryview(content)
        pieces = []
        for offset in offsets:
            if flag.is_set():
                break
            got = self._handle.pread_into(view, offset)
            if got < count:
                raise self._too_short(offset + got)
            pieces.append(bytes(content))
        return pieces

    def _too_short(self, end: int) -> RemoteError:
        return RemoteError(self._remote, self._key, f"the file ends at byte {end}, inside a read")

    def _move(self, moves: Sequence[Move], flag: Flag) -> None:
        """On a thread: carry out moves until all are done or nobody wants them any more."""
        for move in moves:
            if flag.is_set():
                return
            assert isinstance(move.source, OpenFile), "both files are on one remote"
            source = move.source._handle
            shared = self._share(source, move.source_offset, move.offset, move.count)
            for start, count in _without(shared, move.count):
                self._copy(source, move.source_offset + start, move.offset + start, count, flag)

    def _share(self, source: Handle, source_offset: int, offset: int, count: int) -> range:
        """Share the aligned middle of a range if that can be; return which part of it is done."""
        align = self._traits.block_align
        head = -offset % align
        middle = (count - head) // align * align
        if (
            self._traits.reflink
            and middle > 0
            and source_offset % align == offset % align
            and self._cloned(source, source_offset + head, offset + head, middle)
        ):
            return range(head, head + middle)
        return range(0)

    def _copy(
        self, source: Handle, source_offset: int, offset: int, count: int, flag: Flag
    ) -> None:
        for done in range(0, count, _COPY_STRIDE):
            if flag.is_set():
                return
            piece = min(_COPY_STRIDE, count - done)
            self._handle.copy_from(source, source_offset + done, offset + done, piece)

    def _cloned(self, source: Handle, source_offset: int, offset: int, count: int) -> bool:
        try:
            self._handle.clone_from(source, source_offset, offset, count)
        except OSError as error:
            if error.errno in _CLONE_UNABLE:
                return False
            raise
        return True


def _own_buffer() -> memoryview:
    """One buffer a thread, reused: fresh pages cost more than the copying."""
    view = getattr(_buffers, "view", None)
    if not isinstance(view, memoryview):
        view = memoryview(bytearray(_BUFFER_BYTES))
        _buffers.view = view
    return view


def _joined(moves: Iterable[Move]) -> Iterator[Move]:
    """Make one move of those that continue one another in both files: one call for many blocks."""
    pending: Move | None = None
    for move in moves:
        if (
            pending is not None
            and move.source is pending.source
            and move.source_offset == pending.source_offset + pending.count
            and move.offset == pending.offset + pending.count
        ):
            pending = Move(
                pending.source, pending.source_offset, pending.offset, pending.count + move.count
            )
            continue
        if pending is not None:
            yield pending
        pending = move
    if pending is not None:
        yield pending


def _without(done: range, count: int) -> Iterator[tuple[int, int]]:
    """What is left of `count` bytes around a part that is done: (start, count) of each piece."""
    if not done:
        yield 0, count
        return
    if done.start:
        yield 0, done.start
    if done.stop < count:
        yield done.stop, count - done.stop
