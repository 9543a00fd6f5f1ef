"""A disk as its chain of block directories says it is; the sibling of chain_reader.py for files.

    tip alias ─▶ layers, tip first ─▶ pieces of a run, all at once ─▶ unpacked on threads
                                      pieces of the next run, meanwhile

Reading holds nothing open, so what is read may move: a merge that ends gives the alias another
directory, which holds the same. Where a block is not found, the chain is looked at again, by names,
and must still be the same disk. A merge of Xen Orchestra's that was interrupted has moved blocks to
the older directory; they are looked for there.

Knows directories and their links; never restore points.
"""

import asyncio
import contextlib
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from reconciler.remotes.errors import Missing
from reconciler.remotes.remote import Remote
from reconciler.transfer.block_codec import BlockWorkers, unpack_exactly
from reconciler.transfer.block_directory import (
    BlockDirectory,
    checked,
    is_alias,
    read_block,
    read_block_directory,
)
from reconciler.transfer.crowd import first_error, together
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.journal import MergeJournal, journal_key_of, read_journal
from reconciler.transfer.records import RECORDS_MAX, Run
from reconciler.vhd.bitmap import FULL, is_full, runs
from reconciler.vhd.footer import Footer
from reconciler.vhd.layout import BITMAP, BLOCK, BLOCK_RECORD, SECTOR, blocks_of

LAYERS_MAX = 256
_ZEROS = bytes(BLOCK)
_LOOKS_MAX = 3


@dataclass(frozen=True, slots=True)
class Layer:
    """journal: of a merge into this one, begun and not finished."""

    disk: BlockDirectory
    journal: MergeJournal | None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A packed block, and whose it is. below: the layers under that one."""

    disk: BlockDirectory
    block: int
    content: bytes
    below: tuple[Layer, ...]


class BlockChainReader:
    """An open chain, tip first. One task at a time reads."""

    def __init__(
        self,
        remote: Remote,
        layers: Sequence[Layer],
        workers: BlockWorkers,
        group: asyncio.TaskGroup,
    ) -> None:
        self._remote = remote
        self._workers = workers
        self._group = group
        self._layers = tuple(layers)
        self._ahead: tuple[Run, asyncio.Task[list[_Piece] | Exception]] | None = None
        limit = blocks_of(self.size)
        found = set[int]().union(*(layer.disk.present for layer in layers))
        self._blocks = sorted(block for block in found if block < limit)

    @property
    def footer(self) -> Footer:
        """Of the tip."""
        return self._layers[0].disk.footer

    @property
    def size(self) -> int:
        """Of the disk, bytes."""
        return self._layers[0].disk.size

    def blocks(self) -> list[int]:
        """The blocks that any layer has, ascending; all others are zero."""
        return self._blocks

    def holder(self, block: int) -> str:
        """The alias of the newest layer that has a block; of the tip if none has."""
        holding = (layer.disk for layer in self._layers if block in layer.disk.present)
        return next(holding, self._layers[0].disk).alias

    async def read_block_into(self, view: memoryview, block: int) -> None:
        """Read one block, 2 MiB, zeros where there is nothing. Raises ChainBroken, RemoteError."""
        assert len(view) == BLOCK
        if any(block in layer.disk.present for layer in self._layers):
            record = await self._record(await self._piece(block))
            view[:] = memoryview(record)[BITMAP:]
        else:
            view[:] = _ZEROS

    def runs(self) -> Iterator[Run]:
        """Give the whole disk in order, a few blocks at a time."""
        return (self._run(start) for start in range(0, len(self._blocks), RECORDS_MAX))

    async def read_run(self, buffer: bytearray, run: Run) -> None:
        """Read a run into the start of a buffer, and begin to read the next one.

        Raises ChainBroken, RemoteError.
        """
        ahead, self._ahead = self._ahead, None
        task = ahead[1] if ahead is not None and ahead[0] == run else self._begin(run)
        following = bisect_right(self._blocks, run.records[-1][0])
        if following < len(self._blocks):
            self._ahead = (coming := self._run(following), self._begin(coming))
        pieces = await task
        if isinstance(pieces, Exception):
            raise pieces
        records = await together(self._record(piece) for piece in pieces)
        for record, (_, start) in zip(records, run.records, strict=True):
            buffer[start : start + BLOCK_RECORD] = record

    def _run(self, start: int) -> Run:
        blocks = self._blocks[start : start + RECORDS_MAX]
        records = tuple((block, index * BLOCK_RECORD) for index, block in enumerate(blocks))
        return Run(layer=0, offset=0, length=len(blocks) * BLOCK_RECORD, records=records)

    def _begin(self, run: Run) -> "asyncio.Task[list[_Piece] | Exception]":
        return self._group.create_task(self._fetch(run))

    async def _fetch(self, run: Run) -> list[_Piece] | Exception:
        """Read the packed blocks of a run; what goes wrong is told to whoever wants them."""
        try:
            return await together(self._piece(block) for block, _ in run.records)
        except Exception as error:
            return error

    def close(self) -> None:
        """Stop reading ahead."""
        if self._ahead is not None:
            self._ahead[1].cancel()

    async def _record(self, piece: _Piece) -> bytes:
        """Unpack a block; sectors that its bitmap does not claim are those of the layers below."""

        def unpack() -> bytes:
            return unpack_exactly(piece.disk.packing, piece.content, BLOCK_RECORD)

        where = f"{piece.disk.directory}: block {piece.block}"
        record = await self._workers.run(lambda: checked(where, unpack))
        if is_full(record):
            return record
        older = await self._look(piece.below, piece.block)
        whole = bytearray(BLOCK_RECORD if older is None else await self._record(older))
        for sector, count in runs(record):
            span = slice(BITMAP + sector * SECTOR, BITMAP + (sector + count) * SECTOR)
            whole[span] = record[span]
        whole[:BITMAP] = FULL
        return bytes(whole)

    # ── where a block is ─────────────────────────────────────────────────────────────────────

    async def _piece(self, block: int) -> _Piece:
        """Read a block from the newest layer that has it, wherever that lies by now."""
        for _ in range(_LOOKS_MAX):
            layers = self._layers
            piece = await self._look(layers, block)
            if piece is not None:
                return piece
            if self._layers is layers:  # else another block's reader has looked again already
                await self._look_again(layers)
        raise ChainBroken(self._layers[0].disk.alias, f"block {block} is gone")

    async def _look(self, layers: tuple[Layer, ...], block: int) -> _Piece | None:
        """Read a block from the newest of some layers that has it; None if it is not found."""
        name = None
        for index, layer in enumerate(layers):
            if name is None and block in layer.disk.present:
                name = layer.disk.name
            elif name is None or layer.journal is None or name not in _moved(layer.journal, name):
                # Below the newest layer that has it, only where a merge of Xen Orchestra's may
                # have moved it to is of interest.
                continue
            with contextlib.suppress(Missing):
                content = await read_block(layer.disk, block)
                return _Piece(layer.disk, block, content, layers[index + 1 :])
        return None

    async def _look_again(self, before: Sequence[Layer]) -> None:
        """Follow the names again. Raises ChainBroken if nothing has changed, or the disk has."""
        layers = tuple(await read_layers(self._remote, before[0].disk.alias))
        tip, was = layers[0].disk, before[0].disk
        if [layer.disk.directory for layer in layers] == [layer.disk.directory for layer in before]:
            raise ChainBroken(tip.alias, f"a block that {tip.directory} or one below has is gone")
        if (tip.uuid, tip.size) != (was.uuid, was.size):
            raise ChainBroken(tip.alias, "another disk took its name while it was being read")
        self._layers = layers


def _moved(journal: MergeJournal, name: str) -> tuple[str, ...]:
    """Whose blocks a merge moves; one of which nothing is known may be about any."""
    return journal.chain[1:] or (name,)


@contextlib.asynccontextmanager
async def open_block_chain(
    remote: Remote, alias: str, workers: BlockWorkers | None = None
) -> AsyncIterator[BlockChainReader]:
    """Open the chain below an alias. Raises ChainBroken, RemoteError (Missing: a link is gone)."""
    layers = await read_layers(remote, alias)
    own = workers or BlockWorkers()
    try:
        with first_error():
            async with asyncio.TaskGroup() as group:
                reader = BlockChainReader(remote, layers, own, group)
                try:
                    yield reader
                finally:
                    reader.close()
    finally:
        if workers is None:
            own.close()


async def read_layers(remote: Remote, alias: str) -> list[Layer]:
    """Follow an alias by its parents' names down to the one without. Raises as above."""
    layers: list[Layer] = []
    directory, slash, _ = alias.rpartition("/")
    below: str | None = alias
    while below is not None:
        if not is_alias(below):
            raise ChainBroken(below, f"{layers[-1].disk.name} in block mode stands on a file")
        if len(layers) == LAYERS_MAX or any(layer.disk.alias == below for layer in layers):
            raise ChainBroken(below, "the chain goes in a circle, or has no end")
        journal = await read_journal(remote, journal_key_of(below))
        layer = Layer(await read_block_directory(remote, below), journal)
        _check_link(layers, layer)
        layers.append(layer)
        parent = layer.disk.header.parent_name
        below = f"{directory}{slash}{parent}" if layer.disk.is_differencing else None
    return layers


def _check_link(above: Sequence[Layer], layer: Layer) -> None:
    """Check that a layer is the one that the layer above it was made over. Raises ChainBroken."""
    disk, journal = layer.disk, layer.journal
    names = [upper.disk.name for upper in above]
    if journal is not None and not any(name in _moved(journal, name) for name in names):
        raise ChainBroken(disk.alias, "newer disks are being merged into it: restore one of those")
    if not above:
        return
    child = above[-1].disk
    lawful = {child.header.parent_uuid}
    if journal is not None:
        # It may carry the identity already that it will have when the merge is done.
        lawful |= {upper.disk.uuid for upper in above}
    if disk.uuid not in lawful:
        raise ChainBroken(
            child.alias,
            f"its parent should be {child.header.parent_uuid}, and {disk.alias} is {disk.uuid}",
        )
