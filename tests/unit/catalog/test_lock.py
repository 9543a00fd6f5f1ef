import asyncio
import errno
import threading
from datetime import UTC, datetime, timedelta

import pytest
from virtual_time import on_virtual_time

from reconciler.catalog import layout, lock
from reconciler.catalog.errors import LockedByOther, LockLost
from reconciler.catalog.lock import vm_lock
from reconciler.clock import SteppedClock
from reconciler.ids import VmUuid
from reconciler.remotes.errors import NoSpace, RemoteError, Unavailable, WrongRemote
from reconciler.remotes.faults import Fault
from reconciler.remotes.file import FileRemote
from reconciler.remotes.identity import IDENTITY_KEY, content_of
from reconciler.remotes.posix import PosixFilesystem
from reconciler.remotes.threads import Patience

VM = VmUuid("11111111-2222-3333-4444-555555555555")
KEY = layout.lock_key(VM)


@pytest.fixture
def clock():
    return SteppedClock(datetime(2026, 2, 1, tzinfo=UTC))


def locks(shelf):
    return shelf.filesystem.list("xo-vm-backups")


def mtime(shelf):
    return shelf.filesystem.stat(KEY).mtime_ns


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def beat(shelf, clock, seconds=lock.HEARTBEAT_S):
    """Time passes, here and at the file server."""
    shelf.filesystem.pass_time(seconds)
    clock.step(timedelta(seconds=seconds))
    await settle()


async def test_it_is_a_directory_for_as_long_as_it_is_held(shelf, clock):
    async with vm_lock(shelf.remote, VM, clock) as held:
        assert locks(shelf) == [f"{VM}.lock"]
        assert lock.is_held_here("cellar", VM)
        await held.verify()
    assert locks(shelf) == []
    assert not lock.is_held_here("cellar", VM)


async def test_a_living_owner_is_respected(shelf, clock):
    await shelf.remote.make_directory(KEY)
    shelf.filesystem.pass_time(9)
    with pytest.raises(LockedByOther) as raised:
        async with vm_lock(shelf.remote, VM, clock):
            pytest.fail("entered")
    assert 9 <= raised.value.age_s < 9.1
    assert locks(shelf) == [f"{VM}.lock"]


async def test_a_dead_owners_lock_is_taken(shelf, clock):
    await shelf.remote.make_directory(KEY)
    shelf.filesystem.pass_time(10.1)
    async with vm_lock(shelf.remote, VM, clock):
        assert locks(shelf) == [f"{VM}.lock"]
    assert locks(shelf) == []


async def test_only_the_servers_clock_counts(shelf):
    """Ours may be years away from it, in either direction."""
    for year in (1990, 2090):
        clock = SteppedClock(datetime(year, 1, 1, tzinfo=UTC))
        await shelf.remote.make_directory(KEY)
        with pytest.raises(LockedByOther):
            async with vm_lock(shelf.remote, VM, clock):
                pass
        shelf.filesystem.pass_time(11)
        async with vm_lock(shelf.remote, VM, clock):
            pass


async def test_we_never_take_it_from_ourselves(shelf, clock):
    async with vm_lock(shelf.remote, VM, clock):
        shelf.filesystem.pass_time(3600)
        with pytest.raises(LockedByOther):
            async with vm_lock(shelf.remote, VM, clock):
                pass


async def test_the_heart_beats_every_five_seconds(shelf, clock):
    async with vm_lock(shelf.remote, VM, clock):
        await settle()
        for _ in range(4):
            before = mtime(shelf)
            await beat(shelf, clock)
            assert mtime(shelf) - before >= 5 * 10**9


@on_virtual_time
async def test_the_heart_beats_even_if_the_clock_stands_still(shelf, clock, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.01)
    async with vm_lock(shelf.remote, VM, clock):
        before = mtime(shelf)
        await beaten(shelf, before)


async def beaten(shelf, before):
    async with asyncio.timeout(120):
        while mtime(shelf) == before:  # noqa: ASYNC110 (the file server's time is the event)
            await asyncio.sleep(0.005)


async def steal(shelf):
    """Somebody thought us dead."""
    shelf.filesystem.remove_directory(KEY)
    shelf.filesystem.pass_time(1)
    shelf.filesystem.make_directory(KEY)


async def test_a_lock_that_was_taken_over_stops_the_body(shelf, clock):
    reached = []
    with pytest.raises(LockLost, match="took it over"):
        async with vm_lock(shelf.remote, VM, clock):
            await settle()
            await steal(shelf)
            await beat(shelf, clock)
            reached.append("went on")
            await asyncio.sleep(60)
    assert reached in ([], ["went on"])
    assert locks(shelf) == [f"{VM}.lock"], "it is not ours to remove"
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_a_lock_that_was_removed_stops_the_body(shelf, clock):
    with pytest.raises(LockLost, match="was removed"):
        async with vm_lock(shelf.remote, VM, clock):
            await settle()
            shelf.filesystem.remove_directory(KEY)
            await beat(shelf, clock)
            await asyncio.sleep(60)
    assert locks(shelf) == []


async def test_losing_it_at_the_very_end_is_told_too(shelf, clock):
    """The body is done when the heart finds out: nothing of the cancellation stays behind."""
    with pytest.raises(LockLost):
        async with vm_lock(shelf.remote, VM, clock):
            await settle()
            await steal(shelf)
            shelf.filesystem.pass_time(5)
            clock.step(timedelta(seconds=5))
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(60)
    await asyncio.sleep(0)


async def test_it_is_looked_at_before_what_cannot_be_undone(shelf, clock):
    with pytest.raises(LockLost):
        async with vm_lock(shelf.remote, VM, clock) as held:
            await held.verify()
            await steal(shelf)
            with pytest.raises(LockLost):
                await held.verify()
            with pytest.raises(LockLost):
                await held.beat()


@on_virtual_time
async def test_it_is_lost_when_it_could_not_be_touched_for_too_long(shelf, clock, monkeypatch):
    monkeypatch.setattr(lock, "STALE_S", 0.05)
    monkeypatch.setattr(lock, "_RETRY_S", 0.01)
    with pytest.raises(LockLost, match="could not be touched"):
        async with vm_lock(shelf.remote, VM, clock):
            await settle()
            shelf.filesystem.fault = Fault(len(shelf.filesystem.calls), errno.EIO, lasting=True)
            clock.step(timedelta(seconds=5))
            await asyncio.sleep(60)
    shelf.filesystem.fault = None


@on_virtual_time
async def test_one_error_of_the_remote_loses_nothing(shelf, clock, monkeypatch):
    monkeypatch.setattr(lock, "_RETRY_S", 0.01)
    async with vm_lock(shelf.remote, VM, clock) as held:
        await settle()
        before = mtime(shelf)
        shelf.filesystem.fault = Fault(len(shelf.filesystem.calls), errno.EIO)
        await beat(shelf, clock)
        await beaten(shelf, before)
        await held.verify()


async def test_the_bodys_own_error_comes_out_as_it_is(shelf, clock):
    with pytest.raises(KeyError, match="mine"):
        async with vm_lock(shelf.remote, VM, clock):
            raise KeyError("mine")
    assert locks(shelf) == []


async def test_being_cancelled_gives_it_back(shelf, clock):
    entered = asyncio.Event()

    async def work():
        async with vm_lock(shelf.remote, VM, clock):
            entered.set()
            await asyncio.sleep(60)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert locks(shelf) == []


async def test_a_remote_that_refuses_says_why(shelf, clock):
    shelf.filesystem.fault = Fault(0, errno.ENOSPC, lasting=True)
    with pytest.raises(NoSpace):
        async with vm_lock(shelf.remote, VM, clock):
            pass


async def test_being_cancelled_is_not_taken_for_losing_it(shelf, clock):
    """Both at once: whoever cancelled us must see it."""

    async def work():
        async with vm_lock(shelf.remote, VM, clock) as held:
            await settle()
            await steal(shelf)
            task.cancel()
            with pytest.raises(LockLost):
                await held.verify()
            await asyncio.sleep(60)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(work())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


async def test_a_lock_that_cannot_be_given_back_goes_stale(shelf, clock):
    async with vm_lock(shelf.remote, VM, clock):
        shelf.filesystem.fault = Fault(len(shelf.filesystem.calls), errno.EIO, lasting=True)
    shelf.filesystem.fault = None
    assert locks(shelf) == [f"{VM}.lock"]
    shelf.filesystem.pass_time(11)
    async with vm_lock(shelf.remote, VM, clock):
        pass


async def test_an_owner_that_left_in_between_is_no_obstacle(shelf, clock):
    await shelf.remote.make_directory(KEY)
    listing = shelf.filesystem.entries

    def leave(path):
        if path == KEY:
            shelf.filesystem.remove_directory(KEY)
            shelf.filesystem.entries = listing
        return listing(path)

    shelf.filesystem.entries = leave
    async with vm_lock(shelf.remote, VM, clock):
        pass


async def test_something_in_the_lock_is_an_error_and_stays(shelf, clock):
    await shelf.remote.put(f"{KEY}/note", b"")
    shelf.filesystem.pass_time(60)
    with pytest.raises(RemoteError):
        async with vm_lock(shelf.remote, VM, clock):
            pass
    assert shelf.filesystem.paths() == [f"{KEY}/note"]


@pytest.mark.parametrize("step", ["make_directory", "stat"])
async def test_cancelled_while_it_is_taken_it_is_given_back(shelf, clock, monkeypatch, step):
    reached, go = asyncio.Event(), asyncio.Event()
    call = getattr(shelf.remote, step)

    async def slow(key):
        done = await call(key)
        reached.set()
        await go.wait()
        return done

    async def body():
        async with vm_lock(shelf.remote, VM, clock):
            pytest.fail("entered")

    with monkeypatch.context() as patch:
        patch.setattr(shelf.remote, step, slow)
        task = asyncio.create_task(body())
        async with asyncio.timeout(120):
            await reached.wait()
            task.cancel()
            await settle()
            go.set()
            await asyncio.wait({task})
    assert task.cancelled()
    assert locks(shelf) == []


# --- a server that hangs


class Hanging(PosixFilesystem):
    """Creating a file hangs, once it is done, until it is let go."""

    def __init__(self, root):
        super().__init__(root)
        self.entered, self.go = threading.Event(), threading.Event()

    def create(self, path):
        handle = super().create(path)
        if "point" in path:
            self.entered.set()
            assert self.go.wait(120)
        return handle


async def test_cancelled_while_the_server_hangs_the_directory_stays_ours(tmp_path):
    """What hangs may still happen: until it has, nobody of us works there."""
    filesystem = Hanging(str(tmp_path))
    remote = await FileRemote.attach("cellar", filesystem, patience=Patience(grace_s=0.2))
    clock = SteppedClock(datetime(2026, 2, 1, tzinfo=UTC))

    async def body():
        async with vm_lock(remote, VM, clock):
            await remote.put(f"xo-vm-backups/{VM}/point.json", b"{}")

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        task = group.create_task(body())
        await asyncio.to_thread(filesystem.entered.wait, 120)
        task.cancel()
    assert task.cancelled()
    with pytest.raises(Unavailable, match="hanging"):
        async with vm_lock(remote, VM, clock):
            pass
    assert (tmp_path / "xo-vm-backups" / f"{VM}.lock").exists(), "nor does anybody else, for now"
    back = threading.Event()
    await remote._threads.run_closing(KEY, back.set)
    filesystem.go.set()
    assert await asyncio.to_thread(back.wait, 120)
    with pytest.raises(LockedByOther):
        async with vm_lock(remote, VM, clock):
            pass
    filesystem.set_mtime(KEY, 1)
    async with vm_lock(remote, VM, clock):
        pass
    await remote.close()


async def test_another_remote_in_its_place_is_never_locked(shelf, clock):
    await shelf.remote.identify(None)
    other = content_of("0a0a0a0a-0000-4000-8000-000000000002")
    await shelf.remote.put(IDENTITY_KEY, other)
    with pytest.raises(WrongRemote):
        async with vm_lock(shelf.remote, VM, clock):
            pytest.fail("locked")
    assert not [path for path in shelf.filesystem.paths() if "lock" in path]


async def test_a_beat_that_was_cut_short_is_our_own_all_the_same(shelf, clock, monkeypatch):
    touch = shelf.remote.touch
    touched = asyncio.Event()

    async def touch_and_hang(key):
        shelf.filesystem.pass_time(1)
        stat = await touch(key)
        if key == KEY:
            touched.set()
            await asyncio.sleep(3600)
        return stat

    async with vm_lock(shelf.remote, VM, clock):
        await settle()
        monkeypatch.setattr(shelf.remote, "touch", touch_and_hang)
        await beat(shelf, clock)
        async with asyncio.timeout(120):
            await touched.wait()
    assert locks(shelf) == []
