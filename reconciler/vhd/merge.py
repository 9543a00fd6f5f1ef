"""The plan of folding a newer VHD's blocks into the older one below it.

    target   [ A  B  .  D ]   old, in its file        source  [ .  b  c  . ]   new, its child
    after    [ A  b  c  D ]   b over B where B lies, c appended

Pure: tables in, moves out. Knows nothing of journals, of crash safety or of whose identity the
result carries. Properties that the protocols above stand on:

- Blocks that are overwritten are those that the source has too, so nobody who reads the disk
  through the source sees them.
- Appended blocks leave the sector alone where the target's trailing footer stands, if it follows
  the last block as it should; until the new trailer is written the old one is intact.
- Planning again from the resulting table, or from any mixture of the sectors of the old and the
  new one, gives moves that lead to the same content.
"""

from dataclasses import dataclass
from typing import NamedTuple

from reconciler.vhd.bat import Bat
from reconciler.vhd.errors import VhdUnsupported
from reconciler.vhd.layout import (
    ALIGNMENT,
    BLOCK_RECORD,
    FOOTER_BYTES,
    SECTOR,
    SLOT,
    SLOT_PAD,
    UNUSED,
    bat_bytes,
    round_up,
)


class RecordMove(NamedTuple):
    """One record (512 bytes of bitmap, 2 MiB of data). Offsets in bytes, of the bitmap."""

    source_offset: int
    offset: int


@dataclass(frozen=True, slots=True)
class Fold:
    """What to do with a target, in this order: relocations, moves, table, trailer, truncate.

    relocations: from the target to the target, out of the way of a longer table. Not crash-safe
    in place: carry them out in a private copy only.
    moves: from the source to the target, in the order of the source's file.
    bat: the result's table, at the target's table offset. grows: it has more entries than before,
    so the header changes too.
    appended_end: first byte after the last block. trailer_offset: where the footer then goes; the
    file ends 512 bytes later.
    """

    moves: tuple[RecordMove, ...]
    relocations: tuple[RecordMove, ...]
    bat: Bat
    grows: bool
    appended_end: int
    trailer_offset: int

    @property
    def file_bytes(self) -> int:
        return self.trailer_offset + FOOTER_BYTES

    @property
    def moved_bytes(self) -> int:
        return (len(self.moves) + len(self.relocations)) * BLOCK_RECORD


def fold(target: Bat, table_offset: int, source: Bat) -> Fold:
    """Plan the fold of `source` into `target`, whose table lies at `table_offset`.

    Raises VhdUnsupported if the result could not be addressed by 32 bits of sectors.
    """
    entries = max(len(target), len(source))
    old_table_end = table_offset + bat_bytes(len(target))
    table_end = table_offset + bat_bytes(entries)
    free = target.data_end(max(old_table_end, table_end))
    places = dict(target.allocated())
    displaced = {block: offset for block, offset in places.items() if offset < table_end}
    appended: dict[int, int] = {}

    def append(block: int) -> int:
        nonlocal free
        offset = _next_record(free)
        if offset // SECTOR >= UNUSED:
            raise VhdUnsupported("the merged disk has more blocks than a VHD can address")
        free = offset + BLOCK_RECORD
        appended[block] = offset
        return offset

    records = source.in_file_order()
    replaced = {block for block, _ in records}
    moves = tuple(
        RecordMove(
            offset,
            append(block) if block not in places or block in displaced else places[block],
        )
        for block, offset in records
    )
    relocations = tuple(
        RecordMove(offset, append(block))
        for block, offset in displaced.items()
        if block not in replaced
    )
    return Fold(
        moves=moves,
        relocations=relocations,
        bat=target.with_offsets(appended, entries),
        grows=entries > len(target),
        appended_end=free,
        trailer_offset=free,
    )


def _next_record(end: int) -> int:
    """Find the first place after `end` for a record with its data on a 4 KiB boundary.

    A sector is left between: a footer may stand there.
    """
    earliest = end + FOOTER_BYTES
    return round_up(earliest - SLOT_PAD, ALIGNMENT) + SLOT_PAD


assert _next_record(0) == SLOT_PAD and _next_record(SLOT) == SLOT + SLOT_PAD
