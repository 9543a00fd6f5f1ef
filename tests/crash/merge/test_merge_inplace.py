"""Merging in place: whatever happens, every restore point reads as before."""

from reconciler.transfer.merge import Protocol
from reconciler.vhd.encoder import Packing


async def test_every_crash(chain, enumerate_crashes):
    world = chain()
    await enumerate_crashes(world.scenario, world.operation, world.check, at_least=1000)
    assert world.protocols == {Protocol.IN_PLACE, Protocol.FINISHED}


async def test_every_error(chain, enumerate_errors):
    world = chain()
    await enumerate_errors(world.scenario, world.operation, world.check, at_least=500)


async def test_every_crash_when_the_target_is_the_full(chain, enumerate_crashes):
    world = chain(full=True)
    await enumerate_crashes(world.scenario, world.operation, world.check, at_least=1000)


async def test_every_crash_with_packed_files(chain, enumerate_crashes):
    """Files that Xen Orchestra wrote: nothing lies on a boundary."""
    world = chain(target_packing=Packing.PACKED, source_packing=Packing.PACKED)
    await enumerate_crashes(world.scenario, world.operation, world.check, at_least=1000)
