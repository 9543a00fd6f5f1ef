"""Merge a file into its child: what is left carries the child's name and identity, and its
parent's parent.

    before   … ◀── P ◀── C ◀── …        P: no restore point of its own any more (the caller knows)
    after    … ◀───────── C ◀── …       C reads as before, and so does everything above it

Three protocols do it (merge_clone, merge_copy, merge_inplace); this module looks at what is there
and picks one. What it finds after a crash is a case like any other, so recovering is calling
`merge` again:

    P      C                          what happened                      what is done
    there  child of P                 nothing, or not all of it          merge
    there  has P's parent and blocks  replaced, P not yet removed        remove P
    gone   not a child of P           all but (perhaps) the journal      remove the journal
    there  gone, journal: cleanup     Xen Orchestra died between its     rename P
                                      removing C and its renaming P
    gone   child of P                 somebody removed P                 MergeRefused

The caller holds the lock of the directory.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from errno import ENOENT

from reconciler.remotes.errors import Missing
from reconciler.remotes.remote import Remote, RemoteFile
from reconciler.transfer.disk_file import DiskFile, read_disk_file, read_unfinished
from reconciler.transfer.errors import ChainBroken, MergeRefused
from reconciler.transfer.journal import MergeJournal, Step, journal_key_of, read_journal
from reconciler.transfer.merge_clone import merge_by_clone
from reconciler.transfer.merge_copy import merge_by_copy
from reconciler.transfer.merge_inplace import fits_in_place, merge_in_place
from reconciler.transfer.records import partial_blocks
from reconciler.vhd.layout import MIB, blocks_of

COPY_BELOW_BYTES = 64 * MIB
"""A copy of so little is quick, and the simplest of all."""
_COPY_COST_MAX = 2
"""A copy that moves up to twice what a merge in place would move is preferred to it."""
_SPARE_BYTES = 16 * MIB
"""For the tables of the new file, and the file system's own."""


class Protocol(StrEnum):
    CLONE = "clone"
    COPY = "copy"
    IN_PLACE = "in place"
    FINISHED = "finished"
    """Everything had been merged before; what was left to be tidied up was tidied up."""


@dataclass(frozen=True, slots=True)
class Merged:
    """file_bytes: size of the file that is left."""

    file_bytes: int
    protocol: Protocol


def temporary_key_of(source_key: str) -> str:
    """Name the temporary file of a merge that results in `source_key`; debris if none runs."""
    directory, slash, name = source_key.rpartition("/")
    return f"{directory}{slash}.{name}.merging"


async def merge(
    remote: Remote,
    target_key: str,
    source_key: str,
    journal_key: str,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
    copy_below_bytes: int = COPY_BELOW_BYTES,
) -> Merged:
    """Merge the target into the source, its only child, or finish a merge of the two.

    journal_key: `journal_key_of(target_key)`. on_progress: is told how many more bytes of blocks
    were merged. copy_below_bytes: results up to this size are copied rather than made in place.
    Raises MergeRefused, ChainBroken, RemoteError, VhdUnsupported (larger than a VHD can be).
    """
    assert journal_key == journal_key_of(target_key), "readers look for the journal there"
    if not remote.traits.replace:
        raise MergeRefused(target_key, f"{remote.name} cannot replace a file atomically")
    journal = await read_journal(remote, journal_key)
    merging = _Merging(
        remote, target_key, source_key, journal_key, journal, on_progress, copy_below_bytes
    )
    # All files are closed before names change: a server that knows no open files without a name
    # (SMB) would refuse, another (NFS) would keep them under names of its own.
    async with contextlib.AsyncExitStack() as stack:
        ending = await merging.prepare(stack)
    return await merging.end(ending)


async def _opened(stack: contextlib.AsyncExitStack, remote: Remote, key: str) -> RemoteFile | None:
    """Open a file; None if the remote says that it is not there."""
    try:
        return await stack.enter_async_context(remote.open(key))
    except Missing:
        return None


@dataclass(frozen=True, slots=True)
class _Ending:
    """What is left to do: names only. publish: a complete, synced file that becomes the source."""

    merged: Merged
    publish: str | None
    remove_target: bool
    remove_journal: bool


@dataclass(frozen=True, slots=True)
class _Merging:
    """One call of `merge`, and the cases of its table."""

    remote: Remote
    target_key: str
    source_key: str
    journal_key: str
    journal: MergeJournal | None
    on_progress: Callable[[int], None]
    copy_below_bytes: int

    async def prepare(self, stack: contextlib.AsyncExitStack) -> _Ending:
        """Look at what is there, and do everything but change names."""
        target = await _opened(stack, self.remote, self.target_key)
        source = await _opened(stack, self.remote, self.source_key)
        if target is not None and source is not None:
            between = await self._open_between(stack)
            return await self._both(target, source, between)
        if source is not None:
            return await self._target_gone(source)
        if target is not None:
            return await self._source_gone(target)
        raise Missing(
            self.remote.name, self.source_key, "neither it nor what it was to take in", ENOENT
        )

    async def end(self, ending: _Ending) -> Merged:
        """The name first, for good; then what it makes superfluous; last what speaks of it."""
        if ending.publish is not None:
            await self.remote.publish(ending.publish, self.source_key)
        else:
            # An earlier call did it, but perhaps died before it was durable. This syncs the
            # directory; without it a power cut could take the target and leave the old source.
            await self.remote.delete(temporary_key_of(self.source_key))
        if ending.remove_target:
            await self.remote.delete(self.target_key)
        if ending.remove_journal:
            await self.remote.delete(self.journal_key)
        return ending.merged

    # ── both files are there ─────────────────────────────────────────────────────────────────

    async def _open_between(self, stack: contextlib.AsyncExitStack) -> list[DiskFile]:
        """Open the files between the two, if Xen Orchestra was merging several at once.

        Once it is cleaning up they may be gone: the target holds their blocks by then.
        """
        chain = self.journal.chain if self.journal is not None else ()
        if not chain:
            return []
        directory, slash, target_name = self.target_key.rpartition("/")
        source_name = self.source_key.rpartition("/")[2]
        if chain[0] != target_name or source_name not in chain[1:]:
            raise MergeRefused(
                self.journal_key, f"a merge of {', '.join(chain)} is unfinished: finish that one"
            )
        disks = []
        for name in chain[1 : chain.index(source_name)]:
            file = await _opened(stack, self.remote, f"{directory}{slash}{name}")
            if file is not None:
                disks.append(await read_disk_file(file))
            elif self.journal is None or self.journal.step is Step.BLOCKS:
                raise MergeRefused(self.source_key, f"{name}, which lies below it, is gone")
        return disks

    async def _both(
        self, target_file: RemoteFile, source_file: RemoteFile, between: Sequence[DiskFile]
    ) -> _Ending:
        source = await read_disk_file(source_file)
        sources = [*between, source]
        target = await self._read_target(target_file, sources)
        if not self._is_child(sources[0], target):
            return self._replaced_before(target, source)
        partial = [await partial_blocks(disk) for disk in sources]
        protocol = await self._choose(target, sources, any(partial))
        if protocol is Protocol.IN_PLACE:
            file_bytes = await merge_in_place(
                self.remote, target, sources, self.journal_key, self.journal, self.on_progress
            )
            return _Ending(Merged(file_bytes, protocol), self.target_key, False, True)
        by = merge_by_clone if protocol is Protocol.CLONE else merge_by_copy
        temporary = temporary_key_of(self.source_key)
        file_bytes = await by(self.remote, target, sources, partial, temporary, self.on_progress)
        return _Ending(Merged(file_bytes, protocol), temporary, True, self.journal is not None)

    async def _read_target(self, file: RemoteFile, sources: Sequence[DiskFile]) -> DiskFile:
        if self.journal is None:
            return await read_disk_file(file)
        try:
            return await read_unfinished(file)
        except ChainBroken:
            # Torn entries of its table; those are of blocks that the sources have.
            hidden = {block for disk in sources for block, _ in disk.bat.allocated()}
            return await read_unfinished(file, hidden)

    def _is_child(self, child: DiskFile, target: DiskFile) -> bool:
        """Tell whether a file was made over the target."""
        if not child.is_differencing:
            return False
        names, uuids = {target.name}, {target.uuid}
        if self.journal is not None:
            names.update(self.journal.chain[:-1])
            uuids.add(self.journal.target_uuid)
            if target.uuid in (child.uuid, self.journal.newest_uuid):
                # It has taken the newest file's identity already; its name is what is left.
                return child.header.parent_name in names
        return child.header.parent_name in names and child.header.parent_uuid in uuids

    def _replaced_before(self, target: DiskFile, source: DiskFile) -> _Ending:
        """The source has replaced its older self already: only the target is left to remove."""
        if self.journal is None and source.uuid == target.uuid:
            raise MergeRefused(self.source_key, f"{target.name} has the same uuid {target.uuid}")
        if not _has_taken_in(source, target):
            raise MergeRefused(
                self.source_key,
                f"its parent is {source.header.parent_name} ({source.header.parent_uuid}), "
                f"not {target.name} ({target.uuid})",
            )
        return self._finished(source, publish=None, remove_target=True)

    def _finished(self, left: DiskFile, *, publish: str | None, remove_target: bool) -> _Ending:
        merged = Merged(left.file_bytes, Protocol.FINISHED)
        return _Ending(merged, publish, remove_target, self.journal is not None)

    async def _choose(
        self, target: DiskFile, sources: Sequence[DiskFile], partial: bool
    ) -> Protocol:
        """Choose the cheapest protocol that is possible.

        In place needs full bitmaps: a clear sector would be read from the very block that is being
        written. What was begun in place goes on in place if it can, so that nothing is left of it
        but one file; a journal of a longer chain is not ours to shorten.
        """
        possible = self.remote.traits.patch and not partial and fits_in_place(target, sources)
        if self.journal is not None:
            chain = self.journal.chain
            whole = not chain or chain[-1] == sources[-1].name
            return Protocol.IN_PLACE if possible and whole else Protocol.COPY
        if self.remote.traits.reflink:
            return Protocol.CLONE
        in_place_bytes = sum(source.data_bytes for source in sources)
        copy_bytes = target.data_bytes + in_place_bytes
        cheap = copy_bytes <= max(self.copy_below_bytes, _COPY_COST_MAX * in_place_bytes)
        if possible and not cheap:
            return Protocol.IN_PLACE
        space = await self.remote.space()
        if possible and space is not None and space.free_bytes < copy_bytes + _SPARE_BYTES:
            return Protocol.IN_PLACE
        return Protocol.COPY

    # ── one of them is not ───────────────────────────────────────────────────────────────────

    async def _target_gone(self, file: RemoteFile) -> _Ending:
        source = await read_disk_file(file)
        below = {self.target_key.rpartition("/")[2]}
        if self.journal is not None:
            below.update(self.journal.chain[:-1])
        if source.is_differencing and source.header.parent_name in below:
            raise MergeRefused(
                self.source_key, f"{source.header.parent_name}, which it needs, is gone"
            )
        return self._finished(source, publish=None, remove_target=False)

    async def _source_gone(self, file: RemoteFile) -> _Ending:
        """Xen Orchestra removes the child before it renames; here is how it should have ended."""
        target = await read_disk_file(file)
        journal = self.journal
        if (
            journal is None
            or journal.step is not Step.CLEANUP
            or journal.chain[-1:] != (self.source_key.rpartition("/")[2],)
            or journal.newest_uuid != target.uuid
        ):
            raise MergeRefused(self.source_key, f"it is gone, and {target.name} was not done")
        return self._finished(target, publish=self.target_key, remove_target=False)


def _has_taken_in(source: DiskFile, target: DiskFile) -> bool:
    """Tell whether a file is what merging the target into it leads to: same parent, all blocks."""
    if source.is_differencing != target.is_differencing:
        return False
    above, below = source.header, target.header
    if target.is_differencing and (above.parent_uuid, above.parent_name) != (
        below.parent_uuid,
        below.parent_name,
    ):
        return False
    return all(
        source.offset_of(block) is not None
        for block, _ in target.bat.allocated()
        if block < blocks_of(source.size)
    )
