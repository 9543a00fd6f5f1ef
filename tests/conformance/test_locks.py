"""The lock of a VM's directory, on every kind of remote: one holder, and who lost it knows."""

from datetime import UTC, datetime

import pytest

from reconciler.catalog.errors import LockedByOther, LockLost
from reconciler.catalog.layout import lock_key
from reconciler.catalog.lock import vm_lock
from reconciler.clock import SteppedClock
from reconciler.ids import VmUuid
from reconciler.remotes.errors import Missing

VM = VmUuid("3f1b2c4d-0000-4000-8000-000000000001")


def clock():
    return SteppedClock(datetime(2026, 11, 23, tzinfo=UTC))


async def test_one_holds_it_and_gives_it_back(place):
    async with place() as one, place() as other:
        async with vm_lock(one, VM, clock()) as lock:
            await lock.verify()
            await lock.beat()
            await lock.verify()
            with pytest.raises(LockedByOther):
                async with vm_lock(other, VM, clock()):
                    pass
            await lock.verify()
        with pytest.raises(Missing):
            await one.stat(lock_key(VM))
        async with vm_lock(other, VM, clock()) as lock:
            await lock.verify()


async def test_who_lost_it_finds_out(place):
    async with place() as one, place() as other:
        with pytest.raises(LockLost):
            async with vm_lock(one, VM, clock()) as lock:
                await other.remove_directory(lock_key(VM))
                await other.make_directory(lock_key(VM))
                await lock.verify()
        assert (await other.stat(lock_key(VM))).is_directory  # theirs now: it was left alone


async def test_who_was_touched_by_somebody_else_finds_out(place):
    async with place() as one, place() as other:
        with pytest.raises(LockLost):
            async with vm_lock(one, VM, clock()) as lock:
                await other.touch(lock_key(VM))
                await lock.verify()
