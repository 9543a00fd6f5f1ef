"""Cleaning: partial uploads, half-published points and whole chains without a point go; no more."""

import pytest

from reconciler.catalog import layout


def cleaning(world, stamps):
    """Two points; beside them a chain whose points are gone, partial uploads, other people's files.

    The orphans stand on the newest point's file: removed in the wrong order, or one too many, and
    something that is needed breaks.
    """
    foreign = [
        layout.key_of(world.vm, name)
        for name in (".nfs000000001", "notes.txt", "vdis/.snapshot/x", "vdis/@eaDir/y.vhd")
    ]

    async def scenario(remote):
        await world.build(remote, 2)
        await world.publish(remote, stamps[2], {0: 50, 3: 51}, stamps[1])
        await world.publish(remote, stamps[3], {1: 52}, stamps[2])
        for stamp in stamps[2:4]:
            await world.prune(remote, stamp)
        for disk in world.disks:
            key = layout.key_of(world.vm, layout.partial_of(world.path(stamps[4], disk)))
            await remote.put(key, b"half")
        await remote.put(layout.key_of(world.vm, f".{stamps[4]}.json.x7.partial"), b"{")
        for key in foreign:
            await remote.put(key, b"not ours")

    async def check(remote, filesystem, stage):
        await world.check(remote, filesystem, stage)
        for key in foreign:
            assert filesystem.content(key).whole() == b"not ours"

    return scenario, world.clean, check


async def test_cleaning_survives_every_crash(world, stamps, failing, enumerate_crashes):
    scenario, clean, check = cleaning(world, stamps)
    await enumerate_crashes(scenario, clean, check, failing=failing, at_least=30)


async def test_cleaning_survives_every_error(world, stamps, failing, enumerate_errors):
    scenario, clean, check = cleaning(world, stamps)
    await enumerate_errors(scenario, clean, check, failing=failing, at_least=1000)


@pytest.mark.parametrize("count", [1, 2])
async def test_nothing_is_cleaned_where_nothing_is_to_be_cleaned(
    world, failing, enumerate_errors, count
):
    async def scenario(remote):
        await world.build(remote, count)

    await enumerate_errors(scenario, world.clean, world.check, failing=failing, at_least=100)
