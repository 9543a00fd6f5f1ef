"""Checksums of a disk's blocks: taken while it is received, looked up when it is read again.

XXH3 of the 2 MiB of a block: it tells chance from truth, not malice (that is encryption's task),
and costs a thirtieth of a second for each GiB. Blocks that a full leaves out have none.

Knows blocks; never where their checksums are kept.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import xxhash

from reconciler.transfer.sink import DiskHead, DiskSink, Received
from reconciler.vhd.layout import BITMAP, BLOCK

METHOD = "xxh3_64"


def sum_of(data: bytes | bytearray | memoryview) -> int:
    """Compute the checksum of a block's data, or of what is kept with it."""
    return xxhash.xxh3_64_intdigest(data)


_OF_ZEROS = sum_of(bytes(BLOCK))


@dataclass(slots=True)
class BlockSums:
    """Of some blocks of a disk, in any order, each once."""

    blocks: "array[int]" = field(default_factory=lambda: array("I"))
    sums: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, block: int, checksum: int) -> None:
        self.blocks.append(block)
        self.sums.append(checksum)

    def items(self) -> Iterator[tuple[int, int]]:
        return zip(self.blocks, self.sums, strict=True)


class SumTable:
    """Of all blocks that a disk has."""

    def __init__(self, layers: Iterable[BlockSums], count: int) -> None:
        """layers: the full first, then what changed, each over those before. count: of blocks."""
        self._sums = array("Q", bytes(8 * count))
        self._known = bytearray(count)
        for layer in layers:
            for block, checksum in layer.items():
                if block < count:
                    self._sums[block] = checksum
                    self._known[block] = 1

    def differs(self, block: int, checksum: int) -> bool:
        """Say whether a block is known to be another."""
        known = block < len(self._known) and self._known[block]
        return bool(known) and self._sums[block] != checksum

    def lacking(self, blocks: Iterable[int]) -> int | None:
        """Return a block that held data and is not among these; None if there is none."""
        there = bytearray(len(self._known))
        for block in blocks:
            if block < len(there):
                there[block] = 1
        for block, (known, present) in enumerate(zip(self._known, there, strict=True)):
            if known and not present and self._sums[block] != _OF_ZEROS:
                return block
        return None


class SummingSink:
    """A DiskSink in front of another one: takes the checksum of each block that it keeps.

    is_delta: what came stands on a base; known once it has begun.
    """

    def __init__(self, sink: DiskSink) -> None:
        self.sums = BlockSums()
        self.is_delta = False
        self._sink = sink

    async def begin(self, head: DiskHead) -> None:
        self.is_delta = head.differencing
        await self._sink.begin(head)

    async def block(self, index: int, record: memoryview, is_zero: bool) -> None:
        if self.is_delta or not is_zero:
            self.sums.add(index, sum_of(record[BITMAP:]))
        await self._sink.block(index, record, is_zero)

    async def end(self) -> Received:
        return await self._sink.end()

    async def abort(self) -> None:
        await self._sink.abort()
