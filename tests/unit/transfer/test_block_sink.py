"""Disks into block directories: what lies there, what is not sent again, and what goes wrong."""

import asyncio
import json

import brotli
import pytest

from reconciler.remotes.errors import RemoteError, Unavailable
from reconciler.transfer.block_codec import BlockWorkers
from reconciler.transfer.block_directory import (
    BlockDirectory,
    alias_content,
    block_key,
    list_blocks,
    read_block_directory,
)
from reconciler.transfer.block_sink import SENT_MAX, BlockDirectorySink
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.sink import DiskHead, Identity
from reconciler.transfer.source import StreamError
from reconciler.vhd.footer import Footer
from reconciler.vhd.header import Header
from reconciler.vhd.layout import BLOCK, DiskType

FULL = b"\xff" * 512
UUID = "00000000-0000-4000-8000-000000000001"
BELOW = "00000000-0000-4000-8000-000000000002"
ALIAS = "d/20260101T020000Z.alias.vhd"
DATA = "d/data/20260101T020000Z.vhd"
SIZE = 3000 * BLOCK
IDENTITY = Identity(UUID, timestamp=1_767_225_600)
DELTA = Identity(UUID, BELOW, "20251231T020000Z.alias.vhd", 1_767_225_600)


def record(tag):
    return FULL + bytes([tag]) * BLOCK


async def send(remote, blocks, identity=IDENTITY, *, size=SIZE, end=True):
    """Send blocks, number to the byte each is filled with, as a reading does."""
    workers = BlockWorkers(2)
    sink = BlockDirectorySink(remote, ALIAS, DATA, identity, workers)
    try:
        await sink.begin(DiskHead(size, identity.parent is not None, list(blocks)))
        for index, tag in blocks.items():
            content = bytearray(record(tag))
            await sink.block(index, memoryview(content), tag == 0)
            content[:] = bytes(len(content))  # the record is the caller's again
        if not end:
            await sink.abort()
            return None
        received = await sink.end()
    except BaseException:
        await sink.abort()
        raise
    finally:
        workers.close()
    await remote.put(ALIAS, alias_content(DATA))
    return received


def puts(filesystem):
    """Blocks that were put, by what was renamed into place."""
    return sorted(
        call.target.removeprefix(f"{DATA}/blocks/")
        for call in filesystem.calls
        if call.kind == "rename" and "/blocks/" in (call.target or "")
    )


async def test_a_full_lies_as_xen_orchestra_lays_it(remote, filesystem):
    received = await send(remote, {0: 1, 999: 2, 1000: 3, 2999: 4})

    def piece(name):
        return filesystem.content(f"{DATA}/{name}").whole()

    assert [path for path in filesystem.paths() if path.startswith("d/")] == sorted(
        [
            ALIAS,
            *(f"{DATA}/{name}" for name in ("bat", "chunk-filters.json", "footer", "header")),
            *(f"{DATA}/blocks/{name}" for name in ("0/0", "0/999", "1/0", "2/999")),
        ]
    )
    assert filesystem.content(ALIAS).whole() == b"data/20260101T020000Z.vhd"
    assert json.loads(piece("chunk-filters.json")) == ["brotli"]
    assert brotli.decompress(piece("blocks/1/0")) == record(3)
    footer = Footer.parse(brotli.decompress(piece("footer")))
    assert (footer.unique_id, footer.current_size, footer.disk_type, footer.timestamp) == (
        UUID,
        SIZE,
        DiskType.DYNAMIC,
        1_767_225_600,
    )
    header = Header.parse(brotli.decompress(piece("header")))
    assert (header.entries, header.parent_uuid, header.parent_name) == (3000, None, None)
    bat = brotli.decompress(piece("bat"))
    assert len(bat) == 3000
    assert [n for n in range(3000) if bat[n >> 3] & 0x80 >> (n & 7)] == [0, 999, 1000, 2999]
    assert received.blocks == 4
    assert received.data_bytes == 4 * BLOCK
    assert received.virtual_bytes == SIZE
    # what a file of the same blocks takes
    assert received.file_bytes == 512 + 1024 + 12288 + 4 * (BLOCK + 512) + 512


async def test_a_full_leaves_out_zeros_and_a_delta_keeps_them(remote):
    assert (await send(remote, {0: 1, 1: 0})).blocks == 1
    assert set((await read_block_directory(remote, ALIAS)).present) == {0}
    await remote.delete(f"{DATA}/footer")
    await send(remote, {0: 0, 1: 7}, DELTA)
    disk = await read_block_directory(remote, ALIAS)
    assert set(disk.present) == {0, 1}
    assert disk.header.parent_name == "20251231T020000Z.alias.vhd"
    assert disk.is_differencing
    assert brotli.decompress(await remote.get(disk.block_key(0), 10**7)) == FULL + bytes(BLOCK)


async def test_what_an_interrupted_try_put_is_not_put_again(remote, filesystem):
    blocks = {index: index + 1 for index in range(20)}
    await send(remote, blocks, end=False)
    there = (await list_blocks(remote, DATA)).blocks
    assert len(there) >= len(blocks) - SENT_MAX
    filesystem.calls.clear()
    # the base is another now: a block of this snapshot holds the same all the same
    await send(remote, {**blocks, 25: 4}, DELTA)
    assert puts(filesystem) == sorted(f"0/{n}" for n in {*blocks, 25} - there)
    assert set((await read_block_directory(remote, ALIAS)).present) == {*blocks, 25}


async def test_blocks_that_the_disk_has_no_more_are_removed(remote, filesystem):
    await send(remote, {0: 1, 1: 2, 7: 3})
    await remote.delete(ALIAS)
    await remote.put(f"{DATA}/blocks/0/.7.x9.partial", b"cut off")
    await send(remote, {0: 1}, DELTA)
    assert [path for path in filesystem.paths() if "/blocks/" in path] == [f"{DATA}/blocks/0/0"]


@pytest.mark.parametrize(
    "spoil",
    [
        "another's snapshot",
        "another size",
        "another packing",
        "no footer",
        "footer is no footer",
        "filters are unknown",
    ],
)
async def test_what_is_not_surely_of_this_snapshot_is_removed_first(remote, filesystem, spoil):
    await send(remote, {0: 9, 1: 9})
    footer, filters = f"{DATA}/footer", f"{DATA}/chunk-filters.json"
    match spoil:
        case "another's snapshot" | "another size":
            size, uuid = (SIZE, BELOW) if spoil == "another's snapshot" else (SIZE + BLOCK, UUID)
            other = Footer.new(size, uuid, DiskType.DYNAMIC)
            await remote.put(footer, brotli.compress(other.pack(), quality=0))
        case "another packing":
            await remote.put(filters, b'["gzip"]')
        case "no footer":
            await remote.delete(footer)
        case "footer is no footer":
            await remote.put(footer, brotli.compress(bytes(512)))
        case "filters are unknown":
            await remote.put(filters, b'["zstd"]')
    filesystem.calls.clear()
    await send(remote, {0: 1, 2: 2})
    assert puts(filesystem) == ["0/0", "0/2"]
    assert [path for path in filesystem.paths() if "/blocks/" in path] == [
        f"{DATA}/blocks/0/0",
        f"{DATA}/blocks/0/2",
    ]


async def test_an_empty_block_is_put_again(remote, filesystem):
    await send(remote, {0: 1, 1: 2})
    await remote.put(f"{DATA}/blocks/0/1", b"")
    filesystem.calls.clear()
    await send(remote, {0: 1, 1: 2})
    assert puts(filesystem) == ["0/1"]


async def test_a_delta_where_a_full_was_asked_for_is_refused(remote):
    sink = BlockDirectorySink(remote, ALIAS, DATA, IDENTITY, BlockWorkers(1))
    with pytest.raises(StreamError, match="a full was asked for"):
        await sink.begin(DiskHead(SIZE, True, [0]))
    await sink.abort()


class Slow:
    """A remote whose puts of blocks wait until they are let through, or fail."""

    def __init__(self, remote, failing=None):
        self._remote = remote
        self.failing = failing
        self.gate = asyncio.Event()
        self.full = asyncio.Event()
        self.waiting = 0

    def __getattr__(self, name):
        return getattr(self._remote, name)

    async def put(self, key, content):
        if "/blocks/" in key:
            self.waiting += 1
            if self.waiting == SENT_MAX:
                self.full.set()
            await self.gate.wait()
            self.waiting -= 1
            if key == self.failing:
                raise Unavailable("cellar", key, "the server is gone")
        await self._remote.put(key, content)


async def test_so_many_are_on_their_way_and_no_more(remote):
    slow, workers = Slow(remote), BlockWorkers(2)
    sink = BlockDirectorySink(slow, ALIAS, DATA, IDENTITY, workers)
    await sink.begin(DiskHead(SIZE, False, range(20)))
    sent = 0

    async def feed():
        nonlocal sent
        for index in range(20):
            await sink.block(index, memoryview(record(index + 1)), False)
            sent += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(feed())
        await slow.full.wait()
        assert sent == SENT_MAX
        slow.gate.set()
    received = await sink.end()
    assert received.blocks == 20
    assert received.buffers_peak == SENT_MAX
    assert workers.on_the_way == 0


async def test_a_failing_put_comes_out_and_stops_the_rest(remote):
    slow, workers = Slow(remote, failing=block_key(DATA, 3)), BlockWorkers(2)
    sink = BlockDirectorySink(slow, ALIAS, DATA, IDENTITY, workers)
    await sink.begin(DiskHead(SIZE, False, range(50)))
    slow.gate.set()
    with pytest.raises(RemoteError, match="the server is gone"):
        for index in range(50):
            await sink.block(index, memoryview(record(index + 1)), False)
        await sink.end()
    await sink.abort()
    assert workers.on_the_way == 0
    assert not (await list_blocks(remote, DATA)).blocks >= set(range(50))


async def test_abort_stops_what_is_on_its_way_and_frees_the_buffers(remote):
    slow, workers = Slow(remote), BlockWorkers(1)
    for _ in range(10):  # more often than there are buffers
        sink = BlockDirectorySink(slow, ALIAS, DATA, IDENTITY, workers)
        await sink.begin(DiskHead(SIZE, False, range(2)))
        await sink.block(0, memoryview(record(1)), False)
        await sink.block(1, memoryview(record(2)), False)
        await sink.abort()
    assert workers.on_the_way == 0
    assert (await list_blocks(remote, DATA)).blocks == frozenset()
    workers.close()


async def test_abort_before_begin_is_nothing(remote):
    await BlockDirectorySink(remote, ALIAS, DATA, IDENTITY, BlockWorkers(1)).abort()


async def test_a_remote_that_loses_blocks_is_found_out(remote):
    class Losing(Slow):
        async def put(self, key, content):
            if key != block_key(DATA, 1):
                await self._remote.put(key, content)

    workers = BlockWorkers(1)
    sink = BlockDirectorySink(Losing(remote), ALIAS, DATA, IDENTITY, workers)
    await sink.begin(DiskHead(SIZE, False, range(2)))
    await sink.block(0, memoryview(record(1)), False)
    await sink.block(1, memoryview(record(2)), False)
    with pytest.raises(ChainBroken, match="1 blocks were put and are not there, such as 1"):
        await sink.end()
    await sink.abort()


async def test_what_was_sent_reads_back(remote):
    await send(remote, {0: 1, 7: 2, 2999: 3})
    async with open_chain(remote, [ALIAS]) as reader:
        assert isinstance(await read_block_directory(remote, ALIAS), BlockDirectory)
        assert reader.blocks() == [0, 7, 2999]
        view = bytearray(BLOCK)
        for block, tag in ((0, 1), (1, 0), (7, 2), (2999, 3)):
            await reader.read_block_into(memoryview(view), block)
            assert view == bytes([tag]) * BLOCK
