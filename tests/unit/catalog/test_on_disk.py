"""The catalog on a real directory, with threads and real time, as two operators would share it."""

import asyncio
from dataclasses import replace

import pytest

from reconciler.catalog import layout, write
from reconciler.catalog.errors import LockedByOther, LockLost
from reconciler.clock import SystemClock
from reconciler.remotes.open import open_remote


@pytest.fixture
async def on_disk(shelf, tmp_path):
    remote = await open_remote("cellar", str(tmp_path))
    yield replace(shelf, remote=remote, clock=SystemClock())
    await remote.close()


async def test_the_whole_life_of_a_chain(on_disk, tmp_path):
    shelf = on_disk
    await shelf.chain(4)
    async with shelf.lock() as lock:
        for stamp in shelf.stamps[:2]:
            await write.prune_point(lock, stamp)
        for number in (0, 1):
            target, source = (shelf.path(shelf.stamps[number + step]) for step in (0, 1))
            await write.merge_disk(lock, target, source)
        await write.prune_point(lock, shelf.stamps[3])
        await write.clean_files(lock, [shelf.path(shelf.stamps[3])])
    history = await shelf.history()
    assert [point.stamp for point in history.points] == [shelf.stamps[2]]
    assert set(history.files) == {shelf.path(shelf.stamps[2])}
    assert history.files[shelf.path(shelf.stamps[2])].parent is None
    assert (history.partials, history.unreadable, history.locked_by_others) == ((), (), False)
    home = tmp_path / layout.vm_key(shelf.vm)
    assert sorted(path.name for path in home.iterdir()) == [f"{shelf.stamps[2]}.json", "vdis"]
    assert [path.name for path in home.parent.iterdir()] == [shelf.vm]


async def test_two_operators_never_hold_one_lock(on_disk, tmp_path):
    other = replace(on_disk, remote=await open_remote("the same by another name", str(tmp_path)))
    async with on_disk.lock():
        with pytest.raises(LockedByOther):
            async with other.lock():
                pytest.fail("entered")
        assert (await other.history()).locked_by_others
        assert not (await on_disk.history()).locked_by_others
    async with other.lock():
        pass
    await other.remote.close()


async def test_whoever_finds_the_lock_gone_stops(on_disk, tmp_path):
    with pytest.raises(LockLost):
        async with on_disk.lock() as lock:
            directory = tmp_path / layout.lock_key(on_disk.vm)
            directory.rmdir()
            await asyncio.to_thread(directory.mkdir)
            await lock.verify()
