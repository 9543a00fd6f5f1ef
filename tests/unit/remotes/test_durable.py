import errno

import pytest

from reconciler.remotes.durable import Durable
from reconciler.remotes.faults import Fault
from reconciler.remotes.memory import MemoryFilesystem


def durable_on(filesystem, *, directory_sync=True):
    return Durable(filesystem, lambda: "xyz", directory_sync=directory_sync)


def changes(filesystem):
    return [
        (call.kind, call.path, *filter(None, [call.target]))
        for call in filesystem.calls
        if call.changes
    ]


def test_an_object_is_whole_before_it_has_its_name():
    filesystem = MemoryFilesystem()
    durable_on(filesystem).put("a/b/f.json", b"content")
    assert changes(filesystem) == [
        ("make_directory", "a"),
        ("sync_directory", ""),
        ("make_directory", "a/b"),
        ("sync_directory", "a"),
        ("create", "a/b/.f.json.xyz.partial"),
        ("pwritev", "a/b/.f.json.xyz.partial"),
        ("sync", "a/b/.f.json.xyz.partial"),
        ("rename", "a/b/.f.json.xyz.partial", "a/b/f.json"),
        ("sync_directory", "a/b"),
    ]


def test_directories_are_settled_once():
    filesystem = MemoryFilesystem()
    durable = durable_on(filesystem)
    durable.put("a/f", b"")
    count = len(filesystem.calls)
    durable.put("a/g", b"")
    assert [call.kind for call in filesystem.calls[count:]].count("make_directory") == 0


def test_a_directory_that_was_there_is_synced_all_the_same():
    """It may have been made a moment before a crash."""
    before = MemoryFilesystem()
    before.make_directory("a")
    filesystem = MemoryFilesystem(before.image)
    durable_on(filesystem).put("a/f", b"")
    assert ("sync_directory", "") in changes(filesystem)


def test_a_directory_that_we_removed_is_made_again_at_once():
    filesystem = MemoryFilesystem()
    durable = durable_on(filesystem)
    durable.put("a/b/f", b"")
    durable.delete("a/b/f")
    durable.remove_directory("a/b")
    durable.put("a/b/f", b"again")
    assert filesystem.content("a/b/f").whole() == b"again"


def test_a_directory_that_somebody_removed_is_made_again():
    filesystem = MemoryFilesystem()
    durable = durable_on(filesystem)
    durable.put("a/f", b"")
    durable.delete("a/f")
    filesystem.remove_directory("a")
    with pytest.raises(FileNotFoundError):
        durable.put("a/f", b"again")
    durable.put("a/f", b"again")
    assert filesystem.content("a/f").whole() == b"again"


@pytest.mark.parametrize("kind", ["pwritev", "sync", "close", "rename"])
def test_after_an_error_nothing_is_left_of_the_try(kind):
    before = MemoryFilesystem()
    durable_on(before).put("f", b"old")
    rehearsal = MemoryFilesystem(before.image)
    durable_on(rehearsal).put("f", b"new")
    at = [call.kind for call in rehearsal.calls].index(kind)
    filesystem = MemoryFilesystem(before.image, fault=Fault(at, errno.EIO))
    with pytest.raises(OSError):
        durable_on(filesystem).put("f", b"new")
    assert filesystem.paths() == ["f"]
    assert filesystem.content("f").whole() == b"old"


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EIO])
def test_a_rename_whose_reply_was_lost_is_a_rename(number):
    filesystem = MemoryFilesystem()
    durable = durable_on(filesystem)
    durable.create("t").close()
    filesystem.fault = Fault(len(filesystem.calls) + 1, number, done=True)
    durable.publish("t", "f")
    assert filesystem.paths() == ["f"]
    assert filesystem.calls[-1].kind == "sync_directory"


def test_a_rename_that_failed_is_none_even_if_the_name_is_taken():
    filesystem = MemoryFilesystem()
    durable = durable_on(filesystem)
    durable.put("f", b"old")
    durable.create("t").close()
    filesystem.fault = Fault(len(filesystem.calls) + 1, errno.EACCES)
    with pytest.raises(PermissionError):
        durable.publish("t", "f")
    assert filesystem.content("f").whole() == b"old"


def test_publishing_across_directories_syncs_both():
    filesystem = MemoryFilesystem()
    durable = durable_on(filesystem)
    durable.create("a/t").close()
    durable.publish("a/t", "b/f")
    assert changes(filesystem)[-2:] == [("sync_directory", "b"), ("sync_directory", "a")]


def test_what_is_gone_is_made_durably_gone():
    filesystem = MemoryFilesystem()
    durable = durable_on(filesystem)
    durable.put("a/f", b"")
    filesystem.unlink("a/f")
    durable.delete("a/f")
    assert changes(filesystem)[-1] == ("sync_directory", "a")
    durable.delete("nowhere/f")


def test_settling_syncs_the_file_its_name_and_the_directories_above():
    before = MemoryFilesystem()
    before.make_directory("a")
    before.create("a/f").close()
    filesystem = MemoryFilesystem(before.image)
    durable_on(filesystem).settle("a/f")
    assert [change for change in changes(filesystem) if change[0] != "make_directory"] == [
        ("sync", "a/f"),
        ("sync_directory", ""),
        ("sync_directory", "a"),
    ]


def test_where_directories_cannot_be_synced_they_are_not():
    filesystem = MemoryFilesystem()
    durable_on(filesystem, directory_sync=False).put("a/f", b"")
    assert "sync_directory" not in [call.kind for call in filesystem.calls]


def test_a_copy_over_a_copy_leaves_nothing_beside():
    """Renaming one name of a file over another of its names does nothing, and leaves both."""
    filesystem = MemoryFilesystem()
    durable = durable_on(filesystem)
    durable.put("a", b"content")
    for _ in range(2):
        durable.copy("a", "d/b", reflink=False, wanted=lambda: True)
    assert filesystem.paths() == ["a", "d/b"]
    assert filesystem.stat("a").inode == filesystem.stat("d/b").inode


def test_a_copy_nobody_wants_any_more_is_left():
    filesystem = MemoryFilesystem(hard_links=False)
    durable = durable_on(filesystem)
    durable.put("a", b"content")
    with pytest.raises(OSError):
        durable.copy("a", "b", reflink=False, wanted=lambda: False)
    assert filesystem.paths() == ["a"]


def test_a_temporary_name_that_is_taken_is_not_the_name_that_is_taken():
    filesystem = MemoryFilesystem()
    filesystem.create(".a.xyz.partial").close()
    with pytest.raises(OSError) as caught:
        durable_on(filesystem).put_new("a", b"content")
    assert not isinstance(caught.value, FileExistsError)


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_name_that_is_taken_is_made_durable(hard_links):
    filesystem = MemoryFilesystem(hard_links=hard_links)
    filesystem.make_directory("d")
    handle = filesystem.create("d/a")
    handle.pwritev([b"theirs"], 0)
    with pytest.raises(FileExistsError):
        durable_on(filesystem).put_new("d/a", b"ours")
    for crash in filesystem.crashes_now():
        assert MemoryFilesystem(crash.seen).content("d/a").whole() == b"theirs"


def test_a_file_in_use_is_replaced_once_it_is_closed(monkeypatch):
    """As on SMB shares, where a file that somebody reads cannot be replaced."""
    filesystem = MemoryFilesystem()
    durable = Durable(filesystem, lambda: "xyz", directory_sync=True, replace_open=False)
    durable.put("f", b"old")
    real, refusals = filesystem.rename, [errno.EACCES, errno.EBUSY]

    def rename(source, target):
        if refusals:
            raise OSError(refusals.pop(), "in use")
        real(source, target)

    monkeypatch.setattr(filesystem, "rename", rename)
    monkeypatch.setattr("reconciler.remotes.durable._LOOK_AGAIN_S", 0.0)
    durable.put("f", b"new")
    assert refusals == []
    refusals = [errno.EACCES] * 10**6
    with pytest.raises(OSError, match="has the file open") as raised:
        durable.put("f", b"newer")
    assert raised.value.errno == errno.EBUSY
    assert filesystem.list("") == ["f"]


def test_a_file_whose_other_name_is_open_is_opened_once_it_is_not(monkeypatch):
    """As on SMB shares, where Linux asks for one lease for all names of a file."""
    filesystem = MemoryFilesystem()
    durable = Durable(filesystem, lambda: "xyz", directory_sync=True, replace_open=False)
    durable.put("d/f", b"content")
    real, refusals = filesystem.open, [errno.EINVAL] * 3

    def opened(path, *, write=False):
        if refusals:
            raise OSError(refusals.pop(), "another name of it is open")
        return real(path, write=write)

    monkeypatch.setattr(filesystem, "open", opened)
    monkeypatch.setattr("reconciler.remotes.durable._LOOK_AGAIN_S", 0.0)
    with pytest.raises(FileExistsError):
        durable.put_new("d/f", b"other")
    assert refusals == []
    refusals = [errno.EINVAL] * 10**6
    with pytest.raises(OSError, match="another name"):
        durable.open("d/f")
    looks = len(refusals)
    with pytest.raises(OSError, match="another name"):
        durable.open("d")
    assert len(refusals) == looks - 1, "a directory is none, however long one waits"


def test_elsewhere_a_refusal_is_one():
    filesystem = MemoryFilesystem()
    durable = Durable(filesystem, lambda: "xyz", directory_sync=True)
    filesystem.fault = Fault(at=len(filesystem.calls) + 3, number=errno.EACCES)
    with pytest.raises(PermissionError):
        durable.put("f", b"new")


def test_what_is_copied_is_durable_even_if_its_writer_did_not_care():
    """Xen Orchestra syncs nothing; a second name for what may be lost would be no copy."""
    filesystem = MemoryFilesystem()
    filesystem.create("theirs").pwritev([b"content"], 0)
    filesystem.sync_directory("")
    durable_on(filesystem).copy("theirs", "ours", reflink=False, wanted=lambda: True)
    for crash in filesystem.crashes_now():
        assert MemoryFilesystem(crash.seen).content("ours").whole() == b"content"
