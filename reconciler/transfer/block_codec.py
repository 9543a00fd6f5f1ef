"""Pieces of a block directory, packed and unpacked: brotli as Xen Orchestra packs them, or gzip.

Packing is the only work on the data path that costs more than moving bytes, so it runs on threads,
one for each processor, that all disks share. What comes from a remote is never believed to be of
the size it ought to be: unpacking stops at one byte more.

Knows bytes and sizes; never what a piece is.
"""

import asyncio
import json
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from functools import cache
from typing import TypeVar

import brotli

from reconciler.vhd.bitmap import FULL
from reconciler.vhd.layout import BLOCK, BLOCK_RECORD

T = TypeVar("T")

_GZIP_WBITS = 31
_BROTLI_QUALITY = 0
"""Xen Orchestra's: 2 MiB in 4 ms; the next one takes three times as long and saves a tenth."""
_THREADS_MIN = 2


class Packing(StrEnum):
    """What a directory's chunk-filters.json says of all that lies in it."""

    BROTLI = "brotli"
    GZIP = "gzip"
    NONE = "none"

    def render(self) -> bytes:
        """Render the file that says so."""
        return json.dumps([] if self is Packing.NONE else [self.value]).encode()


class PieceInvalid(ValueError):
    """A piece does not unpack, or to another size than it must have."""


def parse_packing(content: bytes) -> Packing:
    """Parse chunk-filters.json. Raises PieceInvalid for what we do not know how to unpack."""
    try:
        filters: object = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PieceInvalid(f"is not JSON: {error}") from error
    match filters:
        case [] | ["none"]:
            return Packing.NONE
        case ["brotli"]:
            return Packing.BROTLI
        case ["gzip"]:
            return Packing.GZIP
    raise PieceInvalid(f"names filters that are not known: {str(filters)[:80]}")


def pack(packing: Packing, data: bytes | bytearray | memoryview) -> bytes:
    """Pack a piece. Lets go of the interpreter while it computes."""
    match packing:
        case Packing.BROTLI:
            return bytes(brotli.compress(data, quality=_BROTLI_QUALITY))
        case Packing.GZIP:
            packer = zlib.compressobj(1, wbits=_GZIP_WBITS)
            return packer.compress(data) + packer.flush()
        case Packing.NONE:
            return bytes(data)


def unpack(packing: Packing, content: bytes, size_max: int) -> bytes:
    """Unpack a piece of at most so many bytes. Raises PieceInvalid."""
    match packing:
        case Packing.BROTLI:
            data = _unpack_brotli(content, size_max)
        case Packing.GZIP:
            data = _unpack_gzip(content, size_max)
        case Packing.NONE:
            data = content
    if len(data) > size_max:
        raise PieceInvalid(f"unpacks to more than {size_max} bytes")
    return data


def unpack_exactly(packing: Packing, content: bytes, size: int) -> bytes:
    """Unpack a piece of exactly so many bytes. Raises PieceInvalid."""
    data = unpack(packing, content, size)
    if len(data) != size:
        raise PieceInvalid(f"unpacks to {len(data)} bytes instead of {size}")
    return data


def _unpack_brotli(content: bytes, size_max: int) -> bytes:
    unpacker = brotli.Decompressor()
    try:
        data = bytes(unpacker.process(content, output_buffer_limit=size_max + 1))
        while not unpacker.is_finished() and len(data) <= size_max:
            more = bytes(unpacker.process(b"", output_buffer_limit=size_max + 1 - len(data)))
            if not more:
                raise PieceInvalid("is cut off")
            data += more
    except brotli.error as error:
        raise PieceInvalid(f"is not brotli: {error}") from error
    return data


def _unpack_gzip(content: bytes, size_max: int) -> bytes:
    unpacker = zlib.decompressobj(_GZIP_WBITS)
    try:
        data = unpacker.decompress(content, size_max + 1)
    except zlib.error as error:
        raise PieceInvalid(f"is not gzip: {error}") from error
    if not unpacker.eof and len(data) <= size_max:
        raise PieceInvalid("is cut off")
    return data


def packed_bytes_max(size: int) -> int:
    """Bound what a piece of so many bytes may take when packed; far more than any packer needs."""
    return size + size // 8 + 1024


@cache
def packed_zeros(packing: Packing) -> bytes:
    """A whole block of zeros with its bitmap: always the same."""
    return pack(packing, FULL + bytes(BLOCK))


class BlockWorkers:
    """The threads that pack and unpack, and the buffers that blocks wait in; one for all disks.

    Memory is bounded by the buffers: a block waits for one, and has it for as long as it is being
    packed, which depends on no remote. on_the_way: packed pieces that remotes are taking; whoever
    has none of them may always send one more, beyond that there are SENT_MAX for all.
    """

    SENT_MAX = 32

    def __init__(self, threads: int | None = None) -> None:
        count = threads or max(os.cpu_count() or 1, _THREADS_MIN)
        self._executor = ThreadPoolExecutor(count, "blocks")
        self._free = [bytearray(BLOCK_RECORD) for _ in range(count + 1)]
        self._turns = asyncio.Semaphore(len(self._free))
        self.on_the_way = 0

    async def pack(self, packing: Packing, record: memoryview) -> "asyncio.Future[bytes]":
        """Begin to pack a block, once a buffer is free to copy it to; first come, first served."""
        await self._turns.acquire()
        buffer = self._free.pop()
        buffer[:] = record
        loop = asyncio.get_running_loop()
        packing_it = self._executor.submit(pack, packing, buffer)
        # Nobody may want the piece any more: the buffer is free once the thread is done with it.
        packing_it.add_done_callback(lambda _: loop.call_soon_threadsafe(self._give_back, buffer))
        return asyncio.wrap_future(packing_it)

    def _give_back(self, buffer: bytearray) -> None:
        self._free.append(buffer)
        self._turns.release()

    async def run(self, call: Callable[[], T]) -> T:
        """Compute on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """Release the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)
