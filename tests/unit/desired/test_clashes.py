import pytest

from reconciler.desired.clashes import missing_hint, nested_remotes
from reconciler.desired.document import Identity
from reconciler.desired.state import (
    LocalPlace,
    MountedBy,
    NfsPlace,
    Place,
    Remote,
    S3Place,
    SecretRef,
    SmbPlace,
)
from reconciler.ids import RemoteName


def identity(name: str, namespace: str = "default") -> Identity:
    return Identity("BackupRemote", namespace, name)


def clashing(*paths: str) -> set[str]:
    remotes = {identity(path): Remote(RemoteName(path), LocalPlace(path)) for path in paths}
    return {clash.identity.name for clash in nested_remotes(remotes)}


def test_directories_beside_each_other_are_fine() -> None:
    assert clashing("/a", "/a-b", "/ab", "/b/a") == set()


def test_directories_in_each_other_are_not() -> None:
    assert clashing("/a", "/a/b/c", "/a/d", "/a-b", "/e") == {"/a", "/a/b/c", "/a/d"}


def test_the_same_directory_twice_is_not() -> None:
    remotes = {identity(name): Remote(RemoteName(name), LocalPlace("/a")) for name in "xy"}
    assert [clash.message for clash in nested_remotes(remotes)] == [
        "the path is that of BackupRemote/x",
        "the path is that of BackupRemote/y",
    ]


KEY = SecretRef(env="KEY")


def nas(export: str, path: str | None = None, server: str = "nas") -> NfsPlace:
    by = MountedBy.SYSTEM if path else MountedBy.OPERATOR
    return NfsPlace(server, export, path, by)


def share(directory: str, name: str = "backups", server: str = "nas") -> SmbPlace:
    return SmbPlace(server, name, directory, mounted_by=MountedBy.OPERATOR)


def bucket(prefix: str, name: str = "xen", endpoint: str = "https://s3.example.net") -> S3Place:
    return S3Place(endpoint, name, KEY, KEY, prefix)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (nas("/a"), nas("/a/b"), "the export holds that of BackupRemote/other"),
        (nas("/"), nas("/b"), "the export holds that of BackupRemote/other"),
        (nas("/a", "/mnt/a"), nas("/b", "/mnt/a/b"), "the path holds that of BackupRemote/other"),
        (nas("/a", "/mnt/a"), LocalPlace("/mnt/a"), "the path is that of BackupRemote/other"),
        (nas("/a"), nas("/a", server="NAS"), "the export is that of BackupRemote/other"),
        (nas("/a"), nas("/ab"), ""),
        (nas("/a"), nas("/a", server="other"), ""),
        (share(""), share("x"), "the directory holds that of BackupRemote/other"),
        (share("X/y"), share("x/Y", "BACKUPS"), "the directory is that of"),
        (share("x"), share("xy"), ""),
        (share("x"), share("x", "other"), ""),
        (bucket(""), bucket("dc1"), "the prefix holds that of BackupRemote/other"),
        (bucket("dc1/x"), bucket("dc1"), "the prefix lies in that of"),
        (bucket("dc1"), bucket("dc1", endpoint="https://S3.example.net:443"), "prefix is that of"),
        (bucket("dc1"), bucket("dc10"), ""),
        (bucket("dc1"), bucket("dc1", "other"), ""),
        (bucket("dc1"), bucket("dc1", endpoint="https://other"), ""),
        (bucket("a"), nas("/a"), ""),
    ],
)
def test_places_of_every_kind_are_apart(one: Place, other: Place, message: str) -> None:
    remotes = {
        identity(name): Remote(RemoteName(name), place)
        for name, place in (("one", one), ("other", other))
    }
    clashes = nested_remotes(remotes)
    said = [clash.message for clash in clashes if clash.identity.name == "one"]
    assert bool(said) == bool(message)
    assert all(message in text for text in said)
    assert {clash.identity.name for clash in clashes} == ({"one", "other"} if message else set())


def test_one_identity_is_of_one_place() -> None:
    uuid = "5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11"
    remotes = {
        identity(name): Remote(RemoteName(name), place, identity=uuid)
        for name, place in (("a", LocalPlace("/mnt/a")), ("b", nas("/srv/a")))
    }
    assert [(clash.path, clash.message) for clash in nested_remotes(remotes)] == [
        (("spec", "identity"), "the identity is that of BackupRemote/a"),
        (("spec", "identity"), "the identity is that of BackupRemote/b"),
    ]


def test_a_hint_for_a_name_that_is_not_there() -> None:
    declared = [identity("cellar"), identity("nas", "erp"), Identity("XenPool", "default", "lab")]
    assert missing_hint(identity("celar"), declared, None) == 'did you mean "cellar"?'
    assert "namespace erp" in missing_hint(identity("nas"), declared, None)
    assert "b.yaml" in missing_hint(identity("lab"), declared, "b.yaml")
    assert missing_hint(identity("lab"), declared, None) == "declared: cellar"
    assert missing_hint(identity("lab"), [], None) == "declare a BackupRemote of this name"
