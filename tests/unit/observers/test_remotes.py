"""Looking at a remote: whole now and then, at what was touched at once, and never too sure."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.clock import SteppedClock
from reconciler.ids import RemoteName, VmUuid
from reconciler.latest import Latest
from reconciler.observed.chain import History
from reconciler.observed.remote import RemoteView
from reconciler.observed.unknown import Unknown
from reconciler.observers.remotes import RemoteObserver
from reconciler.plan.reasons import Reason
from reconciler.remotes.errors import WrongKey
from reconciler.remotes.open import open_remote
from reconciler.remotes.remote import Remote

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
CELLAR = RemoteName("cellar")
WEB = VmUuid("11111111-1111-4111-8111-111111111111")
DATABASE = VmUuid("22222222-2222-4222-8222-222222222222")


class Watch:
    """An observer of a directory, and what it published."""

    def __init__(self, root: Path, **pace: float) -> None:
        self.root = root
        self.clock = SteppedClock(NOW)
        self.views: Latest[RemoteView | Unknown | None] = Latest(None)
        self.observer = RemoteObserver(CELLAR, self._open, self.clock, self.views.put, **pace)

    async def _open(self, name: RemoteName) -> Remote:
        return await open_remote(name, str(self.root), read_only=True)

    def leave_partial(self, vm: VmUuid, name: str) -> None:
        directory = self.root / "xo-vm-backups" / vm
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(b"x")

    async def next(self, version: int) -> tuple[int, RemoteView | Unknown]:
        async with asyncio.timeout(120):
            version, view = await self.views.newer_than(version)
        assert view is not None
        return version, view


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    made = Watch(tmp_path / "remote", look_every_s=3600)
    made.root.mkdir()
    yield made


async def test_a_remote_is_seen_with_all_its_vms(watch: Watch) -> None:
    watch.leave_partial(WEB, ".20260101T020000Z.vhd.partial")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watch.observer.run())
        _, view = await watch.next(0)
        assert isinstance(view, RemoteView)
        assert view.free_bytes
        history = view.histories[WEB]
        assert isinstance(history, History)
        assert history.partials == (".20260101T020000Z.vhd.partial",)
        running.cancel()


async def test_a_poke_looks_at_what_was_touched_and_keeps_the_rest(watch: Watch) -> None:
    watch.leave_partial(WEB, ".20260101T020000Z.vhd.partial")
    watch.leave_partial(DATABASE, ".20260101T020000Z.vhd.partial")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watch.observer.run())
        version, first = await watch.next(0)
        watch.leave_partial(WEB, ".20260102T020000Z.vhd.partial")
        touched_at = watch.clock.now()
        watch.observer.poke([(WEB, touched_at)])
        version, second = await watch.next(version)
        assert isinstance(first, RemoteView)
        assert isinstance(second, RemoteView)
        history = second.histories[WEB]
        assert isinstance(history, History)
        assert len(history.partials) == 2
        assert history.as_of > touched_at
        assert second.histories[DATABASE] is first.histories[DATABASE]
        watch.observer.poke([(WEB, touched_at)])
        await asyncio.sleep(0.05)  # nothing is to happen: it was looked at since
        assert watch.views.version == version
        running.cancel()


async def test_a_touched_vm_without_anything_is_seen_to_have_nothing(watch: Watch) -> None:
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watch.observer.run())
        version, _ = await watch.next(0)
        watch.observer.poke([(WEB, watch.clock.now())])
        _, view = await watch.next(version)
        assert isinstance(view, RemoteView)
        history = view.histories[WEB]
        assert isinstance(history, History)
        assert history.points == ()
        running.cancel()


async def test_a_remote_that_is_away_is_unknown_since_then_and_comes_back(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "remote", look_every_s=0.02)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watch.observer.run())
        version, first = await watch.next(0)
        version, second = await watch.next(version)
        assert isinstance(first, Unknown)
        assert isinstance(second, Unknown)
        assert "is it mounted" in first.why
        assert first.since == second.since
        watch.root.mkdir()
        while isinstance(second, Unknown):
            version, second = await watch.next(version)
        running.cancel()


async def test_one_vm_that_cannot_be_read_is_unknown_alone(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.leave_partial(WEB, ".20260101T020000Z.vhd.partial")
    broken = watch.root / "xo-vm-backups" / DATABASE / "vdis"
    broken.parent.mkdir(parents=True)
    broken.write_text("a file where a directory should be")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watch.observer.run())
        _, view = await watch.next(0)
        assert isinstance(view, RemoteView)
        assert isinstance(view.histories[WEB], History)
        assert isinstance(view.histories[DATABASE], Unknown)
        running.cancel()


async def test_a_lock_is_looked_at_again_before_everything_is(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "remote", look_every_s=3600, look_at_locked_s=0.02)
    watch.leave_partial(WEB, ".20260101T020000Z.vhd.partial")
    lock = watch.root / "xo-vm-backups" / f"{WEB}.lock"
    lock.mkdir()
    present = watch.clock.now().timestamp()
    os.utime(lock, (present, present))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watch.observer.run())
        version, view = await watch.next(0)
        assert isinstance(view, RemoteView)
        history = view.histories[WEB]
        assert isinstance(history, History)
        assert history.locked_by_others
        lock.rmdir()
        while history.locked_by_others:
            version, view = await watch.next(version)
            assert isinstance(view, RemoteView)
            history = view.histories[WEB]
            assert isinstance(history, History)
        running.cancel()


async def test_another_remote_in_its_place_is_unknown_and_says_so(watch: Watch) -> None:
    identity = watch.root / ".reconciler/remote.json"
    identity.parent.mkdir()
    identity.write_text('{"id": "0a0a0a0a-0000-4000-8000-000000000001"}')
    remote = await open_remote("cellar", str(watch.root), read_only=True)

    async def always_the_same(name: RemoteName) -> Remote:
        return remote

    observer = RemoteObserver(CELLAR, always_the_same, watch.clock, watch.views.put, 0.01)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(observer.run())
        version, view = await watch.next(0)
        assert isinstance(view, RemoteView)
        identity.write_text('{"id": "0a0a0a0a-0000-4000-8000-000000000002"}')
        while isinstance(view, RemoteView):
            version, view = await watch.next(version)
        assert view.reason is Reason.WRONG_REMOTE
        assert "should be 0a0a0a0a" in view.why
        running.cancel()
    await remote.close()


async def test_a_remote_with_another_key_is_unknown_and_says_so(watch: Watch) -> None:
    async def refused(name: RemoteName) -> Remote:
        raise WrongKey(name, "metadata.json", "not the key it was written with")

    observer = RemoteObserver(CELLAR, refused, watch.clock, watch.views.put, 0.01)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(observer.run())
        _, view = await watch.next(0)
        assert isinstance(view, Unknown)
        assert view.reason is Reason.WRONG_KEY
        running.cancel()


async def test_a_wish_to_look_is_for_everything(watch: Watch) -> None:
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watch.observer.run())
        version, _ = await watch.next(0)
        watch.leave_partial(WEB, ".20260101T020000Z.vhd.partial")
        watch.observer.look()
        _, view = await watch.next(version)
        assert isinstance(view, RemoteView)
        assert set(view.histories) == {WEB}
        running.cancel()
