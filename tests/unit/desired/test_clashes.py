from reconciler.desired.clashes import missing_hint, nested_remotes
from reconciler.desired.document import Identity
from reconciler.desired.state import LocalPlace, Remote
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


def test_a_hint_for_a_name_that_is_not_there() -> None:
    declared = [identity("cellar"), identity("nas", "erp"), Identity("XenPool", "default", "lab")]
    assert missing_hint(identity("celar"), declared, None) == 'did you mean "cellar"?'
    assert "namespace erp" in missing_hint(identity("nas"), declared, None)
    assert "b.yaml" in missing_hint(identity("lab"), declared, "b.yaml")
    assert missing_hint(identity("lab"), declared, None) == "declared: cellar"
    assert missing_hint(identity("lab"), [], None) == "declare a BackupRemote of this name"
