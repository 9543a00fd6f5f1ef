"""Merge into a new file: everything is copied once, in the order of the disk, and replaces.

    P ──blocks that C lacks──▶ .C.merging ◀──blocks── C
                                  └── synced, read back, renamed over C
                                  by the caller, who then removes P

Costs reading and writing both files, and the space of both; needs nothing of the file system but a
rename that replaces, and works for whatever P and C look like. Readers and crashes: as for a clone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reconciler.remotes.remote import Move, Remote, RemoteFile
from reconciler.transfer.disk_file import DiskFile
from reconciler.transfer.folding import (
    Pads,
    Progress,
    carry_out,
    move_of,
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
    """Make the merge of all under a temporary key, synced; return the file's size in bytes.

    sources: oldest first. partial: for each source, its blocks with partial bitmaps.
    Raises VhdUnsupported if the result is larger than a VHD can be.
    """
    apart = frozenset[int]().union(*partial)
    copy = Copy.planned(target, sources)
    layout = copy.layout
    async with removed_on_error(remote, temporary), created_anew(remote, temporary) as file:
        await carry_out(file, copy.moves(apart), on_progress)
        await _overlay(copy, file, apart, on_progress)
        await seal(DiskFile(file, layout.footer, layout.header, layout.bat, layout.total_bytes))
    return layout.total_bytes


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

    def moves(self, apart: frozenset[int]) -> Iterator[Move]:
        """Give the moves of all blocks but those apart, in the order of the new file."""
        target = Pads(self.layout.bat, self.layout.header.table_end)
        pads = [Pads(layer.bat, layer.header.table_end) for layer in self.layers]
        for index, place in enumerate(self.places):
            if place.block not in apart:
                record = RecordMove(place.offset, self.layout.record_offset(index))
                yield move_of(self.layers[place.layer].file, record, pads[place.layer], target)


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
