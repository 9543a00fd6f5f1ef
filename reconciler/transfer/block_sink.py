"""One disk into a new block directory: blocks packed on threads, put several at once.

    block ─▶ [buffer] ─▶ packed ─▶ put        each on its way by itself; the caller waits only for
          ─▶ [buffer] ─▶ packed ─▶ put        a buffer, and for this remote to be fast enough

Every object is whole from the moment it is seen, so what an interrupted try left is of use: blocks
of this very snapshot that are there are not put again, whatever the base of either try was, for a
block holds what the snapshot holds. The footer is put first, to say whose they are.

The directory is complete when the sink has ended; it is a disk once the catalog gives it an alias.
Knows blocks and remotes; never where they come from.
"""

import asyncio
from array import array
from contextlib import AsyncExitStack
from dataclasses import replace

from reconciler.remotes.errors import Missing, TooLarge
from reconciler.remotes.remote import Remote
from reconciler.transfer.block_codec import BlockWorkers, Packing, packed_zeros, unpack_exactly
from reconciler.transfer.block_directory import (
    FILTERS,
    FOOTER,
    BlockDirectory,
    block_key,
    checked,
    list_blocks,
    put_piece,
    read_packing,
    remove_tree,
    write_tables,
)
from reconciler.transfer.crowd import each
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.sink import DiskHead, Identity, Received
from reconciler.transfer.source import StreamError
from reconciler.vhd.footer import Footer
from reconciler.vhd.header import Header
from reconciler.vhd.layout import BLOCK, FOOTER_BYTES, DiskType, blocks_of
from reconciler.vhd.presence import Presence

SENT_MAX = 8
"""Pieces of one disk on their way to the remote: what a far-away one needs to be kept busy."""
_AT_ONCE = 16


class BlockDirectorySink:
    """A sink (sink.py) that makes a block directory.

    directory: key, `…/data/<stamp>.vhd`; what lies there is of an earlier try, or nobody's. alias:
    key that it will be known by. Raises StreamError, VhdError, RemoteError, ChainBroken (what was
    put does not read back).
    """

    def __init__(
        self, remote: Remote, alias: str, directory: str, identity: Identity, workers: BlockWorkers
    ) -> None:
        self._remote = remote
        self._alias = alias
        self._directory = directory
        self._identity = identity
        self._workers = workers
        self._stack = AsyncExitStack()
        self._group: asyncio.TaskGroup | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._landed = asyncio.Event()
        self._failure: Exception | None = None
        self._there: frozenset[int] = frozenset()
        self._kept = array("I")
        self._planned: BlockDirectory | None = None
        self._peak = 0

    async def begin(self, head: DiskHead) -> None:
        """Look what an earlier try left, and say whose directory it is."""
        disk = self._planned = self._plan(head)
        self._there = await self._left_over(disk)
        if not self._there:
            await remove_tree(self._remote, self._directory)
        await self._remote.put(f"{self._directory}/{FILTERS}", disk.packing.render())
        await put_piece(disk, FOOTER, disk.footer.pack())
        self._group = await self._stack.enter_async_context(asyncio.TaskGroup())

    async def block(self, index: int, record: memoryview, is_zero: bool) -> None:
        """Take one block; waits while too much is on its way."""
        assert self._planned is not None and self._group is not None, "begin comes first"
        if is_zero and not self._planned.is_differencing:
            return  # a full has nothing below it that zeros would have to hide
        self._kept.append(index)
        if index in self._there:
            return
        await self._turn()
        packing = self._planned.packing
        piece = None if is_zero else await self._workers.pack(packing, record)
        task = self._group.create_task(self._send(index, piece))
        self._sending.add(task)
        self._workers.on_the_way += 1
        self._peak = max(self._peak, len(self._sending))
        task.add_done_callback(self._land)

    async def end(self) -> Received:
        """Wait for all that is on its way; then the tables. It lacks only its alias afterwards."""
        assert self._planned is not None, "begin comes first"
        await self._stack.aclose()
        self._check()
        disk = replace(self._planned, present=Presence(self._kept))
        await self._remove_others(disk.present)
        await write_tables(disk)
        return Received(
            file_bytes=disk.file_bytes,
            data_bytes=len(self._kept) * BLOCK,
            blocks=len(self._kept),
            virtual_bytes=disk.size,
            differencing=disk.is_differencing,
            buffers_peak=self._peak,
        )

    async def abort(self) -> None:
        """Stop sending. What was sent stays, for the next try or for whoever tidies up."""
        for task in self._sending:
            task.cancel()
        await self._stack.aclose()

    # ── before and after ─────────────────────────────────────────────────────────────────────

    def _plan(self, head: DiskHead) -> BlockDirectory:
        uuid, name = None, None
        if head.differencing:
            if self._identity.parent is None:
                raise StreamError("a full was asked for, and the stream is a delta")
            uuid, name = self._identity.parent
        disk_type = DiskType.DIFFERENCING if head.differencing else DiskType.DYNAMIC
        return BlockDirectory(
            remote=self._remote,
            alias=self._alias,
            directory=self._directory,
            footer=Footer.new(
                head.virtual_bytes, self._identity.uuid, disk_type, self._identity.timestamp
            ),
            header=Header.new(blocks_of(head.virtual_bytes), uuid, name),
            present=Presence(),
            packing=Packing.BROTLI,
        )

    async def _left_over(self, disk: BlockDirectory) -> frozenset[int]:
        """The blocks of this same snapshot that are there, whole; none if it is not certain."""
        try:
            packing = await read_packing(self._remote, self._alias, self._directory)
            piece = await self._remote.get(f"{self._directory}/{FOOTER}", 2 * FOOTER_BYTES)
            footer = checked(
                self._alias, lambda: Footer.parse(unpack_exactly(packing, piece, FOOTER_BYTES))
            )
        except (Missing, TooLarge, ChainBroken):
            return frozenset()
        if packing is not disk.packing or (footer.unique_id, footer.current_size) != (
            disk.uuid,
            disk.size,
        ):
            return frozenset()
        listing = await list_blocks(self._remote, self._directory)
        await each(listing.strays, self._remote.delete, at_once=_AT_ONCE)
        # The last names may not be durable: that try did not live to see to it. Settling one block
        # of a directory settles the names of all.
        keys = (block_key(self._directory, block) for block in listing.blocks)
        one_of_each = {key.rpartition("/")[0]: key for key in keys}
        await each(one_of_each.values(), self._remote.settle, at_once=_AT_ONCE)
        return listing.blocks

    async def _remove_others(self, present: Presence) -> None:
        """Remove blocks that the disk has no more; make sure of those that it has."""
        there = (await list_blocks(self._remote, self._directory)).blocks
        lost = [block for block in present if block not in there]
        if lost:
            raise ChainBroken(
                self._alias, f"{len(lost)} blocks were put and are not there, such as {lost[0]}"
            )

        async def remove(block: int) -> None:
            await self._remote.delete(block_key(self._directory, block))

        await each([block for block in there if block not in present], remove, at_once=_AT_ONCE)

    # ── sending ──────────────────────────────────────────────────────────────────────────────

    async def _turn(self) -> None:
        """Wait until one more piece may be on its way. Raises what went wrong with another."""
        while self._sending and (
            len(self._sending) >= SENT_MAX or self._workers.on_the_way >= self._workers.SENT_MAX
        ):
            self._landed.clear()
            await self._landed.wait()
        self._check()

    async def _send(self, index: int, piece: "asyncio.Future[bytes] | None") -> None:
        """Put one block; the first thing that goes wrong is told to whoever calls next."""
        try:
            content = packed_zeros(Packing.BROTLI) if piece is None else await piece
            await self._remote.put(block_key(self._directory, index), content)
        except Exception as error:
            self._failure = self._failure or error

    def _land(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._workers.on_the_way -= 1
        self._landed.set()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
