"""Merge on a file system that shares extents: a clone of the target takes the blocks, and replaces.

    P ──clone──▶ .C.merging ◀──share blocks── C          nothing is copied, P and C stay as they are
                     └── synced, read back, renamed over C
                     by the caller, who then removes P

Before the rename there is P and C, after it C alone is needed: every reader is right at any time,
and needs no journal. A crash leaves at most the temporary file, or P.
"""

from collections.abc import Sequence
from dataclasses import replace

from reconciler.remotes.remote import Move, Remote, RemoteFile
from reconciler.transfer.disk_file import DiskFile
from reconciler.transfer.folding import (
    Pads,
    Progress,
    carry_out,
    moves_of,
    result_footer,
    seal,
)
from reconciler.transfer.records import read_overlaid
from reconciler.transfer.temporary import created_anew, removed_on_error
from reconciler.vhd.bitmap import fill
from reconciler.vhd.layout import BLOCK_RECORD, FOOTER_BYTES, SECTOR
from reconciler.vhd.merge import Fold, fold


async def merge_by_clone(
    remote: Remote,
    target: DiskFile,
    sources: Sequence[DiskFile],
    partial: Sequence[frozenset[int]],
    temporary: str,
    on_progress: Progress,
) -> int:
    """Make the merge of all under a temporary key, synced; return the file's size in bytes.

    sources: oldest first. partial: for each source, its blocks with partial bitmaps.
    """
    async with removed_on_error(remote, temporary), created_anew(remote, temporary) as file:
        await file.clone_whole(target.file)
        clone = replace(target, file=file)
        for source, apart in zip(sources, partial, strict=True):
            clone = await _folded(clone, source, apart, on_progress)
        clone = replace(clone, footer=result_footer(target, sources[-1]))
        await seal(clone)
    return clone.file_bytes


async def _folded(
    clone: DiskFile, source: DiskFile, partial: frozenset[int], on_progress: Progress
) -> DiskFile:
    """Bring one file's blocks into the clone; tables and footers are written at the end."""
    plan = fold(clone.bat, clone.header.table_offset, source.bat)
    header = replace(clone.header, entries=len(plan.bat)) if plan.grows else clone.header
    await _relocate(clone.file, plan)
    await _overlay(clone, source, partial, plan)
    apart = {source.offset_of(block) for block in partial}
    whole = [move for move in plan.moves if move.source_offset not in apart]
    await carry_out(
        clone.file, moves_of(source, whole, Pads(plan.bat, header.table_end)), on_progress
    )
    on_progress(len(partial) * BLOCK_RECORD)
    return replace(
        clone, header=header, bat=plan.bat, file_bytes=plan.trailer_offset + FOOTER_BYTES
    )


async def _relocate(file: RemoteFile, plan: Fold) -> None:
    """Move blocks out of the way of a longer table."""
    moves = [
        Move(file, record.source_offset, record.offset, BLOCK_RECORD) for record in plan.relocations
    ]
    await carry_out(file, moves, lambda _: None)


async def _overlay(clone: DiskFile, source: DiskFile, partial: frozenset[int], plan: Fold) -> None:
    """Lay partial blocks over those of the clone, sector by sector, through memory."""
    record = bytearray(BLOCK_RECORD)
    for block in sorted(partial):
        await read_overlaid([source, clone], block, memoryview(record))
        if not clone.is_differencing:
            fill(memoryview(record))
        sector = plan.bat[block]
        assert sector is not None, "a fold has a place for every block of its source"
        await clone.file.write([record], sector * SECTOR)
