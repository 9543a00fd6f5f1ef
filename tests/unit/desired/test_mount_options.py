"""The options of manifests and those of the one who mounts are the same: none is refused late."""

import pytest

from reconciler.desired.mount_options import (
    NFS_OPTIONS,
    SMB_OPTIONS,
    check_nfs_option,
    check_smb_option,
)
from reconciler.remotes.shares import NfsPlace, PlaceInvalid, SmbPlace

OTHERS = {
    *("ro", "rw", "async", "nostrictsync", "suid", "dev", "exec", "bind", "remount", "loop"),
    *("user", "username", "domain", "dom", "helper", "addr", "mountaddr", "_netdev"),
    *("pass", "password", "pass2", "password2", "cred", "credentials", "x-mount.mkdir"),
}
VALUES = ["", "=1", "=a:b/c@d+e-f_g.h", "=a,b", "=a b", "=a=b", "=$x", "=\n", "="]


def is_taken_by_mounter(kind: str, option: str) -> bool:
    try:
        if kind == "nfs":
            NfsPlace("nas", "/b", options=(option,))
        else:
            SmbPlace("nas", "b", options=(option,))
    except PlaceInvalid:
        return False
    return True


@pytest.mark.parametrize("kind", ["nfs", "smb"])
@pytest.mark.parametrize("value", VALUES)
def test_what_a_manifest_may_say_the_mounter_takes(kind: str, value: str) -> None:
    check = check_nfs_option if kind == "nfs" else check_smb_option
    for name in sorted(NFS_OPTIONS | SMB_OPTIONS | OTHERS):
        option = f"{name}{value}"
        try:
            check(option)
        except ValueError:
            assert value == "=" or not is_taken_by_mounter(kind, option), option
        else:
            assert is_taken_by_mounter(kind, option), option


def test_what_is_refused_says_why() -> None:
    for text, said in (
        ("password=x", "use passwordFrom"),
        ("rw", "spec.accessMode"),
        ("nconect=4", "did you mean nconnect?"),
        ("x-systemd.automount", "must be one mount option"),
        ("remount", "harmless"),
    ):
        with pytest.raises(ValueError, match=said):
            check_nfs_option(text)
