"""A file system that fails and hangs on demand, under a real kernel's eyes."""

import asyncio
import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from uml import require

from reconciler.remotes.errors import Missing, NoSpace, RemoteError, Unavailable
from reconciler.remotes.file import FileRemote
from reconciler.remotes.open import open_remote
from reconciler.remotes.threads import Patience

pytestmark = pytest.mark.servers

MIB = 1024 * 1024
BLOCK = 2 * MIB
PROGRAM = Path(__file__).with_name("faulty_fuse.py")
HASTY = Patience(hang_after_s=1.0, grace_s=0.5)
PATIENT = Patience(hang_after_s=600.0, grace_s=0.5)


@dataclass(frozen=True)
class Disturbed:
    """point: where it is mounted. directory: what lies beneath, undisturbed."""

    point: Path
    directory: Path
    control: Path

    def disturb(self, *calls: str, **how: object) -> None:
        self.control.with_suffix(".new").write_text(json.dumps({"calls": calls, **how}))
        self.control.with_suffix(".new").replace(self.control)

    def names(self, key: str = "") -> list[str]:
        return sorted(each.name for each in (self.directory / key).iterdir())


@pytest.fixture
def disturbed(tmp_path) -> Iterator[Disturbed]:
    require("fusermount")
    place = Disturbed(tmp_path / "point", tmp_path / "directory", tmp_path / "control")
    place.point.mkdir()
    place.directory.mkdir()
    place.disturb()
    command = [sys.executable, str(PROGRAM), *map(str, (place.directory, place.point))]
    log = tmp_path / "fuse.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, str(place.control)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 120
        while not os.path.ismount(place.point):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield place
    finally:
        place.disturb()
        subprocess.run(["umount", "-l", str(place.point)], check=True)
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def opened(place: Disturbed, patience: Patience = PATIENT):
    while True:
        try:
            point = str(place.point)
            remote = await open_remote("cellar", point, mount_point=True, patience=patience)
            break
        except Unavailable as error:
            assert "hanging for" in str(error)  # the machine stood still
    yield remote
    await remote.close()


async def write_disk(remote: FileRemote, blocks: int = 8) -> None:
    async with remote.create("d/.disk.partial") as file:
        for index in range(blocks):
            await file.write([bytes([index + 1]) * BLOCK], index * BLOCK)
        await file.sync()
    await remote.publish("d/.disk.partial", "d/disk")


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EIO, Unavailable), (errno.ENOSPC, NoSpace), (errno.ESTALE, Unavailable)],
)
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
async def test_what_fails_is_not_published_and_the_next_try_succeeds(
    disturbed, call, number, error
):
    async with opened(disturbed) as remote:
        disturbed.disturb(call, errno=number, after_bytes=5 * MIB if call == "write" else -1)
        with pytest.raises(RemoteError) as raised:
            await write_disk(remote)
        assert isinstance(raised.value, error)
        assert raised.value.errno == number
        assert "disk" not in disturbed.names("d")
        disturbed.disturb()
        await remote.delete("d/.disk.partial")
        await write_disk(remote)
    assert (disturbed.directory / "d/disk").stat().st_size == 8 * BLOCK


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "create"])
async def test_a_hang_blocks_its_own_remote_only_and_heals(disturbed, tmp_path, call):
    (tmp_path / "other").mkdir()
    other = await open_remote("other", str(tmp_path / "other"))
    async with opened(disturbed, HASTY) as remote:
        disturbed.disturb(call, hang=True, after_bytes=-1)
        with pytest.raises(Unavailable, match="hanging for"):
            await write_disk(remote)
        with pytest.raises(Unavailable, match="hanging for"):
            await remote.list("")
        await write_disk(other)
        assert "disk" not in disturbed.names("d")
        disturbed.disturb()
        await healed(remote)
        await written_at_last(remote)
    assert (disturbed.directory / "d/disk").stat().st_size == 8 * BLOCK
    await other.close()


async def written_at_last(remote: FileRemote) -> None:
    """Write the disk; again where a call hung because the machine stood still, which is no fault.

    The hasty remote is given up by it as by any other hang.
    """
    async with asyncio.timeout(120):
        while True:
            try:
                with contextlib.suppress(Missing):
                    await remote.delete("d/.disk.partial")
                await write_disk(remote)
            except Unavailable as error:
                assert "hanging for" in str(error)
                await asyncio.sleep(0.05)
            else:
                return


async def healed(remote: FileRemote) -> None:
    """Wait until the hung thread is back; the kernel wakes it when it will."""
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(Unavailable):
                await remote.space()
                return
            await asyncio.sleep(0.05)


async def test_a_read_that_hangs_does_not_fill_memory_that_is_used_for_something_else(disturbed):
    async with opened(disturbed, HASTY) as remote:
        await written_at_last(remote)
        async with remote.open("d/disk") as file:
            buffer = bytearray(BLOCK)
            disturbed.disturb("read", hang=True, after_bytes=-1)
            with pytest.raises(Unavailable, match="read on d/disk"):
                await file.read_into(memoryview(buffer), BLOCK)
            buffer[:] = b"\xee" * BLOCK
            disturbed.disturb()
            await healed(remote)
        assert buffer == b"\xee" * BLOCK


async def test_cancelling_a_hung_write_takes_no_longer_than_the_grace(disturbed):
    async with opened(disturbed) as remote:
        await remote.put("d/x", b"")  # or making the directory would hang already
        disturbed.disturb("fsync", hang=True, after_bytes=-1)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(write_disk(remote, blocks=1))
            async with asyncio.timeout(120):
                while "fsync" not in {each.pulse.what for each in remote._threads._calls}:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            task.cancel()  # the server lets go of nothing until the task has ended
            ended, _ = await asyncio.wait({task}, timeout=120)
        assert ended
        with pytest.raises(Unavailable, match=r"fsync on d/\.disk"):
            await remote.delete("d/.disk.partial")
        disturbed.disturb()
        await healed(remote)
    assert disturbed.names("d") == [".disk.partial", "x"]
