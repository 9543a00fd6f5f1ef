"""Merging by copying: whatever happens, every restore point reads as before."""

from reconciler.transfer.merge import Protocol
from reconciler.vhd.encoder import Packing


async def test_every_crash(chain, enumerate_crashes):
    world = chain(copy=True)
    await enumerate_crashes(
        world.scenario, world.operation, world.check, subsets_max=32, at_least=100
    )
    assert world.protocols == {Protocol.COPY, Protocol.FINISHED}


async def test_every_error(chain, enumerate_errors):
    world = chain(copy=True)
    await enumerate_errors(
        world.scenario, world.operation, world.check, subsets_max=32, at_least=100
    )


async def test_every_crash_of_a_disk_that_grew(chain, enumerate_crashes):
    """No table in the target has to be long enough."""
    world = chain(copy=True, grown=200, full=True)
    await enumerate_crashes(
        world.scenario, world.operation, world.check, subsets_max=32, at_least=100
    )
    assert world.protocols == {Protocol.COPY, Protocol.FINISHED}


async def test_every_crash_with_packed_files(chain, enumerate_crashes):
    """Files that Xen Orchestra wrote: nothing lies on a boundary."""
    world = chain(copy=True, target_packing=Packing.PACKED, source_packing=Packing.PACKED)
    await enumerate_crashes(
        world.scenario, world.operation, world.check, subsets_max=32, at_least=100
    )
