"""Pruning a point: its metadata goes in one step, and nothing else is touched."""

import pytest


def pruning(world, stamps, which, *, then_clean):
    """Three points on one chain; one goes, and what only it stood on is cleaned or stays."""

    async def scenario(remote):
        await world.build(remote, 3)
        world.must.remove(stamps[which])
        world.may.add(stamps[which])
        world.finally_.remove(stamps[which])

    async def prune(remote):
        await world.prune(remote, stamps[which])
        if then_clean:
            await world.clean(remote)

    async def recover(remote):
        await world.prune(remote, stamps[which])
        await world.clean(remote)

    return scenario, prune, recover


# The newest point's files stand under nothing, so they go too; the others' stay, to be merged.
CASES = [(0, False), (1, False), (2, True)]


@pytest.mark.parametrize(("which", "then_clean"), CASES, ids=["oldest", "middle", "newest"])
async def test_pruning_survives_every_crash(
    world, stamps, failing, enumerate_crashes, which, then_clean
):
    scenario, prune, recover = pruning(world, stamps, which, then_clean=then_clean)
    await enumerate_crashes(
        scenario, prune, world.check, recovery=recover, failing=failing, at_least=40
    )


@pytest.mark.parametrize(("which", "then_clean"), CASES, ids=["oldest", "middle", "newest"])
async def test_pruning_survives_every_error(
    world, stamps, failing, enumerate_errors, which, then_clean
):
    scenario, prune, recover = pruning(world, stamps, which, then_clean=then_clean)
    await enumerate_errors(
        scenario, prune, world.check, recovery=recover, failing=failing, at_least=1000
    )
