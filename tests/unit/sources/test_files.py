"""Directories followed for real: editors, checkouts, swapped links, lost directories."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from reconciler.desired.state import Desired
from reconciler.latest import Latest
from reconciler.sources import files
from reconciler.sources.files import ManifestFiles

Write = Callable[[Path, int], None]
PATIENCE_S = 30.0  # nothing here takes a twentieth of it


class Watcher:
    """Takes states one by one; never waits longer than anybody's patience."""

    def __init__(self, states: AsyncIterator[Desired]) -> None:
        self._states = states

    async def state(self) -> Desired:
        async with asyncio.timeout(PATIENCE_S):
            return await anext(self._states)

    async def versions(self) -> dict[str, int]:
        return versions(await self.state())


def versions(desired: Desired) -> dict[str, int]:
    return {str(name): remote.actions_max for name, remote in desired.remotes.items()}


@asynccontextmanager
async def following(*roots: Path) -> AsyncIterator[Watcher]:
    async with aclosing(ManifestFiles([str(root) for root in roots]).follow()) as states:
        yield Watcher(states)


@pytest.fixture
def jobs(tmp_path: Path, write: Write) -> Path:
    write(tmp_path / "jobs" / "a.yaml", 1)
    return tmp_path / "jobs"


def test_reading_once(jobs: Path) -> None:
    assert versions(ManifestFiles([str(jobs)]).read()) == {"a": 1}


async def test_an_edit_a_new_file_a_rename_and_a_deletion(jobs: Path, write: Write) -> None:
    async with following(jobs) as watcher:
        assert await watcher.versions() == {"a": 1}
        write(jobs / "a.yaml", 2)
        assert await watcher.versions() == {"a": 2}
        write(jobs / "new" / "deep" / "b.yaml", 1)
        assert await watcher.versions() == {"a": 2, "b": 1}
        write(jobs / "new" / "deep" / "b.yaml", 3)
        assert await watcher.versions() == {"a": 2, "b": 3}
        (jobs / "a.yaml").unlink()
        assert await watcher.versions() == {"b": 3}


async def test_what_changes_no_manifest_is_no_news(jobs: Path, write: Write) -> None:
    async with following(jobs) as watcher:
        await watcher.state()
        (jobs / ".a.yaml.swp").write_text("half a thought")
        (jobs / "4913").touch()
        (jobs / "a.yaml").touch()
        (jobs / "README.md").write_text("about")
        (jobs / "a.yaml").rename(jobs / "renamed.yaml")  # only where it stands has changed
        (jobs / "renamed.yaml").rename(jobs / "a.yaml")
        write(jobs / "z.yaml", 9)
        assert await watcher.versions() == {"a": 1, "z": 9}


async def test_an_editor_that_writes_beside_and_renames(
    jobs: Path, manifest: Callable[[str, int], str]
) -> None:
    async with following(jobs) as watcher:
        await watcher.state()
        for version in (2, 3):
            (jobs / ".a.yaml.tmp").write_text(manifest("a", version))
            (jobs / "a.yaml").rename(jobs / "a.yaml~")
            (jobs / ".a.yaml.tmp").rename(jobs / "a.yaml")
            assert await watcher.versions() == {"a": version}


async def test_a_mistake_keeps_the_last_good_version_until_it_is_mended(
    jobs: Path, write: Write
) -> None:
    async with following(jobs) as watcher:
        await watcher.state()
        (jobs / "a.yaml").write_text("kind: [")
        broken = await watcher.state()
        assert versions(broken) == {"a": 1}
        assert len(broken.problems) == 1
        write(jobs / "a.yaml", 2)
        mended = await watcher.state()
        assert versions(mended) == {"a": 2}
        assert mended.problems == ()


async def test_a_config_map_that_is_swapped(tmp_path: Path, write: Write) -> None:
    mount = tmp_path / "mount"
    for version in (1, 2, 3):
        for name in "ab":
            write(mount / f"..v{version}" / f"{name}.yaml", version)
    (mount / "..data").symlink_to("..v1")
    for name in "ab":
        (mount / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    async with following(mount) as watcher:
        assert await watcher.versions() == {"a": 1, "b": 1}
        for version in (2, 3):
            (mount / "..data_tmp").symlink_to(f"..v{version}")
            (mount / "..data_tmp").rename(mount / "..data")
            shutil.rmtree(mount / f"..v{version - 1}")
            assert await watcher.versions() == {"a": version, "b": version}


async def test_a_root_that_git_sync_points_elsewhere(tmp_path: Path, write: Write) -> None:
    for version in (1, 2, 3):
        write(tmp_path / ".worktrees" / f"v{version}" / "jobs" / "a.yaml", version)
    (tmp_path / "current").symlink_to(".worktrees/v1")
    async with following(tmp_path / "current" / "jobs") as watcher:
        assert await watcher.versions() == {"a": 1}
        for version in (2, 3):
            (tmp_path / "tmp-link").symlink_to(f".worktrees/v{version}")
            (tmp_path / "tmp-link").rename(tmp_path / "current")
            shutil.rmtree(tmp_path / ".worktrees" / f"v{version - 1}")
            assert await watcher.versions() == {"a": version}


async def test_a_directory_that_vanishes_and_comes_back(jobs: Path, write: Write) -> None:
    async with following(jobs) as watcher:
        await watcher.state()
        shutil.move(jobs, jobs.with_name("away"))
        gone = await watcher.state()
        assert versions(gone) == {"a": 1}
        assert [problem.path for problem in gone.problems] == [str(jobs)]
        write(jobs.with_name("away") / "a.yaml", 2)
        shutil.move(jobs.with_name("away"), jobs)
        back = await watcher.state()
        assert versions(back) == {"a": 2}
        assert back.problems == ()


async def test_a_directory_that_is_not_there_yet(tmp_path: Path, write: Write) -> None:
    async with following(tmp_path / "later" / "jobs") as watcher:
        assert len((await watcher.state()).problems) == 1
        write(tmp_path / "later" / "jobs" / "a.yaml", 1)
        desired = await watcher.state()
        while desired.problems:  # the directory may be seen before its file
            desired = await watcher.state()
        while not desired.remotes:
            desired = await watcher.state()
        assert versions(desired) == {"a": 1}


async def test_a_single_file(jobs: Path, write: Write) -> None:
    async with following(jobs / "a.yaml") as watcher:
        assert await watcher.versions() == {"a": 1}
        write(jobs / "other.yaml", 1)
        write(jobs / "a.yaml", 2)
        assert await watcher.versions() == {"a": 2}


@pytest.mark.parametrize("error", [OSError(28, "no watches left"), RuntimeError("internal"), None])
async def test_without_notifications_it_takes_a_look(
    jobs: Path, write: Write, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    async def no_news(*paths: str, **options: object) -> AsyncIterator[set[object]]:
        if error is not None:
            raise error
        while True:  # as on a network file system
            await asyncio.sleep(0.01)
            yield set()

    monkeypatch.setattr(files, "awatch", no_news)
    monkeypatch.setattr(files, "_LOOK_MS", 10)
    async with following(jobs) as watcher:
        await watcher.state()
        for version in (2, 3):
            write(jobs / "a.yaml", version)
            assert await watcher.versions() == {"a": version}


async def test_states_arrive_in_a_mailbox(jobs: Path, write: Write) -> None:
    latest: Latest[Desired] = Latest(Desired())
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        publishing = tasks.create_task(ManifestFiles([str(jobs)]).publish(latest))
        version, desired = await latest.newer_than(0)
        assert versions(desired) == {"a": 1}
        write(jobs / "a.yaml", 2)
        _, desired = await latest.newer_than(version)
        assert versions(desired) == {"a": 2}
        publishing.cancel()


class TestGit:
    """A checkout of many files is one change, whatever happens while it runs."""

    FILES = 300

    @pytest.fixture
    def repository(self, tmp_path: Path, write: Write) -> Path:
        root = tmp_path / "repository"
        for version in (1, 2):
            for number in range(self.FILES):
                write(root / "jobs" / f"r{number}.yaml", version)
            if version == 1:
                self.git(root, "init", "-q", "-b", "main")
            else:
                self.git(root, "checkout", "-q", "-b", "two")
            self.git(root, "add", ".")
            self.git(root, "commit", "-q", "-m", f"version {version}")
        self.git(root, "checkout", "-q", "main")
        return root

    def git(self, root: Path, *arguments: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.net"]
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)

    async def test_a_checkout_arrives_as_one(self, repository: Path) -> None:
        async with following(repository / "jobs") as watcher:
            assert set((await watcher.versions()).values()) == {1}
            for branch, version in (("two", 2), ("main", 1), ("two", 2)):
                await asyncio.to_thread(self.git, repository, "checkout", "-q", branch)
                found = await watcher.versions()
                assert len(found) == self.FILES
                assert set(found.values()) == {version}

    async def test_nothing_is_read_while_git_writes(self, repository: Path, write: Write) -> None:
        lock = repository / ".git" / "index.lock"
        async with following(repository / "jobs") as watcher, asyncio.TaskGroup() as tasks:
            await watcher.state()
            lock.touch()
            for number in range(0, self.FILES, 2):
                write(repository / "jobs" / f"r{number}.yaml", 2)
            coming = tasks.create_task(watcher.versions())
            await asyncio.wait({coming}, timeout=2.5)  # time enough for two looks
            assert not coming.done()
            for number in range(1, self.FILES, 2):
                write(repository / "jobs" / f"r{number}.yaml", 2)
            lock.unlink()
            assert set((await coming).values()) == {2}

    def test_a_worktree_has_its_lock_elsewhere(self, repository: Path, tmp_path: Path) -> None:
        self.git(repository, "worktree", "add", "-q", str(tmp_path / "tree"), "two")
        lock = repository / ".git" / "worktrees" / "tree" / "index.lock"
        manifests = ManifestFiles([str(tmp_path / "tree" / "jobs")])
        assert set(versions(manifests.read()).values()) == {2}
        assert manifests.git_is_busy() is False
        lock.touch()
        assert manifests.git_is_busy() is True
