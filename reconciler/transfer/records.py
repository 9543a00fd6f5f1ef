"""Blocks as they lie in files: runs of them that are read in one go, and partial ones laid over
each other.

A record is a block's sector bitmap and its data, 512 bytes and 2 MiB. Nearly every bitmap is full;
where one is not, its clear sectors are those of the next older file that has the block.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.remotes.remote import RemoteFile
from reconciler.transfer.disk_file import DiskFile
from reconciler.transfer.errors import ChainBroken
from reconciler.vhd.bitmap import FULL, fill, is_full, runs
from reconciler.vhd.chain import Source
from reconciler.vhd.layout import BITMAP, BLOCK_RECORD, SECTOR, SLOT, SLOT_PAD

RECORDS_MAX = 4
RUN_BYTES_MAX = RECORDS_MAX * SLOT
"""8 MiB: large enough that a thread hop and a seek cost little beside it."""

_BITMAPS_A_HOP = 1024


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of one file that is all records, but for padding. offset, length: bytes.

    records: (block, where its record begins in the run), ascending.
    """

    layer: int
    offset: int
    length: int
    records: tuple[tuple[int, int], ...]


def runs_of(sources: Iterable[Source]) -> Iterator[Run]:
    """Group records that follow one another in the order they are wanted in."""
    pending: list[Source] = []
    for source in sources:
        if pending and not _follows(pending, source):
            yield _run(pending)
            pending = []
        pending.append(source)
    if pending:
        yield _run(pending)


def _follows(pending: Sequence[Source], source: Source) -> bool:
    first, last = pending[0], pending[-1]
    gap = source.offset - (last.offset + BLOCK_RECORD)
    return (
        source.layer == last.layer
        and 0 <= gap <= SLOT_PAD
        and source.offset + BLOCK_RECORD - first.offset <= RUN_BYTES_MAX
    )


def _run(pending: Sequence[Source]) -> Run:
    first, last = pending[0], pending[-1]
    return Run(
        layer=first.layer,
        offset=first.offset,
        length=last.offset + BLOCK_RECORD - first.offset,
        records=tuple((source.block, source.offset - first.offset) for source in pending),
    )


async def read_fully(file: RemoteFile, target: memoryview, offset: int) -> None:
    """Fill the target. Raises ChainBroken if the file ends before (it was cut off since)."""
    got = await file.read_into(target, offset)
    if got < len(target):
        raise ChainBroken(file.key, f"the file ends at byte {offset + got}, inside a block")


async def partial_blocks(disk: DiskFile) -> frozenset[int]:
    """Find the blocks of a file whose bitmaps are not full."""
    places = disk.bat.in_file_order()
    found: set[int] = set()
    for first in range(0, len(places), _BITMAPS_A_HOP):
        batch = places[first : first + _BITMAPS_A_HOP]
        bitmaps = await disk.file.read_many([offset for _, offset in batch], BITMAP)
        found.update(
            block for (block, _), bitmap in zip(batch, bitmaps, strict=True) if not is_full(bitmap)
        )
    return frozenset(found)


async def read_overlaid(layers: Sequence[DiskFile], block: int, record: memoryview) -> bool:
    """Read a block as a reader of the layers sees it: each over the next, newest first.

    Gives the union of the bitmaps with the data. Returns whether any layer has the block.
    Sectors that no layer has are zero.
    """
    holders = [(layer, offset) for layer in layers if (offset := layer.offset_of(block))]
    record[:] = bytes(len(record))
    older = memoryview(bytearray(BLOCK_RECORD))
    union = 0
    for layer, offset in reversed(holders):
        await read_fully(layer.file, older, offset)
        for sector, count in runs(older):
            start, stop = BITMAP + sector * SECTOR, BITMAP + (sector + count) * SECTOR
            record[start:stop] = older[start:stop]
        union |= int.from_bytes(older[:BITMAP], "big")
    record[:BITMAP] = union.to_bytes(BITMAP, "big")
    return bool(holders)


async def make_whole(
    layers: Sequence[DiskFile], layer: int, block: int, record: memoryview
) -> None:
    """See to it that a record just read from a layer holds all of the block's sectors."""
    if is_full(record):
        return
    if any(older.offset_of(block) for older in layers[layer + 1 :]):
        await read_overlaid(layers[layer:], block, record)
    fill(record)
    assert record[:BITMAP] == FULL
