"""Merge into a new file: everything is copied once, in the order of the disk, and replaces.

    P ──blocks that C lacks──▶ .C.merging ◀──blocks── C
                                  └── synced, read back, renamed over C
    P is removed by the caller, afterwards

Costs reading and writing both files, and the space of both; needs nothing of the file system but a
rename that replaces, and works for whatever P and C look like. Readers and crashes: as for a clone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.remotes.remote import Move, Remote, RemoteFile
from reconciler.transfer.disk_file import DiskFile
from reconciler.transfer.folding import (
    Progress,
    carry_out,
    moves_of,
    padded_records,
    result_footer,
    seal,
)
from reconciler.transfer.records import read_overlaid
from reconciler.transfer.temporary import created_anew, removed_on_error
from reconciler.vhd.bitmap import fill
from reconciler.vhd.chain import Source, newest_sources
from reconciler.vhd.encoder import Layout
from reconciler.vhd.header import Header
from reconciler.vhd.layout import BLOCK_RECORD, blocks_of
from reconciler.vhd.merge import RecordMove


async def merge_by_copy(
    remote: Remote,
    target: DiskFile,
    sources: Sequence[DiskFile],
    partial: Sequence[frozenset[int]],
    temporary: str,
    on_progress: Progress,
) -> int:
    """Replace the newest source by the merge of all; return the file's size in bytes.

    sources: oldest first. partial: for each source, its blocks with partial bitmaps.
    Raises VhdUnsupported if the result is larger than a VHD can be.
    """
    apart = frozenset[int]().union(*partial)
    copy = Copy.planned(target, sources)
    async with removed_on_error(remote, temporary):
        async with created_anew(remote, temporary) as file:
            await carry_out(file, copy.moves(apart), on_progress)
            await _overlay(copy, file, apart, on_progress)
            layout = copy.layout
            await seal(DiskFile(file, layout.footer, layout.header, layout.bat, layout.total_bytes))
        await remote.publish(temporary, sources[-1].key)
    return copy.layout.total_bytes


@dataclass(frozen=True, slots=True)
class Copy:
    """layers: newest first. places: where each block comes from, in the layout's order."""

    layers: tuple[DiskFile, ...]
    places: tuple[Source, ...]
    layout: Layout

    @classmethod
    def planned(cls, target: DiskFile, sources: Sequence[DiskFile]) -> "Copy":
        layers = (*reversed(sources), target)
        footer = result_footer(target, sources[-1])
        entries = blocks_of(footer.current_size)
        places = tuple(newest_sources([layer.bat for layer in layers], entries))
        if target.is_differencing:
            header = Header.new(entries, target.header.parent_uuid, target.header.parent_name)
        else:
            header = Header.new(entries)
        layout = Layout(footer, header, [place.block for place in places])
        return cls(layers, places, layout)

    def moves(self, apart: frozenset[int]) -> list[Move]:
        """Moves of all blocks but those apart, in the order of the new file."""
        padded = padded_records(self.layout.bat, self.layout.header.table_end)
        records: dict[int, list[RecordMove]] = {n: [] for n in range(len(self.layers))}
        for index, place in enumerate(self.places):
            if place.block not in apart:
                offset = self.layout.record_offset(index)
                records[place.layer].append(RecordMove(place.offset, offset))
        moves = [
            move
            for layer, found in records.items()
            for move in moves_of(self.layers[layer], found, padded)
        ]
        return sorted(moves, key=lambda move: move.offset)


async def _overlay(
    copy: Copy, file: RemoteFile, apart: frozenset[int], on_progress: Progress
) -> None:
    """Lay partial blocks over older ones, sector by sector, through memory."""
    record = bytearray(BLOCK_RECORD)
    for block in sorted(apart):
        await read_overlaid(copy.layers, block, memoryview(record))
        if not copy.layers[-1].is_differencing:
            fill(memoryview(record))
        await file.write([record], copy.layout.offset_of(block))
        on_progress(BLOCK_RECORD)
