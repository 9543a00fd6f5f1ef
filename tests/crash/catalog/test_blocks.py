"""Block mode: publishing, merging and cleaning survive every crash and every error."""

import errno

import pytest

from reconciler.catalog import read
from reconciler.catalog.write import merge_disk

BLOCKS = {0: 77, 2: 78}
ERRNOS = (errno.EIO, errno.ENOENT)  # as a lasting failure, and as a reply that was lost


@pytest.fixture
def world(world):
    world.blocks = True
    world.disks = world.disks[:1]
    yield world
    world.workers.close()


def publishing(world, stamps, *, delta, cleaning):
    """The next point after another; afterwards debris is cleaned, before or after trying again."""
    new = stamps[1]
    parent = stamps[0] if delta else None

    async def scenario(remote):
        await world.build(remote, 1)
        world.knows(new, BLOCKS, parent)
        world.finally_.add(new)

    async def publish(remote):
        await world.publish(remote, new, BLOCKS, parent)

    async def recover(remote):
        for step in (world.clean, publish) if cleaning else (publish, world.clean):
            await step(remote)

    return scenario, publish, recover


@pytest.mark.parametrize("cleaning", [False, True], ids=["goes-on", "cleaned-first"])
@pytest.mark.parametrize("delta", [False, True], ids=["full", "delta"])
async def test_publishing_survives_every_crash(
    world, stamps, failing, enumerate_crashes, delta, cleaning
):
    scenario, publish, recover = publishing(world, stamps, delta=delta, cleaning=cleaning)
    await enumerate_crashes(
        scenario,
        publish,
        world.check,
        recovery=recover,
        failing=failing,
        subsets_max=8,
        depth=1,
        at_least=100,
    )


async def test_publishing_survives_every_error(world, stamps, failing, enumerate_errors):
    scenario, publish, recover = publishing(world, stamps, delta=True, cleaning=False)
    await enumerate_errors(
        scenario,
        publish,
        world.check,
        recovery=recover,
        failing=failing,
        errnos=ERRNOS,
        at_least=300,
    )


def merging(world, stamps, which):
    """Three points on one chain; the point of one is pruned, its disk is folded into the next."""

    async def scenario(remote):
        await world.build(remote, 3)
        await world.prune(remote, stamps[which])
        for kept in (world.must, world.finally_):
            kept.remove(stamps[which])

    async def merge(remote):
        disk = world.disks[0]
        target, source = (world.path(stamps[which + step], disk) for step in (0, 1))
        async with world.lock(remote) as lock:
            await merge_disk(lock, target, source)

    async def recover(remote):
        """Finish what was begun, and clean: what the next plans would do."""
        history = await read.read_vm(remote, world.vm, world.now)
        target = world.path(stamps[which], world.disks[0])
        if target in history.files or history.merges:
            await merge(remote)
        await world.clean(remote)

    return scenario, merge, recover


@pytest.mark.parametrize("which", [0, 1], ids=["full", "delta"])
async def test_merging_survives_every_crash(world, stamps, failing, enumerate_crashes, which):
    scenario, merge, recover = merging(world, stamps, which)
    await enumerate_crashes(
        scenario,
        merge,
        world.check,
        recovery=recover,
        failing=failing,
        subsets_max=8,
        depth=1,
        at_least=100,
    )


@pytest.mark.slow(seconds=40)
@pytest.mark.parametrize("scene", ["publishing", "merging"])
async def test_crashes_during_recovery_are_survived_too(
    world, stamps, failing, enumerate_crashes, scene
):
    if scene == "publishing":
        scenario, operation, recover = publishing(world, stamps, delta=True, cleaning=False)
    else:
        scenario, operation, recover = merging(world, stamps, 0)
    await enumerate_crashes(
        scenario,
        operation,
        world.check,
        recovery=recover,
        failing=failing,
        subsets_max=4,
        at_least=1000,
    )


async def test_merging_survives_every_error(world, stamps, failing, enumerate_errors):
    scenario, merge, recover = merging(world, stamps, 0)
    await enumerate_errors(
        scenario,
        merge,
        world.check,
        recovery=recover,
        failing=failing,
        errnos=ERRNOS,
        at_least=300,
    )


def cleaning(world, stamps):
    """Two disks above a chain whose points are gone, and what an upload left beside them."""

    async def scenario(remote):
        await world.build(remote, 3)
        for stamp in (stamps[1], stamps[2]):
            await world.prune(remote, stamp)
            for kept in (world.must, world.finally_):
                kept.remove(stamp)
        directory = world.path(stamps[3], world.disks[0]).rpartition("/")[0]
        left = f"xo-vm-backups/{world.vm}/{directory}/data/{stamps[3]}.vhd"
        await remote.put(f"{left}/footer", b"whatever")
        await remote.put(f"{left}/blocks/0/1", b"whatever")

    return scenario, world.clean


async def test_cleaning_survives_every_crash(world, stamps, failing, enumerate_crashes):
    scenario, clean = cleaning(world, stamps)
    await enumerate_crashes(
        scenario, clean, world.check, failing=failing, subsets_max=8, at_least=50
    )


async def test_cleaning_survives_every_error(world, stamps, failing, enumerate_errors):
    scenario, clean = cleaning(world, stamps)
    await enumerate_errors(
        scenario, clean, world.check, failing=failing, errnos=ERRNOS, at_least=100
    )
