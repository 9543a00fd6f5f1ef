"""Merges that Xen Orchestra began: finished by us, whatever it left and whatever happens then.

Xen Orchestra writes in place, appends over the trailing footer, writes the table once at the end,
syncs nothing, and merges several files at once.
"""

import json

import pytest

from reconciler.transfer.merge import Protocol
from reconciler.vhd.encoder import Packing
from reconciler.vhd.layout import BLOCK_RECORD


def state_of(world, step, names=None):
    """The state file as Xen Orchestra writes it."""
    names = names or [
        disk.name for disk in (world.target, world.middle, world.source) if disk is not None
    ]
    state = {
        "child": {"uuid": f"00000000-0000-4000-8000-{world.source.number:012d}"},
        "parent": {"uuid": f"00000000-0000-4000-8000-{world.target.number:012d}"},
        "chain": names,
        "currentBlock": 2,
        "mergedDataSize": 3 * 2**21,
        "step": step,
        "diskSize": 0,
    }
    return json.dumps(state).encode()


async def half_merged(remote, world):
    """Block 0 overwritten, block 3 appended where the footer was, the table still the old one."""
    async with remote.open(world.target.key, write=True) as file:
        head = await file.read(0, 4096)
        table = [int.from_bytes(head[1536 + 4 * n : 1540 + 4 * n], "big") for n in range(8)]
        size = await file.size()
        full = b"\xff" * 512
        await file.write([full, bytes([20]) * (BLOCK_RECORD - 512)], table[0] * 512)
        await file.write([full, bytes([22]) * (BLOCK_RECORD - 512)], size - 512)


def world_of(chain, between):
    return chain(between=between, target_packing=Packing.PACKED, source_packing=Packing.PACKED)


@pytest.mark.parametrize("between", [False, True])
async def test_every_crash_while_finishing_a_merge(chain, enumerate_crashes, between):
    world = world_of(chain, between)

    async def scenario(remote):
        await world.scenario(remote)
        await half_merged(remote, world)
        await remote.put(world.journal_key, state_of(world, "mergeBlocks"))

    middle = [world.middle.key] if between else []

    async def check(remote, filesystem, stage):
        await _check(world, remote, filesystem, stage, may_stay=middle)

    await enumerate_crashes(scenario, world.operation, check, subsets_max=16, at_least=400)
    assert Protocol.IN_PLACE in world.protocols


async def test_every_crash_with_a_state_file_that_was_cut_off(chain, enumerate_crashes):
    world = world_of(chain, between=False)

    async def scenario(remote):
        await world.scenario(remote)
        await half_merged(remote, world)
        await remote.put(world.journal_key, b'{"child":{"uu')

    await enumerate_crashes(scenario, world.operation, world.check, subsets_max=16, at_least=400)


async def test_every_crash_when_only_the_target_is_left(chain, enumerate_crashes):
    """It removed the child and died before the rename: its own recovery deletes the whole chain."""
    world = world_of(chain, between=False)
    await _merged_but_not_renamed(chain, enumerate_crashes, world, [world.source])


async def test_every_crash_when_a_file_between_is_gone(chain, enumerate_crashes):
    """It removed one of two children and died: its own recovery fails for ever."""
    world = world_of(chain, between=True)
    await _merged_but_not_renamed(chain, enumerate_crashes, world, [world.middle])


async def _merged_but_not_renamed(chain, enumerate_crashes, world, removed):
    async def scenario(remote):
        # Everything merged and the identity taken: the state before the clean-up.
        await world.scenario(remote)
        keep = world.source.blocks
        merged = type(world.target)(
            world.target.name,
            world.source.number,
            world.target.size_blocks,
            world.target.blocks | (world.middle.blocks if world.middle else {}) | keep,
            world.target.parent,
            Packing.PACKED,
        )
        await remote.delete(world.target.key)
        await merged.write(remote)
        await remote.put(world.journal_key, state_of(world, "cleanup"))
        for disk in removed:
            await remote.delete(disk.key)

    async def check(remote, filesystem, stage):
        journal_there = world.journal_key in filesystem.paths()
        if stage == "before" and journal_there and world.target.key in filesystem.paths():
            return  # not readable until it is recovered: that is what was left
        await _check(world, remote, filesystem, stage, may_stay=[])

    await enumerate_crashes(scenario, world.operation, check, at_least=3)


async def _check(world, remote, filesystem, stage, may_stay):
    for disk in world.points:
        await world.check_point(remote, filesystem, disk)
    if stage == "after":
        wanted = {disk.key for disk in world.points}
        found = {path for path in filesystem.paths() if not path.endswith(".partial")}
        # A file between the two is nobody's any more; removing it is the catalog's business.
        assert wanted <= found <= wanted | set(may_stay), f"left behind: {found - wanted}"
