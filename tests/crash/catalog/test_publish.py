"""Publishing a restore point: until its metadata is there, nothing is; from then on, all of it."""

import pytest

BLOCKS = {0: 77, 2: 78}


def publishing(world, stamps, *, delta):
    """The next point after two others; afterwards debris is cleaned, as the next plan would."""
    new = stamps[2]
    parent = stamps[1] if delta else None

    async def scenario(remote):
        await world.build(remote, 2)
        world.knows(new, BLOCKS, parent)
        world.finally_.add(new)

    async def publish(remote):
        await world.publish(remote, new, BLOCKS, parent)

    async def recover(remote):
        await world.clean(remote)
        await world.publish(remote, new, BLOCKS, parent)

    return scenario, publish, recover


def first_point(world, stamps):
    """On a remote where nothing is yet: directories are made on the way."""

    async def scenario(remote):
        world.knows(stamps[0], BLOCKS)
        world.finally_.add(stamps[0])

    async def publish(remote):
        await world.publish(remote, stamps[0], BLOCKS)

    async def recover(remote):
        await publish(remote)
        await world.clean(remote)

    return scenario, publish, recover


@pytest.mark.parametrize("delta", [False, True], ids=["full", "delta"])
async def test_publishing_survives_every_crash(world, stamps, failing, enumerate_crashes, delta):
    world.disks = world.disks[:1]
    scenario, publish, recover = publishing(world, stamps, delta=delta)
    await enumerate_crashes(
        scenario,
        publish,
        world.check,
        recovery=recover,
        failing=failing,
        subsets_max=32,
        at_least=500,
    )


@pytest.mark.parametrize("delta", [False, True], ids=["full", "delta"])
async def test_publishing_survives_every_error(world, stamps, failing, enumerate_errors, delta):
    world.disks = world.disks[:1]
    scenario, publish, recover = publishing(world, stamps, delta=delta)
    await enumerate_errors(
        scenario, publish, world.check, recovery=recover, failing=failing, at_least=1000
    )


async def test_the_first_point_survives_every_crash(world, stamps, failing, enumerate_crashes):
    scenario, publish, recover = first_point(world, stamps)
    await enumerate_crashes(
        scenario,
        publish,
        world.check,
        recovery=recover,
        failing=failing,
        subsets_max=32,
        at_least=500,
    )


async def test_the_first_point_survives_every_error(world, stamps, failing, enumerate_errors):
    world.disks = world.disks[:1]
    scenario, publish, recover = first_point(world, stamps)
    await enumerate_errors(
        scenario, publish, world.check, recovery=recover, failing=failing, at_least=1000
    )


async def test_trying_again_without_cleaning_first_ends_the_same(
    world, stamps, failing, enumerate_crashes
):
    scenario, publish, _ = publishing(world, stamps, delta=True)

    async def recover(remote):
        await publish(remote)
        await world.clean(remote)

    await enumerate_crashes(
        scenario,
        publish,
        world.check,
        recovery=recover,
        failing=failing,
        subsets_max=32,
        at_least=500,
    )
