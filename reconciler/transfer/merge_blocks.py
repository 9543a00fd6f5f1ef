"""Merge a disk in block mode into its child: blocks get a second name, then one alias changes.

    before   P.alias ─▶ data/P ◀── C.alias ─▶ data/C         C stands on P
    after                          C.alias ─▶ data/P         holds what both held; data/C is gone

    step                                        a crash here leaves          readers of C use
 1  journal := mergeBlocks                      nothing touched              C over P
 2  P: room for C's blocks (bat, header)        more room                    C over P
 3  P: blocks of C, linked or copied            C whole, P any mixture       C over P, where P has
 4  P: bat, then footer with C's identity                                    no block that C has
 5  journal := cleanup                          P holds all                  the same
 6  C.alias := data/P                           done for whoever reads       P alone
 7  P.alias, files between, data/C removed      something to remove          P alone
 8  journal removed                             nothing

Each step puts, copies or deletes whole objects, so it is the same on object stores as on file
systems; each can be done again. Nothing of C changes before it has been replaced in step 6, in one
object. That is where Xen Orchestra differs: it moves blocks out of C, and removes C before P has
its name. What it left half done is finished here as well, from its own journal:

    P.alias  C.alias   journal says        what is done
    there    ─▶ data/C  nothing, blocks    from step 1; blocks that C lacks were moved to P
    there    any       cleanup, P is done  from step 6: C's data may be half removed, C may be gone
    there    ─▶ data/P  anything           from step 7
    gone     not on P  anything            step 7 for what is left, step 8
    gone     on P      anything            MergeRefused: somebody removed P
    there    gone      blocks              MergeRefused

The caller holds the lock of the directory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reconciler.remotes.errors import Missing
from reconciler.remotes.remote import Remote
from reconciler.transfer.block_codec import BlockWorkers, pack, unpack_exactly
from reconciler.transfer.block_directory import (
    BAT,
    FOOTER,
    HEADER,
    BlockDirectory,
    alias_content,
    checked,
    is_alias,
    list_blocks,
    put_piece,
    read_alias,
    read_block,
    read_tables,
    remove_tree,
)
from reconciler.transfer.crowd import each
from reconciler.transfer.errors import ChainBroken, MergeRefused
from reconciler.transfer.journal import MergeJournal, Step, journal_key_of, read_journal
from reconciler.vhd.layout import BLOCK_RECORD
from reconciler.vhd.presence import Presence

_AT_ONCE = 16


async def merge_blocks(
    remote: Remote,
    target_alias: str,
    source_alias: str,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
    workers: BlockWorkers | None = None,
) -> None:
    """Merge the target into the source, its only child, or finish a merge of the two.

    Keys of aliases. on_progress: is told how many more bytes of blocks were merged. workers: pack
    anew where the two are packed in different ways. Raises MergeRefused, ChainBroken, RemoteError.
    """
    if not remote.traits.replace:
        raise MergeRefused(target_alias, f"{remote.name} cannot replace an object atomically")
    own = workers or BlockWorkers()
    try:
        journal = await read_journal(remote, journal_key_of(target_alias))
        merging = _Merging(remote, target_alias, source_alias, journal, on_progress, own)
        await merging.run()
    finally:
        if workers is None:
            own.close()


@dataclass(frozen=True, slots=True)
class _Merging:
    """One call of `merge_blocks`. journal: as it was found."""

    remote: Remote
    target_alias: str
    source_alias: str
    journal: MergeJournal | None
    on_progress: Callable[[int], None]
    workers: BlockWorkers

    async def run(self) -> None:
        self._check_journal()
        target_at = await self._where(self.target_alias)
        source_at = await self._where(self.source_alias)
        if target_at is None and source_at is None:
            raise Missing(
                self.remote.name, self.source_alias, "neither it nor what it was to take in"
            )
        if target_at is None:
            await self._target_gone()
        else:
            if source_at != target_at:
                await self._complete(target_at, source_at)
            # Also if an earlier call did it: perhaps that one died before it was durable.
            await self.remote.put(self.source_alias, alias_content(target_at))
        await self._tidy_up([target_at, source_at])

    async def _where(self, alias: str) -> str | None:
        """Key of the directory that an alias names; None if there is no alias."""
        try:
            return await read_alias(self.remote, alias)
        except Missing:
            return None

    def _check_journal(self) -> None:
        """Raise MergeRefused if an unfinished merge is of other disks."""
        if self.journal is None or not self.journal.chain:
            return
        chain = self.journal.chain
        if (chain[0], chain[-1]) != (_name(self.target_alias), _name(self.source_alias)):
            raise MergeRefused(
                journal_key_of(self.target_alias),
                f"a merge of {', '.join(chain)} is unfinished: finish that one",
            )
        if not all(map(is_alias, chain)):
            raise MergeRefused(self.target_alias, "files and block directories are never merged")

    def _is_done(self, target: BlockDirectory) -> bool:
        """Tell whether the target holds everything already; its name is what is left."""
        return (
            self.journal is not None
            and self.journal.step is Step.CLEANUP
            and self.journal.newest_uuid == target.uuid
        )

    async def _target_gone(self) -> None:
        source_at = await read_alias(self.remote, self.source_alias)
        source = await read_tables(self.remote, self.source_alias, source_at)
        below = {_name(self.target_alias)}
        if self.journal is not None:
            below.update(self.journal.chain[:-1])
        if source.is_differencing and source.header.parent_name in below:
            raise MergeRefused(
                self.source_alias, f"{source.header.parent_name}, which it needs, is gone"
            )

    async def _complete(self, target_at: str, source_at: str | None) -> None:
        """See to it that the target holds everything."""
        target = await read_tables(self.remote, self.target_alias, target_at)
        if self._is_done(target):
            return
        if source_at is None:
            raise MergeRefused(self.source_alias, f"it is gone, and {target.name} was not done")
        await self._take_in(target, source_at)

    # ── steps 1 to 5 ─────────────────────────────────────────────────────────────────────────

    async def _take_in(self, target: BlockDirectory, source_at: str) -> None:
        sources = await self._open_sources(source_at)
        self._check_child(sources[0], target)
        takings = await self._plan(target, sources)
        journal = self._begun(target, sources)
        await self._note(journal)
        roomy = await self._make_room(target, sources)
        await self._carry_out(roomy, takings)
        merged = await self._take_identity(roomy, sources)
        await self._verify(merged)
        await self._note(replace(journal, step=Step.CLEANUP, disk_bytes=merged.file_bytes))

    async def _open_sources(self, source_at: str) -> list[BlockDirectory]:
        """Open the newer disks, oldest first: several if Xen Orchestra was merging several."""
        names = self.journal.chain[1:-1] if self.journal is not None else ()
        directory, slash, _ = self.source_alias.rpartition("/")
        sources = []
        for name in names:
            alias = f"{directory}{slash}{name}"
            at = await read_alias(self.remote, alias)
            sources.append(await read_tables(self.remote, alias, at))
        sources.append(await read_tables(self.remote, self.source_alias, source_at))
        return sources

    def _check_child(self, child: BlockDirectory, target: BlockDirectory) -> None:
        """Raise MergeRefused unless a disk was made over the target."""
        parents = {target.uuid}
        if self.journal is not None:
            parents.add(self.journal.target_uuid)
            if target.uuid in (child.uuid, self.journal.newest_uuid):
                # It carries the newest one's identity already: step 4 was the last.
                parents.add(child.header.parent_uuid or "")
        named = child.is_differencing and child.header.parent_name == target.name
        if not named or child.header.parent_uuid not in parents:
            raise MergeRefused(
                child.alias,
                f"its parent is {child.header.parent_name} ({child.header.parent_uuid}), "
                f"not {target.name} ({target.uuid})",
            )

    async def _plan(
        self, target: BlockDirectory, sources: Sequence[BlockDirectory]
    ) -> list[tuple[BlockDirectory, int]]:
        """Say which blocks are taken from where: each from the newest that has it.

        Without a journal all of them must be there. With one, Xen Orchestra may have moved some to
        the target: then they are there, whole. Raises ChainBroken.
        """
        newest: dict[int, BlockDirectory] = {}
        for source in sources:
            newest.update(dict.fromkeys(source.present, source))
        lying = {
            source.alias: (await list_blocks(self.remote, source.directory)).blocks
            for source in sources
        }
        takings, moved = [], []
        for block, source in sorted(newest.items(), key=lambda item: item[0]):
            if block in lying[source.alias]:
                takings.append((source, block))
            elif self.journal is not None:
                moved.append(block)
            else:
                raise ChainBroken(source.alias, f"block {block} is not in {source.directory}")
        await each(moved, lambda block: self._check_moved(target, block), at_once=_AT_ONCE)
        return takings

    async def _check_moved(self, target: BlockDirectory, block: int) -> None:
        try:
            content = await read_block(target, block)
        except Missing as error:
            raise ChainBroken(target.alias, f"block {block} is in none of the two") from error
        await self._unpacked(target, block, content)
        await self.remote.settle(target.block_key(block))

    def _begun(self, target: BlockDirectory, sources: Sequence[BlockDirectory]) -> MergeJournal:
        """Make the journal; of an earlier one of the same merge it keeps what is still true."""
        return MergeJournal(
            chain=(target.name, *(source.name for source in sources)),
            target_uuid=sources[0].header.parent_uuid or target.uuid,
            newest_uuid=sources[-1].uuid,
            step=Step.BLOCKS,
            data=tuple(_name(source.directory) for source in sources),
        )

    async def _note(self, journal: MergeJournal) -> None:
        await self.remote.put(journal_key_of(self.target_alias), journal.render())

    async def _make_room(
        self, target: BlockDirectory, sources: Sequence[BlockDirectory]
    ) -> BlockDirectory:
        """Let the target have as many blocks as the newest may have: the disk may have grown."""
        entries = max(disk.header.entries for disk in (target, *sources))
        if entries == target.header.entries:
            return target
        roomy = replace(target, header=replace(target.header, entries=entries))
        # In this order the table is never shorter than the header says.
        await put_piece(roomy, BAT, roomy.present.pack(entries))
        await put_piece(roomy, HEADER, roomy.header.pack())
        return roomy

    async def _carry_out(
        self, target: BlockDirectory, takings: Sequence[tuple[BlockDirectory, int]]
    ) -> None:
        async def take(taking: tuple[BlockDirectory, int]) -> None:
            source, block = taking
            if source.packing is target.packing:
                await self.remote.copy(source.block_key(block), target.block_key(block))
            else:
                record = await self._unpacked(source, block, await read_block(source, block))
                piece = await self.workers.run(lambda: pack(target.packing, record))
                await self.remote.put(target.block_key(block), piece)
            self.on_progress(BLOCK_RECORD)

        await each(takings, take, at_once=_AT_ONCE)

    async def _unpacked(self, disk: BlockDirectory, block: int, content: bytes) -> bytes:
        def unpack() -> bytes:
            return unpack_exactly(disk.packing, content, BLOCK_RECORD)

        where = f"{disk.directory}: block {block}"
        return await self.workers.run(lambda: checked(where, unpack))

    async def _take_identity(
        self, target: BlockDirectory, sources: Sequence[BlockDirectory]
    ) -> BlockDirectory:
        present = target.present
        for source in sources:
            present = present | source.present
        footer = replace(sources[-1].footer, disk_type=target.footer.disk_type)
        merged = replace(target, present=present, footer=footer)
        await put_piece(merged, BAT, present.pack(merged.header.entries))
        await put_piece(merged, FOOTER, footer.pack())
        return merged

    async def _verify(self, merged: BlockDirectory) -> None:
        """Read back what is about to become the only one. Raises ChainBroken."""
        if await read_tables(self.remote, merged.alias, merged.directory) != merged:
            raise ChainBroken(merged.alias, f"{merged.directory} does not read back as written")
        lying = Presence((await list_blocks(self.remote, merged.directory)).blocks)
        if lying | merged.present != lying:
            raise ChainBroken(merged.alias, f"{merged.directory} lacks blocks that it took in")

    # ── steps 7 and 8 ────────────────────────────────────────────────────────────────────────

    async def _tidy_up(self, known: Sequence[str | None]) -> None:
        """Remove what the merge has made superfluous, and nothing that an alias names."""
        directory, slash, _ = self.target_alias.rpartition("/")
        left = {at for at in known if at is not None}
        between = []
        if self.journal is not None:
            between = [f"{directory}{slash}{name}" for name in self.journal.chain[1:-1]]
            left.update(f"{directory}{slash}data/{name}" for name in self.journal.data)
        for alias in between:
            if (at := await self._where(alias)) is not None:
                left.add(at)
        for alias in (self.target_alias, *between):
            await self.remote.delete(alias)
        for superfluous in sorted(left - await self._named()):
            await remove_tree(self.remote, superfluous)
        await self.remote.delete(journal_key_of(self.target_alias))

    async def _named(self) -> set[str]:
        """The directories that any alias beside these names. Raises ChainBroken for nonsense."""
        directory, slash, _ = self.target_alias.rpartition("/")
        named = set()
        for entry in await self.remote.list(directory):
            if is_alias(entry.name) and not entry.name.startswith("."):
                at = await self._where(f"{directory}{slash}{entry.name}")
                if at is not None:
                    named.add(at)
        return named


def _name(key: str) -> str:
    return key.rpartition("/")[2]
