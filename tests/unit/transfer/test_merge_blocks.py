"""Merges of disks in block mode: what is left, what others left, and what is refused."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.remotes.errors import Missing
from reconciler.transfer.block_codec import Packing
from reconciler.transfer.block_directory import (
    alias_content,
    list_blocks,
    read_block_directory,
    remove_tree,
)
from reconciler.transfer.errors import ChainBroken, MergeRefused
from reconciler.transfer.merge_blocks import merge_blocks
from reconciler.vhd.layout import BLOCK, BLOCK_RECORD

SIZE = 8 * BLOCK
STAMPS = [f"2026010{day}T020000Z" for day in range(1, 6)]


@pytest.fixture
async def chain(remote, block_disk):
    """A full, two deltas on it, and one more above them."""
    disks, below = [], None
    for number, blocks in enumerate(({0: 1, 1: 2, 2: 3}, {1: 12, 4: 15}, {1: 22, 5: 26}, {0: 31})):
        below = block_disk(STAMPS[number], number + 1, SIZE, blocks, below)
        disks.append(below)
        await below.write(remote)
    return disks


def journal_of(disk):
    return f"d/.{disk.name}.merge.json"


def state_of(disks, step):
    """Xen Orchestra's merge state."""
    state = {
        "child": {"uuid": disks[-1].uuid},
        "parent": {"uuid": disks[0].uuid},
        "chain": [disk.name for disk in disks],
        "currentBlock": 0,
        "mergedDataSize": 0,
        "step": step,
        "diskSize": 0,
    }
    return json.dumps(state).encode()


def names(filesystem):
    """Aliases, journals and block directories that are there."""
    found = set()
    for path in filesystem.paths():
        parts = path.split("/")
        found.add("/".join(parts[1:3]) if parts[1:2] == ["data"] else path.removeprefix("d/"))
    return found


def data_of(disk):
    return disk.directory.removeprefix("d/")


async def test_what_is_left_carries_the_newer_name_over_the_older_data(
    remote, filesystem, chain, reads_as
):
    full, one, two, tip = chain
    moved = []
    await merge_blocks(remote, full.alias, one.alias, on_progress=moved.append)
    assert sum(moved) == 2 * BLOCK_RECORD
    assert names(filesystem) == {
        one.name, two.name, tip.name, data_of(full), data_of(two), data_of(tip)
    }  # fmt: skip
    left = await read_block_directory(remote, one.alias)
    assert (left.directory, left.uuid, left.is_differencing) == (full.directory, one.uuid, False)
    for disk in (one, two, tip):
        assert await reads_as(remote, [disk.alias]) == disk.content


async def test_a_delta_keeps_the_older_ones_parent(remote, chain, reads_as):
    full, one, two, tip = chain
    await merge_blocks(remote, one.alias, two.alias)
    left = await read_block_directory(remote, two.alias)
    assert (left.header.parent_name, left.header.parent_uuid) == (full.name, full.uuid)
    assert await reads_as(remote, [tip.alias]) == tip.content


async def test_no_block_is_read_or_sent_where_the_remote_copies(remote, filesystem, chain):
    filesystem.calls.clear()
    await merge_blocks(remote, chain[0].alias, chain[1].alias)
    touched = [call for call in filesystem.calls if "/blocks/" in call.path]
    assert not [call for call in touched if call.kind in ("pread_into", "pwritev")]
    assert [call for call in touched if call.kind == "link"]


async def test_other_packing_is_packed_anew(remote, block_disk, reads_as):
    full = block_disk(STAMPS[0], 1, SIZE, {0: 1, 1: 2}, packing=Packing.GZIP)
    tip = block_disk(STAMPS[1], 2, SIZE, {1: 9, 3: 8}, full)
    for disk in (full, tip):
        await disk.write(remote)
    await merge_blocks(remote, full.alias, tip.alias)
    left = await read_block_directory(remote, tip.alias)
    assert left.packing is Packing.GZIP
    assert await reads_as(remote, [tip.alias]) == tip.content


async def test_a_disk_that_grew_gets_a_table_that_is_long_enough(remote, block_disk, reads_as):
    """Xen Orchestra leaves it as it was, cannot open it then, and removes the chain."""
    full = block_disk(STAMPS[0], 1, SIZE, {0: 1})
    tip = block_disk(STAMPS[1], 2, 100 * BLOCK, {99: 9}, full)
    for disk in (full, tip):
        await disk.write(remote)
    await merge_blocks(remote, full.alias, tip.alias)
    left = await read_block_directory(remote, tip.alias)
    assert (left.header.entries, left.size) == (100, 100 * BLOCK)
    assert await reads_as(remote, [tip.alias]) == {0: 1, 99: 9}


async def test_merging_again_finds_it_gone_or_refuses(remote, chain):
    await merge_blocks(remote, chain[0].alias, chain[1].alias)
    await merge_blocks(remote, chain[0].alias, chain[1].alias)  # nothing is left to do
    with pytest.raises(Missing):
        await merge_blocks(remote, "d/x.alias.vhd", "d/y.alias.vhd")


async def test_only_a_child_is_merged_with_its_parent(remote, filesystem, chain):
    before = filesystem.paths()
    with pytest.raises(MergeRefused, match="its parent is"):
        await merge_blocks(remote, chain[0].alias, chain[2].alias)
    assert filesystem.paths() == before


async def test_a_parent_that_somebody_removed_is_said(remote, chain):
    await remote.delete(chain[0].alias)
    with pytest.raises(MergeRefused, match="which it needs, is gone"):
        await merge_blocks(remote, chain[0].alias, chain[1].alias)


async def test_a_newer_one_that_is_gone_is_said(remote, filesystem, chain):
    await remote.delete(chain[1].alias)
    with pytest.raises(MergeRefused, match="was not done"):
        await merge_blocks(remote, chain[0].alias, chain[1].alias)
    assert data_of(chain[0]) in names(filesystem)


async def test_a_block_that_is_missing_stops_it_before_anything_is_touched(
    remote, filesystem, chain
):
    disk = await read_block_directory(remote, chain[1].alias)
    await remote.delete(disk.block_key(4))
    before = filesystem.paths()
    with pytest.raises(ChainBroken, match="block 4 is not in"):
        await merge_blocks(remote, chain[0].alias, chain[1].alias)
    assert filesystem.paths() == before


async def test_another_merge_is_not_ours_to_shorten(remote, chain):
    await remote.put(journal_of(chain[0]), state_of(chain[:3], "mergeBlocks"))
    with pytest.raises(MergeRefused, match="finish that one"):
        await merge_blocks(remote, chain[0].alias, chain[1].alias)


async def test_a_journal_that_names_what_is_needed_removes_nothing_of_it(remote, chain, reads_as):
    full, one, two, tip = chain
    state = json.loads(state_of([full, one], "mergeBlocks"))
    state["reconciler"] = {"version": 1, "data": [f"{STAMPS[2]}.vhd", f"{STAMPS[3]}.vhd"]}
    await remote.put(journal_of(full), json.dumps(state).encode())
    await merge_blocks(remote, full.alias, one.alias)
    assert await reads_as(remote, [tip.alias]) == tip.content
    assert await reads_as(remote, [two.alias]) == two.content


# ── what Xen Orchestra leaves, state by state ────────────────────────────────────────────────────


async def move(remote, source, target, blocks):
    """Blocks on their way in its merge: renamed, over what is there."""
    newer = await read_block_directory(remote, source.alias)
    for block in blocks:
        key = f"{target.directory}/blocks/0/{block}"
        await remote.copy(newer.block_key(block), key)
        await remote.delete(newer.block_key(block))


async def become(remote, block_disk, full, newest):
    """Its tables at the end of the blocks: all that it took in, and the newest's identity."""
    merged = block_disk(full.stamp, newest.number, SIZE, newest.content)
    await merged.write(remote)


@pytest.mark.parametrize("cut_off", [False, True], ids=["state", "empty-state"])
@pytest.mark.parametrize("moved", [(), (1,), (4,), (1, 4)])
async def test_it_died_among_the_blocks(remote, filesystem, chain, reads_as, moved, cut_off):
    full, one, two, tip = chain
    await remote.put(journal_of(full), b"" if cut_off else state_of([full, one], "mergeBlocks"))
    await move(remote, one, full, moved)
    assert await reads_as(remote, [tip.alias]) == tip.content  # not even that it can itself
    await merge_blocks(remote, full.alias, one.alias)
    assert await reads_as(remote, [tip.alias]) == tip.content
    assert names(filesystem) == {
        one.name, two.name, tip.name, data_of(full), data_of(two), data_of(tip)
    }  # fmt: skip


async def test_it_died_while_it_merged_several(remote, filesystem, chain, reads_as):
    full, one, two, tip = chain
    await remote.put(journal_of(full), state_of([full, one, two], "mergeBlocks"))
    await move(remote, two, full, (1,))
    await move(remote, one, full, (4,))
    await merge_blocks(remote, full.alias, two.alias)
    assert await reads_as(remote, [tip.alias]) == tip.content
    assert await reads_as(remote, [two.alias]) == two.content
    assert names(filesystem) == {two.name, tip.name, data_of(full), data_of(tip)}


@pytest.mark.parametrize("step", ["mergeBlocks", "cleanup", "cleanupVhds"])
async def test_it_died_with_everything_merged(remote, chain, block_disk, reads_as, step):
    full, one, _, tip = chain
    await move(remote, one, full, one.blocks)
    await become(remote, block_disk, full, one)
    await remote.put(journal_of(full), state_of([full, one], step))
    await merge_blocks(remote, full.alias, one.alias)
    assert await reads_as(remote, [tip.alias]) == tip.content


@pytest.mark.parametrize("left", ["half-data", "alias-only", "data-only", "nothing"])
async def test_it_died_removing_the_newer_one(
    remote, filesystem, chain, block_disk, reads_as, left
):
    """The states in which it fails for ever, or removes the whole chain."""
    full, one, two, tip = chain
    await move(remote, one, full, one.blocks)
    await become(remote, block_disk, full, one)
    await remote.put(journal_of(full), state_of([full, one], "cleanup"))
    if left == "half-data":
        await remote.delete(f"{one.directory}/bat")
    elif left != "data-only":
        await remove_tree(remote, one.directory)
    if left in ("data-only", "nothing"):
        await remote.delete(one.alias)
    await merge_blocks(remote, full.alias, one.alias)
    assert await reads_as(remote, [tip.alias]) == tip.content
    expected = {one.name, two.name, tip.name, data_of(full), data_of(two), data_of(tip)}
    if left == "data-only":
        expected.add(data_of(one))  # nobody's now, and cleaned as such
    assert names(filesystem) == expected


@pytest.mark.parametrize("state", [True, False], ids=["state", "no-state"])
async def test_it_died_between_the_two_aliases(
    remote, filesystem, chain, block_disk, reads_as, state
):
    """Two aliases of one directory; without its state it would remove the directory itself."""
    full, one, _, tip = chain
    await move(remote, one, full, one.blocks)
    await become(remote, block_disk, full, one)
    await remove_tree(remote, one.directory)
    await remote.put(one.alias, alias_content(full.directory))
    if state:
        await remote.put(journal_of(full), state_of([full, one], "cleanup"))
    await merge_blocks(remote, full.alias, one.alias)
    assert await reads_as(remote, [tip.alias]) == tip.content
    assert full.name not in names(filesystem)
    assert journal_of(full).removeprefix("d/") not in names(filesystem)


# ── any chain ────────────────────────────────────────────────────────────────────────────────────

BLOCKS = st.dictionaries(st.integers(0, 7), st.integers(0, 255), max_size=6)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    chain=st.lists(st.tuples(BLOCKS, st.sampled_from(Packing)), min_size=2, max_size=5),
    order=st.randoms(use_true_random=False),
    links=st.booleans(),
)
async def test_any_chain_reads_the_same_however_it_is_merged(
    remote_with, block_disk, reads_as, chain, order, links
):
    remote, _ = remote_with(hard_links=links)
    disks, below = [], None
    for number, (blocks, packing) in enumerate(chain):
        below = block_disk(STAMPS[number], number + 1, SIZE, blocks, below, packing=packing)
        await below.write(remote)
        disks.append(below)
    contents = {disk.alias: disk.content for disk in disks}
    left = list(disks)
    while len(left) > 1:
        at = order.randrange(len(left) - 1)
        target = left.pop(at)
        await merge_blocks(remote, target.alias, left[at].alias)
        for disk in left:
            assert await reads_as(remote, [disk.alias]) == contents[disk.alias]
            stored = await read_block_directory(remote, disk.alias)
            lying = await list_blocks(remote, stored.directory)
            assert lying.blocks == set(stored.present)
            assert lying.strays == ()
