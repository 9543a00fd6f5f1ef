import pytest

from reconciler.cli.places import address_of, kind_of
from reconciler.desired.state import (
    LocalPlace,
    MountedBy,
    NfsPlace,
    Place,
    S3Place,
    SecretRef,
    SmbPlace,
)

KEY = SecretRef(env="KEY")


@pytest.mark.parametrize(
    ("place", "kind", "address"),
    [
        (LocalPlace("/srv/b"), "local", "/srv/b"),
        (NfsPlace("nas", "/b", "/mnt/b"), "nfs", "nas:/b on /mnt/b"),
        (NfsPlace("nas", "/b", mounted_by=MountedBy.OPERATOR), "nfs", "nas:/b"),
        (SmbPlace("nas", "b", path="/mnt/b"), "smb", "//nas/b on /mnt/b"),
        (SmbPlace("nas", "b", "x/y", mounted_by=MountedBy.OPERATOR), "smb", "//nas/b/x/y"),
        (S3Place("https://s3", "xen", KEY, KEY), "s3", "https://s3/xen"),
        (S3Place("https://s3", "xen", KEY, KEY, "dc1/x"), "s3", "https://s3/xen/dc1/x"),
    ],
)
def test_a_place_in_a_word_and_in_a_line(place: Place, kind: str, address: str) -> None:
    assert (kind_of(place), address_of(place)) == (kind, address)
