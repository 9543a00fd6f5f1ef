"""Which file of a chain supplies each block of the disk.

Pure: tables in, places out. Knows nothing of file names or of how the chain was found; `layer` is
the index in the sequence that was given, tip first.
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from reconciler.vhd.bat import Bat

_NO_LAYER = -1


class Place(NamedTuple):
    """A block's record (bitmap, then data) in one file. offset: bytes."""

    layer: int
    offset: int


class Source(NamedTuple):
    """Where a block of the disk comes from. offset: byte of the record in that layer's file."""

    block: int
    layer: int
    offset: int


def newest_sources(bats: Sequence[Bat], blocks: int | None = None) -> list[Source]:
    """Tell for each block that any layer has the newest layer that has it; ascending by block.

    blocks: how many the disk has; by default as many as the tip's table. Blocks in no layer are
    zero and are left out. Right as long as bitmaps are full; where one is not, `all_sources`.
    """
    limit = _limit(bats, blocks)
    newest = array("i", [_NO_LAYER]) * limit
    for layer in range(len(bats) - 1, -1, -1):
        for block, _ in bats[layer].allocated():
            if block >= limit:
                break
            newest[block] = layer
    return [
        Source(block, layer, offset)
        for block, layer in enumerate(newest)
        if layer != _NO_LAYER and (offset := bats[layer].offset_of(block)) is not None
    ]


def all_sources(bats: Sequence[Bat], blocks: int | None = None) -> list[tuple[int, list[Place]]]:
    """Tell for each block every layer that has it, newest first; ascending by block."""
    limit = _limit(bats, blocks)
    places: dict[int, list[Place]] = {}
    for layer, bat in enumerate(bats):
        for block, offset in bat.allocated():
            if block < limit:
                places.setdefault(block, []).append(Place(layer, offset))
    return sorted(places.items())


def _limit(bats: Sequence[Bat], blocks: int | None) -> int:
    if blocks is not None:
        return blocks
    return len(bats[0]) if bats else 0
