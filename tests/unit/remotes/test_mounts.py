import pytest

from reconciler.remotes.errors import Unavailable, WrongRemote
from reconciler.remotes.mounts import (
    Mount,
    check_mounted,
    check_source,
    mount_at,
    parse,
    read_mounts,
)
from reconciler.remotes.shares import NfsPlace, SmbPlace

TEXT = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
33 21 0:30 / /proc rw - proc proc rw
40 21 0:44 / /srv/nfs\\040share rw,nosuid master:3 shared:4 - nfs4 nas:/export/b\\054c rw,vers=4.2
41 21 0:45 / /srv/smb ro - cifs //NAS/backup rw
42 40 0:46 /sub /srv/nfs\\040share rw - nfs4 nas:/export rw
nonsense
43 21 0:47 / /srv/cut -
"""


def test_mountinfo_is_read():
    mounts = parse(TEXT)
    assert [each.point for each in mounts] == [
        "/",
        "/proc",
        "/srv/nfs share",
        "/srv/smb",
        "/srv/nfs share",
    ]
    assert mounts[2] == Mount("/srv/nfs share", "/", "nfs4", "nas:/export/b,c", read_only=False)
    assert mounts[3].read_only


def test_the_uppermost_mount_counts():
    found = mount_at(parse(TEXT), "/srv/nfs share")
    assert found is not None
    assert (found.source, found.root) == ("nas:/export", "/sub")


def test_links_lead_to_the_mount_point(tmp_path):
    share = tmp_path / "share"
    share.mkdir()
    (tmp_path / "link").symlink_to(share)
    mounts = [Mount(str(share), "/", "nfs", "nas:/e", read_only=False)]
    assert mount_at(mounts, str(tmp_path / "link")) == mounts[0]
    assert mount_at(mounts, f"{share}/") == mounts[0]
    assert mount_at(mounts, str(tmp_path)) is None


def test_this_machines_mounts_are_seen():
    assert mount_at(read_mounts(), "/proc") is not None


def test_a_bare_directory_is_no_share(tmp_path):
    with pytest.raises(Unavailable, match="not a mount point"):
        check_mounted("cellar", str(tmp_path), read_mounts())


@pytest.mark.parametrize(
    ("place", "source", "kind", "root"),
    [
        (NfsPlace("nas", "/e"), "nas:/e", "nfs4", "/"),
        (NfsPlace("NAS", "/e/"), "nas:/e", "nfs", "/"),
        (NfsPlace("nas", "/"), "nas:/", "nfs4", "/"),
        (NfsPlace("nas", "/e/sub"), "nas:/e", "nfs4", "/sub"),
        (NfsPlace("nas", "/e"), "nas:/e", "nfs4", "/sub"),  # a directory of the share
        (NfsPlace("[fe80::1]", "/e"), "[fe80::1]:/e", "nfs4", "/"),
        (SmbPlace("nas", "b"), "//NAS/b", "cifs", "/"),
        (SmbPlace("nas", "b"), "\\\\nas\\b", "smb3", "/"),
    ],
)
def test_the_same_share_in_other_words(place, source, kind, root):
    check_source("cellar", place, Mount("/srv", root, kind, source, read_only=False))


@pytest.mark.parametrize(
    ("place", "source", "kind"),
    [
        (NfsPlace("nas", "/e"), "nas:/other", "nfs4"),
        (NfsPlace("nas", "/e"), "nas2:/e", "nfs4"),
        (NfsPlace("nas", "/e"), "nas:/E", "nfs4"),
        (NfsPlace("nas", "/e"), "nas:/e", "ext4"),
        (NfsPlace("nas", "/e"), "/dev/sda1", "ext4"),
        (SmbPlace("nas", "b"), "//nas/c", "cifs"),
        (SmbPlace("nas", "b"), "//nas/b", "nfs"),
    ],
)
def test_another_share_is_refused(place, source, kind):
    with pytest.raises(WrongRemote, match="right share"):
        check_source("cellar", place, Mount("/srv", "/", kind, source, read_only=False))
