"""Chains of block directories: read whole whoever wrote them, and refused when they are not."""

import json

import brotli
import pytest

from reconciler.remotes.errors import Missing
from reconciler.transfer.block_codec import Packing, pack
from reconciler.transfer.block_directory import (
    alias_content,
    parse_alias,
    read_block_directory,
    remove_tree,
)
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.restore import vhd_stream, write_raw
from reconciler.vhd.layout import BLOCK, BLOCK_RECORD

SIZE = 12 * BLOCK


@pytest.fixture
async def chain(remote, block_disk):
    """A full and two deltas on it."""
    full = block_disk("20260101T020000Z", 1, SIZE, {n: n + 1 for n in range(11)})
    middle = block_disk("20260102T020000Z", 2, SIZE, {1: 50, 5: 51}, full)
    tip = block_disk("20260103T020000Z", 3, SIZE, {5: 60, 11: 61}, middle)
    for disk in (full, middle, tip):
        await disk.write(remote)
    return full, middle, tip


async def test_the_newest_layer_wins(remote, chain, reads_as):
    for disk in chain:
        assert await reads_as(remote, disk.keys) == disk.content


@pytest.mark.parametrize("packing", Packing)
async def test_every_packing_is_read_also_mixed(remote, block_disk, reads_as, packing):
    full = block_disk("20260101T020000Z", 1, SIZE, {0: 1, 3: 2}, packing=packing)
    tip = block_disk("20260102T020000Z", 2, SIZE, {3: 9}, full, data="7b1c-random-uuid")
    await full.write(remote)
    await tip.write(remote)
    assert await reads_as(remote, tip.keys) == {0: 1, 3: 9}


async def test_no_filters_file_means_not_packed(remote, block_disk, reads_as):
    full = block_disk("20260101T020000Z", 1, SIZE, {0: 1}, packing=Packing.NONE)
    await full.write(remote)
    await remote.delete(f"{full.directory}/chunk-filters.json")
    assert await reads_as(remote, full.keys) == {0: 1}


async def test_it_is_restored_like_any_other(remote, chain, tmp_path):
    tip = chain[-1]
    async with open_chain(remote, tip.keys) as reader:
        await write_raw(reader, str(tmp_path / "disk.raw"))
        length, pieces = vhd_stream(reader)
        assert length == sum([len(piece) async for piece in pieces])
    raw = (tmp_path / "disk.raw").read_bytes()
    assert len(raw) == SIZE
    for block in range(12):
        assert raw[block * BLOCK : (block + 1) * BLOCK] == bytes([tip.content[block]]) * BLOCK


async def test_a_block_of_nothing_reads_as_zeros(remote, block_disk):
    full = block_disk("20260101T020000Z", 1, SIZE, {3: 2})
    await full.write(remote)
    async with open_chain(remote, full.keys) as reader:
        view = bytearray(b"x" * BLOCK)
        await reader.read_block_into(memoryview(view), 0)
        assert view == bytes(BLOCK)


async def test_sectors_that_a_block_does_not_claim_are_those_below(remote, chain):
    tip = chain[-1]
    bitmap = b"\xff" + bytes(511)  # the first eight sectors
    record = bitmap + bytes([99]) * BLOCK
    disk = await read_block_directory(remote, tip.alias)
    await remote.put(disk.block_key(5), pack(Packing.BROTLI, record))
    async with open_chain(remote, tip.keys) as reader:
        view = bytearray(BLOCK)
        await reader.read_block_into(memoryview(view), 5)
    assert view == bytes([99]) * 4096 + bytes([51]) * (BLOCK - 4096)


# ── what moves while it is read ──────────────────────────────────────────────────────────────────


async def test_a_merge_that_ends_while_it_is_read_changes_nothing(remote, chain, block_disk):
    full, middle, tip = chain
    async with open_chain(remote, tip.keys) as reader:
        view = bytearray(BLOCK)
        await reader.read_block_into(memoryview(view), 1)
        # middle and full were merged by another process: the middle's name leads elsewhere now
        merged = block_disk(
            middle.stamp, 2, SIZE, middle.content, None, data="20260101T020000Z-merged"
        )
        await merged.write(remote)
        await remote.delete(full.alias)
        await remove_tree(remote, middle.directory)
        await remove_tree(remote, full.directory)
        for block, tag in tip.content.items():
            await reader.read_block_into(memoryview(view), block)
            assert view == bytes([tag]) * BLOCK


async def test_another_disk_of_the_same_name_is_not_read_on(remote, chain, block_disk):
    tip = chain[-1]
    async with open_chain(remote, tip.keys) as reader:
        other = block_disk(tip.stamp, 9, SIZE, dict.fromkeys(range(12), 99), data="other")
        await other.write(remote)
        await remove_tree(remote, tip.directory)
        with pytest.raises(ChainBroken, match="another disk took its name"):
            await reader.read_block_into(memoryview(bytearray(BLOCK)), 5)


async def test_a_block_that_is_gone_is_said(remote, chain, reads_as):
    disk = await read_block_directory(remote, chain[1].alias)
    await remote.delete(disk.block_key(1))
    with pytest.raises(ChainBroken, match="is gone"):
        await reads_as(remote, chain[-1].keys)


@pytest.mark.parametrize("known", [True, False], ids=["", "state-cut-off"])
async def test_blocks_that_xen_orchestra_moved_down_are_found(remote, chain, reads_as, known):
    """Its merge renames a block from the newer directory to the older one, tables later."""
    full, middle, tip = chain
    newer = await read_block_directory(remote, middle.alias)
    older = await read_block_directory(remote, full.alias)
    for block in (1, 5):
        await remote.copy(newer.block_key(block), older.block_key(block))
        await remote.delete(newer.block_key(block))
    state = json.dumps(
        {
            "child": {"uuid": middle.uuid},
            "parent": {"uuid": full.uuid},
            "chain": [full.name, middle.name],
            "currentBlock": 0,
            "step": "mergeBlocks",
        }
    ).encode()
    await remote.put(f"d/.{full.name}.merge.json", state if known else b"")
    assert await reads_as(remote, tip.keys) == tip.content
    assert await reads_as(remote, middle.keys) == middle.content
    with pytest.raises(ChainBroken, match="restore one of those"):
        await reads_as(remote, full.keys)


# ── what is not believed ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "target",
    [
        "",
        "data/",
        "data/.vhd",
        "data/x",
        "data/../x.vhd",
        "../data/x.vhd",
        "/data/x.vhd",
        "data//x.vhd",
        "data/y/x.vhd",
        "data/..vhd",
        "data/x.alias.vhd",
        "data/x.vhd\0",
        "data/x\n.vhd",
        "data\\x.vhd",
        "20260101T020000Z.vhd",
        "data/" + "x" * 300 + ".vhd",
        b"\xff\xfe",
    ],
)
async def test_an_alias_leads_nowhere_else(remote, chain, target):
    tip = chain[-1]
    await remote.put(tip.alias, target if isinstance(target, bytes) else target.encode())
    with pytest.raises(ChainBroken, match="the alias"):
        await read_block_directory(remote, tip.alias)


async def test_an_alias_is_short_and_its_spaces_do_not_matter(remote, chain):
    tip = chain[-1]
    await remote.put(tip.alias, b" " + alias_content(tip.directory) + b"\n")
    assert (await read_block_directory(remote, tip.alias)).directory == tip.directory
    assert parse_alias("a.alias.vhd", b"data/x.vhd") == "data/x.vhd"
    await remote.put(tip.alias, b"data/" + b" " * 1024 + b"x.vhd")
    with pytest.raises(ChainBroken, match="1024"):
        await read_block_directory(remote, tip.alias)


@pytest.mark.parametrize("name", ["footer", "header", "bat"])
@pytest.mark.parametrize("how", ["gone", "empty", "rubbish", "bomb", "long", "other"])
async def test_damaged_tables_are_found_out(remote, chain, name, how):
    tip = chain[-1]
    key = f"{tip.directory}/{name}"
    content = {
        "empty": b"",
        "rubbish": b"\xff" * 100,
        "bomb": brotli.compress(bytes(2**28), quality=1),
        "long": bytes(2**22),
        "other": brotli.compress(b"\xff" * 4096, quality=0),
    }
    if how == "gone":
        await remote.delete(key)
    else:
        await remote.put(key, content[how])
    with pytest.raises(ChainBroken):
        await read_block_directory(remote, tip.alias)


@pytest.mark.parametrize("size", [0, BLOCK_RECORD - 1, BLOCK_RECORD + 1, 2**28])
async def test_a_block_of_another_size_is_refused(remote, chain, reads_as, size):
    disk = await read_block_directory(remote, chain[0].alias)
    await remote.put(disk.block_key(7), brotli.compress(b"\xff" * size, quality=1))
    with pytest.raises(ChainBroken, match="block 7: unpacks to"):
        await reads_as(remote, chain[-1].keys)


async def test_a_block_that_is_too_large_is_not_even_read(remote, chain, reads_as):
    disk = await read_block_directory(remote, chain[0].alias)
    await remote.put(disk.block_key(7), bytes(3 * BLOCK))
    with pytest.raises(ChainBroken, match="block 7 has more than"):
        await reads_as(remote, chain[-1].keys)


async def test_a_link_to_another_disk_is_refused(remote, chain, block_disk, reads_as):
    other = block_disk("20260101T020000Z", 77, SIZE, {0: 1})
    await other.write(remote)
    with pytest.raises(ChainBroken, match="its parent should be"):
        await reads_as(remote, chain[-1].keys)


async def test_circles_end(remote, chain, block_disk, reads_as):
    full = chain[0]
    round_and_round = block_disk(full.stamp, full.number, SIZE, {}, chain[-1])
    await round_and_round.write(remote)
    with pytest.raises(ChainBroken, match="circle"):
        await reads_as(remote, [chain[-1].alias])


async def test_a_missing_link_is_missing(remote, chain, reads_as):
    await remote.delete(chain[0].alias)
    with pytest.raises(Missing):
        await reads_as(remote, chain[-1].keys)


async def test_layouts_are_never_mixed(remote, chain, disk, block_disk, reads_as):
    file = disk("20251231T020000Z.vhd", 8, SIZE, {0: 1})
    await file.write(remote)
    file.uuid = "00000000-0000-4000-8000-000000000008"
    upper = block_disk("20260104T020000Z", 9, SIZE, {1: 1}, file)
    await upper.write(remote)
    with pytest.raises(ChainBroken, match="stands on a file"):
        await reads_as(remote, [upper.alias])
    with pytest.raises(ChainBroken, match="is in block mode"):
        await reads_as(remote, [file.key, chain[0].alias])


async def test_a_header_that_is_too_short_for_the_disk_is_refused(remote, chain, block_disk):
    """What Xen Orchestra's merge makes of a disk that grew."""
    small = block_disk("20260105T020000Z", 5, 4 * BLOCK, {0: 1})
    large = block_disk("20260105T020000Z", 5, 9 * BLOCK, {0: 1}, data="large")
    await small.write(remote)
    await large.write(remote, alias=False)
    footer = await remote.get(f"{large.directory}/footer", 10_000)
    await remote.put(f"{small.directory}/footer", footer)
    with pytest.raises(ChainBroken, match="too few"):
        await read_block_directory(remote, small.alias)
