"""An object in a store, open for reading: ranges, many at once where they lie far apart.

All reads are of the object as it was when it was opened: they name its entity tag, and fail if
somebody replaced it meanwhile.

Some servers (rclone's, as of 1.75) answer a range with the status of a whole object, which the
library will not take. From these objects are read from the start and what is too much is thrown
away: bearable for what is small, and all there is.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import obstore
from obstore.exceptions import GenericError
from obstore.store import S3Store

from reconciler.remotes.errors import RemoteError, Unavailable
from reconciler.remotes.read_only_file import ReadOnlyFile
from reconciler.remotes.s3_store import Asking

_READ_MAX = 8 * 1024 * 1024
_GAP_MAX = 256 * 1024
_PARALLEL = 8
_PIECE_BYTES = 1024 * 1024


@dataclass(slots=True)
class Server:
    """What was found out about a server by reading. ranges: it answers them as it should."""

    ranges: bool = True


class S3File(ReadOnlyFile):
    def __init__(
        self,
        remote: str,
        key: str,
        store: S3Store,
        asking: Asking,
        meta: "obstore.ObjectMeta",
        server: Server,
    ) -> None:
        super().__init__(remote, key)
        self._store = store
        self._asking = asking
        self._size = meta["size"]
        self._meta = meta
        self._server = server

    async def size(self) -> int:
        return self._size

    async def read_into(self, target: memoryview, offset: int) -> int:
        view = target.cast("B")
        count = max(min(view.nbytes, self._size - offset), 0)
        for done in range(0, count, _READ_MAX):
            stop = min(done + _READ_MAX, count)
            view[done:stop] = await self._range(offset + done, offset + stop)
        return count

    async def read(self, offset: int, count: int) -> bytes:
        if offset + count > self._size:
            raise self._too_short(max(offset, self._size))
        content = bytearray(count)
        await self.read_into(memoryview(content), offset)
        return bytes(content)

    async def read_many(self, offsets: Sequence[int], count: int) -> list[bytes]:
        if offsets and max(offsets) + count > self._size:
            raise self._too_short(self._size)
        found: dict[int, bytes] = {}
        failures: list[RemoteError] = []
        turns = asyncio.Semaphore(_PARALLEL)

        async def fetch(run: Sequence[int]) -> None:
            async with turns:
                if failures:
                    return
                try:
                    content = await self.read(run[0], run[-1] + count - run[0])
                except RemoteError as error:  # carried around the group, which would wrap it
                    failures.append(error)
                    return
            for offset in run:
                found[offset] = content[offset - run[0] : offset - run[0] + count]

        async with asyncio.TaskGroup() as group:
            for run in runs_of(offsets, count):
                group.create_task(fetch(run))
        if failures:
            raise failures[0]
        return [found[offset] for offset in offsets]

    async def _range(self, start: int, stop: int) -> memoryview:
        """Exactly these bytes. Servers disagree on ranges that reach past the end."""
        view = await self._asking.ask(self._key, lambda: self._fetch(start, stop))
        if view.nbytes != stop - start:
            raise self._too_short(start + view.nbytes)
        return view

    async def _fetch(self, start: int, stop: int) -> memoryview:
        tag = self._meta["e_tag"]
        options: obstore.GetOptions = {"if_match": tag} if tag else {}
        if self._server.ranges and (start, stop) != (0, self._size):
            try:
                result = await obstore.get_async(
                    self._store, self._key, options={**options, "range": (start, stop)}
                )
            except GenericError as error:
                if "non-partial response" not in str(error):
                    raise
                self._server.ranges = False
            else:
                self._check_unchanged(result)
                return memoryview(await result.bytes_async())
        result = await obstore.get_async(self._store, self._key, options=options)
        self._check_unchanged(result)
        pieces, position = bytearray(), 0
        async for piece in result.stream(min_chunk_size=_PIECE_BYTES):
            pieces += memoryview(piece)[max(start - position, 0) : max(stop - position, 0)]
            position += len(piece)
            if position >= stop:
                break
        return memoryview(pieces)

    def _check_unchanged(self, result: "obstore.GetResult") -> None:
        """Not every server heeds the condition."""
        if tag_of(result.meta) != tag_of(self._meta):
            raise Unavailable(self._remote, self._key, "it was replaced while it was read")


def tag_of(meta: "obstore.ObjectMeta") -> str:
    """The entity tag, without the marks that servers put around it in some answers only."""
    return (meta["e_tag"] or "").removeprefix("W/").strip('"')


def runs_of(offsets: Sequence[int], count: int) -> Iterator[list[int]]:
    """Group offsets into reads worth one request each: near to one another, none too long."""
    run: list[int] = []
    for offset in sorted(set(offsets)):
        if run and (offset - (run[-1] + count) > _GAP_MAX or offset + count - run[0] > _READ_MAX):
            yield run
            run = []
        run.append(offset)
    if run:
        yield run
