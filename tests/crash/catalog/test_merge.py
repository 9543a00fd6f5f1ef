"""Merging through the catalog: the lock, the checks and the metadata around the protocols."""

import pytest

from reconciler.catalog import read
from reconciler.catalog.lock import vm_lock
from reconciler.catalog.write import merge_disk
from reconciler.clock import SteppedClock


def merging(world, stamps, which):
    """Three points on one chain; the point of one is pruned, its file is folded into the next."""

    async def scenario(remote):
        await world.build(remote, 3)
        await world.prune(remote, stamps[which])
        for kept in (world.must, world.finally_):
            kept.remove(stamps[which])

    async def merge(remote):
        disk = world.disks[0]
        target, source = (world.path(stamps[which + step], disk) for step in (0, 1))
        async with vm_lock(remote, world.vm, SteppedClock(world.now)) as lock:
            await merge_disk(lock, target, source)

    async def recover(remote):
        """Finish what was begun, and clean: what the next plans would do."""
        history = await read.read_vm(remote, world.vm, world.now)
        target = world.path(stamps[which], world.disks[0])
        if target in history.files or history.merges:
            await merge(remote)
        await world.clean(remote)

    return scenario, merge, recover


@pytest.mark.parametrize(
    ("which", "reflink"), [(0, False), (1, True)], ids=["full-by-copy", "delta-by-clone"]
)
async def test_merging_survives_every_crash(
    world, stamps, failing, enumerate_crashes, which, reflink
):
    world.disks = world.disks[:1]
    scenario, merge, recover = merging(world, stamps, which)
    await enumerate_crashes(
        scenario,
        merge,
        world.check,
        recovery=recover,
        failing=failing,
        reflink=reflink,
        subsets_max=16,
        at_least=200,
    )


@pytest.mark.parametrize("reflink", [False, True], ids=["copy", "clone"])
async def test_merging_survives_every_error(world, stamps, failing, enumerate_errors, reflink):
    world.disks = world.disks[:1]
    scenario, merge, recover = merging(world, stamps, 0)
    await enumerate_errors(
        scenario,
        merge,
        world.check,
        recovery=recover,
        failing=failing,
        reflink=reflink,
        at_least=1000,
    )
