"""Directories that are mounts, really mounted and unmounted under an open remote."""

import os
import subprocess
from contextlib import contextmanager

import pytest

from reconciler.remotes.errors import Unavailable, WrongRemote
from reconciler.remotes.identity import IDENTITY_KEY, content_of
from reconciler.remotes.open import open_remote
from reconciler.remotes.shares import NfsPlace, SmbPlace
from reconciler.remotes.standing import Standing

OTHER = "0a0a0a0a-0000-4000-8000-000000000002"


@contextmanager
def mounted(point, source="cellar"):
    """A file system in memory, empty each time."""
    if os.geteuid() != 0:
        pytest.fail("mounting needs root; deselect with -m 'not mounts'")
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", source, str(point)]
    subprocess.run(command, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


@pytest.fixture
def point(tmp_path):
    point = tmp_path / "point"
    point.mkdir()
    return point


async def test_a_directory_that_is_no_mount_point_is_not_written(point):
    with pytest.raises(Unavailable, match="not a mount point"):
        await open_remote("cellar", str(point), mount_point=True)
    assert list(point.iterdir()) == []


@pytest.mark.mounts
async def test_unmounted_under_us_nothing_lands_beside(point):
    with mounted(point):
        remote = await open_remote("cellar", str(point), mount_point=True)
        await remote.put("a", b"1")
    with pytest.raises(Unavailable, match="not a mount point"):
        await remote.put("b", b"2")
    with pytest.raises(Unavailable):
        await remote.list("")
    assert list(point.iterdir()) == []
    await remote.close()


@pytest.mark.mounts
async def test_another_share_in_its_place_is_not_touched(point):
    with mounted(point):
        remote = await open_remote("cellar", str(point), mount_point=True)
        await remote.put("a", b"1")
        with mounted(point):  # above the first: another device
            for attempt in (remote.put("b", b"2"), remote.delete("a"), remote.list("")):
                with pytest.raises(WrongRemote, match="another share"):
                    await attempt
            assert list(point.iterdir()) == []
        assert await remote.get("a", 10) == b"1"
    await remote.close()


@pytest.mark.mounts
@pytest.mark.parametrize("mount_point", [True, False])
async def test_the_same_share_mounted_again_is_used_again(point, tmp_path, mount_point):
    """As a server's restart or an administrator does it: other device, same content."""
    with mounted(point):
        remote = await open_remote("cellar", str(point), mount_point=mount_point)
        identity = remote.identity
        with mounted(point):
            (point / ".reconciler").mkdir()
            (point / IDENTITY_KEY).write_bytes(content_of(identity))
            await remote.put("b", b"2")
            assert (point / "b").read_bytes() == b"2"
    await remote.close()


@pytest.mark.mounts
async def test_a_pinned_identity_keeps_others_out(point):
    with mounted(point):
        with pytest.raises(WrongRemote):
            await open_remote("cellar", str(point), identity=OTHER)
        assert not (point / IDENTITY_KEY).exists()
        remote = await open_remote("cellar", str(point))
        await remote.close()
        with pytest.raises(WrongRemote):
            await open_remote("cellar", str(point), identity=OTHER)
        again = await open_remote("cellar", str(point), identity=remote.identity)
        await again.close()


@pytest.mark.mounts
async def test_another_source_than_the_shares_is_refused_before_anything_is_written(point):
    place = NfsPlace("nas", "/export", path=str(point))
    with pytest.raises(Unavailable, match="not a mount point"):
        await open_remote("cellar", place)
    with mounted(point, "nas:/export"):  # the right name, and no NFS
        with pytest.raises(WrongRemote, match="tmpfs"):
            await open_remote("cellar", place)
        assert list(point.iterdir()) == []


async def test_opened_for_reading_only_no_identity_is_written(point):
    remote = await open_remote("cellar", str(point), read_only=True)
    assert remote.identity is None
    assert list(point.iterdir()) == []
    await remote.close()


def test_where_a_remote_begins():
    assert Standing("cellar", "/srv").root == "/srv"
    assert Standing("cellar", NfsPlace("n", "/e", path="/srv/nfs")).root == "/srv/nfs"
    assert Standing("cellar", NfsPlace("n", "/e")).root == "/run/reconciler/mounts/cellar"
    smb = SmbPlace("n", "s", directory="a/b", path="/srv/smb")
    assert Standing("cellar", smb).root == "/srv/smb/a/b"
