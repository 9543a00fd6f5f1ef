"""A chain reads as its files say, and only if they are what they say they are."""

import struct

import pytest

from reconciler.remotes.errors import Missing
from reconciler.transfer.chain_reader import LAYERS_MAX, open_chain
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.journal import journal_key_of
from reconciler.vhd.encoder import Packing
from reconciler.vhd.layout import BLOCK

MIB = 2**20
EVEN_SECTORS = b"\xaa" * 512


@pytest.fixture
def chain(disk):
    """Three files: written by us, by Xen Orchestra, by us; the disk grew in between."""
    root = disk("1.vhd", 1, 5 * MIB, {0: 1, 1: 2, 2: 3})
    middle = disk("2.vhd", 2, 9 * MIB, {3: 4, 1: 5}, root, Packing.PACKED)
    return disk("3.vhd", 3, 9 * MIB, {1: 6, 4: 7}, middle)


async def write_all(remote, tip):
    while tip is not None:
        await tip.write(remote)
        tip = tip.parent


async def read(remote, keys):
    async with open_chain(remote, keys) as reader:
        buffer = bytearray(BLOCK)
        found = {}
        for block in reader.blocks():
            await reader.read_block_into(memoryview(buffer), block)
            found[block] = bytes(buffer)
        return found


async def patch(remote, key, offset, content):
    async with remote.open(key, write=True) as file:
        await file.write([content], offset)


async def test_the_newest_file_that_has_a_block_supplies_it(remote, chain):
    await write_all(remote, chain)
    assert await read(remote, chain.keys) == chain.content
    assert await read(remote, chain.parent.keys) == chain.parent.content


async def test_what_no_file_has_is_zero(remote, chain, disk):
    root = disk("1.vhd", 1, 9 * MIB, {0: 1})
    await root.write(remote)
    async with open_chain(remote, root.keys) as reader:
        buffer = bytearray(b"x" * BLOCK)
        await reader.read_block_into(memoryview(buffer), 3)
        assert buffer == bytes(BLOCK)
        await reader.read_block_into(memoryview(buffer), 4)
        assert buffer == bytes(BLOCK)


async def test_sectors_that_a_file_does_not_have_come_from_below(remote, disk):
    root = disk("1.vhd", 1, 2 * BLOCK, {0: 1}, bitmaps={0: b"\xf0" * 512})
    middle = disk("2.vhd", 2, 2 * BLOCK, {0: 2, 1: 3}, root, bitmaps={0: b"\x3c" * 512})
    tip = disk("3.vhd", 3, 2 * BLOCK, {0: 4, 1: 5}, middle, bitmaps={1: EVEN_SECTORS})
    tip.bitmaps[0] = b"\x01" + bytes(511)
    await write_all(remote, tip)
    assert await read(remote, tip.keys) == tip.content
    assert await read(remote, middle.keys) == middle.content
    assert await read(remote, root.keys) == root.content


async def test_a_parent_that_is_another_file_is_refused(remote, chain, disk):
    await write_all(remote, chain)
    other = disk("x.vhd", 77, 5 * MIB, {0: 9})
    await other.write(remote)
    with pytest.raises(ChainBroken, match="its parent should be"):
        await read(remote, [*chain.keys[:2], other.key])


async def test_a_chain_that_ends_too_early_or_too_late_is_refused(remote, chain):
    await write_all(remote, chain)
    with pytest.raises(ChainBroken, match=r"parent 1\.vhd was not given"):
        await read(remote, chain.keys[:2])
    with pytest.raises(ChainBroken, match="has no parent"):
        await read(remote, [*chain.keys, chain.key])


async def test_a_chain_in_a_circle_is_refused(remote, chain):
    await write_all(remote, chain)
    with pytest.raises(ChainBroken):
        await read(remote, [chain.key] * LAYERS_MAX)
    with pytest.raises(ChainBroken, match="a chain of 257 files"):
        await read(remote, [chain.key] * (LAYERS_MAX + 1))


async def test_a_file_that_is_not_there_is_missing(remote, chain):
    await write_all(remote, chain)
    await remote.delete(chain.parent.key)
    with pytest.raises(Missing):
        await read(remote, chain.keys)


@pytest.mark.parametrize("size", [0, 100, 1536, 2047, 2048, 5000, 2 * MIB, -1, -512])
async def test_a_file_that_was_cut_off_is_refused(remote, chain, size):
    await write_all(remote, chain)
    whole = (await remote.stat(chain.key)).size_bytes
    async with remote.open(chain.key, write=True) as file:
        await file.truncate(size if size >= 0 else whole + size)
    with pytest.raises(ChainBroken, match=r"cut off|ends within|footer"):
        await read(remote, chain.keys)


async def test_a_file_cut_off_while_it_is_read_is_noticed(remote, chain):
    await write_all(remote, chain)
    async with open_chain(remote, chain.keys) as reader:
        async with remote.open(chain.parent.parent.key, write=True) as file:
            await file.truncate(MIB)
        buffer = bytearray(BLOCK)
        with pytest.raises(ChainBroken, match="inside a block"):
            await reader.read_block_into(memoryview(buffer), 0)


@pytest.mark.parametrize(
    ("offset", "content"),
    [
        (0, b"conectiX"),
        (512 + 28, struct.pack(">I", 2**32 - 1)),
        (1536, struct.pack(">I", 2**31)),
        (1536, struct.pack(">I", 1)),
        (1536, struct.pack(">I", 12)),
        (60, struct.pack(">I", 2)),
    ],
)
async def test_a_crafted_file_is_refused(remote, chain, offset, content):
    await write_all(remote, chain)
    await patch(remote, chain.key, offset, content)
    with pytest.raises(ChainBroken, match=r"3\.vhd"):
        await read(remote, chain.keys)


async def test_a_file_that_is_being_merged_into_is_no_tip(remote, chain):
    """Its own restore point is gone; what it reads as by itself is neither old nor new."""
    await write_all(remote, chain)
    journal = b'{"chain":["2.vhd","3.vhd"],"step":"mergeBlocks"}'
    await remote.put(journal_key_of(chain.parent.key), journal)
    assert await read(remote, chain.keys) == chain.content
    with pytest.raises(ChainBroken, match="newer files are being merged into it"):
        await read(remote, chain.parent.keys)


async def test_an_unreadable_journal_means_that_a_merge_was_begun(remote, chain):
    await write_all(remote, chain)
    await remote.put(journal_key_of(chain.parent.key), b"")
    # The table is torn where the child has a block, and both ends are.
    await patch(remote, chain.parent.key, 1536 + 4, b"\0\0")
    await patch(remote, chain.parent.key, 100, b"torn")
    assert await read(remote, chain.keys) == chain.content
    with pytest.raises(ChainBroken):
        await read(remote, chain.parent.keys)
