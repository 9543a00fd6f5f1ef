"""A disk as its chain of files says it is: each block from the newest file that has it.

Reads what XAPI, Xen Orchestra and we write, and also files with partial sector bitmaps. A merge in
place that is under way, or was until a crash, changes nothing of what is read: blocks of the file
that is merged into are only looked at where no newer file has them, and those stay as they are.

Knows files and their links; never restore points.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence

from reconciler.remotes.remote import Remote
from reconciler.transfer.block_codec import BlockWorkers
from reconciler.transfer.block_directory import is_alias
from reconciler.transfer.block_reader import BlockChainReader, open_block_chain
from reconciler.transfer.disk_file import DiskFile, read_disk_file, read_unfinished
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.journal import MergeJournal, journal_key_of, read_journal
from reconciler.transfer.records import Run, make_whole, read_fully, read_overlaid, runs_of
from reconciler.vhd.bitmap import fill, is_full
from reconciler.vhd.chain import Source, newest_sources
from reconciler.vhd.footer import Footer
from reconciler.vhd.layout import BITMAP, BLOCK, BLOCK_RECORD, blocks_of

LAYERS_MAX = 256
"""Each layer is an open file and a table in memory; Xen Orchestra advises against 50."""

_ZEROS = bytes(BLOCK)


class ChainReader:
    """An open chain. layers: tip first; the last one has no parent. One task at a time reads."""

    def __init__(self, layers: Sequence[DiskFile]) -> None:
        self.layers = tuple(layers)
        bats = [layer.bat for layer in self.layers]
        self._sources = newest_sources(bats, blocks_of(self.size))

    @property
    def footer(self) -> Footer:
        """Of the tip."""
        return self.layers[0].footer

    @property
    def size(self) -> int:
        """Of the disk, bytes."""
        return self.layers[0].size

    @property
    def sources(self) -> Sequence[Source]:
        """Where each block comes from, ascending by block."""
        return self._sources

    def blocks(self) -> list[int]:
        """The blocks that any file has, ascending; all others are zero."""
        return [source.block for source in self._sources]

    def holder(self, block: int) -> str:
        """The key of the newest file that has a block; of the tip if none has."""
        holding = (layer for layer in self.layers if layer.offset_of(block) is not None)
        return next(holding, self.layers[0]).key

    async def read_block_into(self, view: memoryview, block: int) -> None:
        """Read one block, 2 MiB, zeros where there is nothing. Raises ChainBroken, RemoteError."""
        assert len(view) == BLOCK
        for number, layer in enumerate(self.layers):
            if (offset := layer.offset_of(block)) is None:
                continue
            bitmap = await layer.file.read(offset, BITMAP)
            await read_fully(layer.file, view, offset + BITMAP)
            if not is_full(bitmap):
                record = memoryview(bytearray(BLOCK_RECORD))
                await read_overlaid(self.layers[number:], block, record)
                fill(record)
                view[:] = record[BITMAP:]
            return
        view[:] = _ZEROS

    def runs(self) -> Iterator[Run]:
        """Give pieces of files of at most RUN_BYTES_MAX to read the whole disk by, in order."""
        return runs_of(self._sources)

    async def read_run(self, buffer: bytearray, run: Run) -> None:
        """Read a run into the start of a buffer, and make every record in it whole.

        Raises ChainBroken, RemoteError."""
        view = memoryview(buffer)
        await read_fully(self.layers[run.layer].file, view[: run.length], run.offset)
        for block, start in run.records:
            record = view[start : start + BLOCK_RECORD]
            await make_whole(self.layers, run.layer, block, record)


DiskReader = ChainReader | BlockChainReader


@contextlib.asynccontextmanager
async def open_chain(
    remote: Remote, keys: Sequence[str], workers: BlockWorkers | None = None
) -> AsyncIterator[DiskReader]:
    """Open the files of a chain, tip first, down to the one without parent; in either layout.

    Each file is checked, and that each is the one its child was made over. workers: unpack blocks
    of block directories. Raises ChainBroken, RemoteError (Missing: a file is not there).
    """
    if not 0 < len(keys) <= LAYERS_MAX:
        raise ChainBroken(keys[0] if keys else "", f"a chain of {len(keys)} files")
    if is_alias(keys[0]):
        async with open_block_chain(remote, keys[0], workers) as blocks:
            yield blocks
        return
    if mixed := [key for key in keys if is_alias(key)]:
        raise ChainBroken(keys[0], f"{mixed[0]}, on which it stands, is in block mode")
    async with contextlib.AsyncExitStack() as stack:
        layers: list[DiskFile] = []
        for key in keys:
            file = await stack.enter_async_context(remote.open(key))
            journal = await read_journal(remote, journal_key_of(key))
            if journal is None:
                layer = await read_disk_file(file)
            else:
                hidden = _blocks_above(key, journal, layers)
                layer = await read_unfinished(file, hidden)
            _check_link(layers, layer, journal)
            layers.append(layer)
        if layers[-1].is_differencing:
            name = layers[-1].header.parent_name
            raise ChainBroken(layers[-1].key, f"its parent {name} was not given")
        yield ChainReader(layers)


def _blocks_above(key: str, journal: MergeJournal, layers: Sequence[DiskFile]) -> set[int]:
    """Which blocks are being merged into a file: those of the files above it in the journal."""
    merging = [layer for layer in layers if layer.name in journal.chain[1:]]
    if not journal.chain:
        merging = list(layers[-1:])
    if not merging:
        raise ChainBroken(key, "newer files are being merged into it: restore one of those")
    return {block for layer in merging for block, _ in layer.bat.allocated()}


def _check_link(above: Sequence[DiskFile], layer: DiskFile, journal: MergeJournal | None) -> None:
    """Check that a file is the parent of the one above it. Raises ChainBroken."""
    if not above:
        return
    child = above[-1]
    if not child.is_differencing:
        raise ChainBroken(child.key, f"it has no parent, and {layer.key} was given as such")
    lawful = {child.header.parent_uuid}
    if journal is not None:
        # It may carry the identity already that it will have when the merge is done.
        lawful |= {newer.uuid for newer in above}
    if layer.uuid not in lawful:
        raise ChainBroken(
            child.key,
            f"its parent should be {child.header.parent_uuid}, and {layer.key} is {layer.uuid}",
        )
