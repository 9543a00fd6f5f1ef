"""Merge into the target where it lies, for file systems that share no extents.

Costs reading and writing the newer files only; the target may be a hundred times larger. What
makes it safe: blocks of P that C has too are invisible through C, so nobody who reads C, or what
lies above it, sees them change; C stays whole until it is replaced by one atomic rename.

    step                                          a crash here leaves            readers of C use
 1  journal := mergeBlocks          put           nothing touched                C over P
 2  P: its footer at its new end                  one good footer at least       C over P
 3  P: blocks of C, table           sync          P's table old, new or torn     C over P, where P
                                                  where C has the block          has no block of C's
 4  P: trailer of C's identity      sync          P's first footer is good       the same
 5  P: first footer likewise        sync          P's last footer is good        the same
 6  read P's tables back; journal := cleanup  put                                the same
 7  rename P over C                 sync dir      either is there, both right    C over P, or C
 8  remove the journal                                                           C

After any crash or error the same call begins again at 1: C is whole until step 7, and writing the
same bytes once more changes nothing. An error of fsync makes what was written worthless, so steps
are never resumed in the middle.

The journal is Xen Orchestra's (journal.py), the order of 3 to 7 is the one its own recovery knows.
"""

from collections.abc import Sequence
from dataclasses import replace
from errno import ENOSPC

from reconciler.remotes.errors import NoSpace
from reconciler.remotes.remote import Remote, RemoteFile
from reconciler.transfer.disk_file import DiskFile
from reconciler.transfer.folding import (
    Pads,
    Progress,
    carry_out,
    moves_of,
    result_footer,
    verify,
)
from reconciler.transfer.journal import MergeJournal, Step
from reconciler.vhd.layout import FOOTER_BYTES
from reconciler.vhd.merge import Fold, fold

_SPARE_BYTES = 1024 * 1024


def fits_in_place(target: DiskFile, sources: Sequence[DiskFile]) -> bool:
    """Tell whether the target's table is long enough for the newest size and all blocks."""
    return all(len(source.bat) <= len(target.bat) for source in sources)


async def merge_in_place(
    remote: Remote,
    target: DiskFile,
    sources: Sequence[DiskFile],
    journal_key: str,
    journal: MergeJournal | None,
    on_progress: Progress,
) -> int:
    """Merge into the target, up to step 6; return its size in bytes. The caller does the rest.

    sources: oldest first, all bitmaps full. journal: what is there from an earlier try.
    Raises NoSpace before anything is touched, if that can be seen beforehand.
    """
    plans = _plans(target, sources)
    newest = sources[-1]
    if journal is None:
        await _check_space(remote, target, plans[-1])
    begun = _begun(target, sources, journal)
    await remote.put(journal_key, begun.render())
    async with remote.open(target.key, write=True) as file:
        merged = replace(
            target,
            file=file,
            footer=result_footer(target, newest),
            bat=plans[-1].bat,
            file_bytes=plans[-1].file_bytes,
        )
        await _write_blocks(file, target, sources, plans, on_progress)
        await _take_identity(merged)
        await verify(merged)
    ended = replace(begun, step=Step.CLEANUP, disk_bytes=merged.file_bytes)
    await remote.put(journal_key, ended.render())
    return merged.file_bytes


def _plans(target: DiskFile, sources: Sequence[DiskFile]) -> list[Fold]:
    """Plan one fold after the other, each on the table that the one before makes."""
    plans: list[Fold] = []
    bat = target.bat
    for source in sources:
        plans.append(fold(bat, target.header.table_offset, source.bat))
        assert not plans[-1].grows and not plans[-1].relocations, "the table is long enough"
        bat = plans[-1].bat
    return plans


def _begun(
    target: DiskFile, sources: Sequence[DiskFile], journal: MergeJournal | None
) -> MergeJournal:
    """Make the journal to begin with; what an earlier one says stays said.

    It may name files that are gone, because the target held their blocks already.
    """
    if journal is not None and journal.chain:
        return journal
    return MergeJournal(
        chain=(target.name, *(source.name for source in sources)),
        target_uuid=sources[0].header.parent_uuid or target.uuid,
        newest_uuid=sources[-1].uuid,
        step=Step.BLOCKS,
    )


async def _check_space(remote: Remote, target: DiskFile, plan: Fold) -> None:
    needed = max(plan.file_bytes - target.file_bytes, 0) + _SPARE_BYTES
    space = await remote.space()
    if space is not None and space.free_bytes < needed:
        raise NoSpace(
            remote.name,
            target.key,
            f"the merge needs {needed} bytes, {space.free_bytes} are free",
            ENOSPC,
        )


async def _write_blocks(
    file: RemoteFile,
    target: DiskFile,
    sources: Sequence[DiskFile],
    plans: Sequence[Fold],
    on_progress: Progress,
) -> None:
    """Steps 2 and 3."""
    last = plans[-1]
    footer = target.footer.pack()
    if await file.read(0, FOOTER_BYTES) != footer:
        # Left torn in step 5 of an earlier try: the only good one is the one that goes next.
        await file.write([footer], 0)
        await file.sync()
    # Whoever looks at the file without knowing of the journal finds a footer at its end.
    await file.truncate(last.file_bytes)
    await file.write([footer], last.trailer_offset)
    pads = Pads(last.bat, target.header.table_end)
    for source, plan in zip(sources, plans, strict=True):
        await carry_out(file, moves_of(source, plan.moves, pads), on_progress)
    await file.write([last.bat.pack()], target.header.table_offset)
    await file.sync()


async def _take_identity(merged: DiskFile) -> None:
    """Steps 4 and 5: at every instant one of the two footers is whole."""
    footer = merged.footer.pack()
    await merged.file.write([footer], merged.file_bytes - FOOTER_BYTES)
    await merged.file.sync()
    await merged.file.write([footer], 0)
    await merged.file.sync()
