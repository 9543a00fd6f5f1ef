"""Merging by clone: whatever happens, every restore point reads as before."""

from reconciler.transfer.merge import Protocol
from reconciler.vhd.encoder import Packing


async def test_every_crash(chain, enumerate_crashes):
    world = chain()
    await enumerate_crashes(
        world.scenario, world.operation, world.check, reflink=True, subsets_max=32, at_least=100
    )
    assert world.protocols == {Protocol.CLONE, Protocol.FINISHED}


async def test_every_error(chain, enumerate_errors):
    world = chain()
    await enumerate_errors(
        world.scenario, world.operation, world.check, reflink=True, subsets_max=32, at_least=100
    )


async def test_every_crash_of_a_disk_that_grew(chain, enumerate_crashes):
    """The longer table displaces blocks of the target."""
    world = chain(grown=200, full=True)
    await enumerate_crashes(
        world.scenario, world.operation, world.check, reflink=True, subsets_max=32, at_least=100
    )
    assert world.protocols == {Protocol.CLONE, Protocol.FINISHED}


async def test_every_crash_with_packed_files(chain, enumerate_crashes):
    """Files that Xen Orchestra wrote: nothing lies on a boundary."""
    world = chain(target_packing=Packing.PACKED, source_packing=Packing.PACKED)
    await enumerate_crashes(
        world.scenario, world.operation, world.check, reflink=True, subsets_max=32, at_least=100
    )
