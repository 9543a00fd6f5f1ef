"""What the model says a crash can leave, for operations small enough to be thought through."""

import errno

import pytest

from reconciler.remotes.faults import Fault
from reconciler.remotes.memory import MemoryFilesystem


def left(crashes):
    """What each crash leaves for everybody to see: its name, and files by path."""
    found = {}
    for crash in crashes:
        seen = MemoryFilesystem(crash.seen)
        found[crash.name] = {path: seen.content(path).whole() for path in seen.paths()}
    return found


def before(**files):
    filesystem = MemoryFilesystem()
    for name, content in files.items():
        handle = filesystem.create(name)
        handle.pwritev([content], 0)
        handle.close()
    return filesystem.image


def write(filesystem, name, content, *, sync):
    handle = filesystem.create(name)
    handle.pwritev([content], 0)
    if sync:
        handle.sync()
    handle.close()


def test_a_new_file_may_be_absent_empty_torn_zero_or_whole():
    filesystem = MemoryFilesystem()
    write(filesystem, "f", b"0123456789", sync=False)
    states = list(left(filesystem.crashes()).values())
    for state in (
        {},
        {"f": b""},
        {"f": b"0"},
        {"f": b"01234"},
        {"f": b"012345678"},
        {"f": b"0123456789"},
    ):
        assert state in states
    assert {"f": bytes(10)} in left(filesystem.crashes_now()).values()


def test_a_synced_file_is_whole_if_it_is_there():
    filesystem = MemoryFilesystem()
    write(filesystem, "f", b"0123456789", sync=True)
    assert list(left(filesystem.crashes_now()).values()) == [{"f": b"0123456789"}, {}]
    filesystem.sync_directory("")
    assert list(left(filesystem.crashes_now()).values()) == [{"f": b"0123456789"}]


def test_a_rename_happened_or_did_not():
    filesystem = MemoryFilesystem(before(old=b"old", new=b"new"))
    filesystem.rename("new", "old")
    states = left(filesystem.crashes())
    assert list(states.values()) == [{"old": b"old", "new": b"new"}, {"old": b"new"}]
    assert {"old": b"old", "new": b"new"} in left(filesystem.crashes_now()).values()
    filesystem.sync_directory("")
    assert list(left(filesystem.crashes_now()).values()) == [{"old": b"new"}]


def test_a_rename_may_outlive_what_was_written_before_it():
    """The classic: the new name is there, what it names is not."""
    filesystem = MemoryFilesystem(before(f=b"old"))
    write(filesystem, "t", b"new", sync=False)
    filesystem.rename("t", "f")
    states = list(left(filesystem.crashes_now()).values())
    assert {"f": b""} in states
    assert {"f": bytes(3)} in states


def test_a_removed_file_may_be_back_with_its_content():
    filesystem = MemoryFilesystem(before(f=b"old"))
    filesystem.unlink("f")
    assert {"f": b"old"} in left(filesystem.crashes_now()).values()


def test_files_in_a_directory_that_is_lost_are_lost():
    filesystem = MemoryFilesystem()
    filesystem.make_directory("d")
    write(filesystem, "d/f", b"x", sync=True)
    filesystem.sync_directory("d")
    assert {} in left(filesystem.crashes_now()).values()
    filesystem.sync_directory("")
    assert list(left(filesystem.crashes_now()).values()) == [{"d/f": b"x"}]


def test_across_directories_a_rename_is_two_effects():
    filesystem = MemoryFilesystem()
    filesystem.make_directory("a")
    filesystem.make_directory("b")
    write(filesystem, "a/f", b"x", sync=True)
    filesystem = MemoryFilesystem(filesystem.image)
    filesystem.rename("a/f", "b/f")
    states = list(left(filesystem.crashes_now()).values())
    for state in ({"b/f": b"x"}, {"a/f": b"x"}, {"a/f": b"x", "b/f": b"x"}, {}):
        assert state in states


def test_what_a_failed_sync_was_to_write_is_never_durable():
    """The kernel reports it once, forgets the pages, and says that all is well the next time."""
    filesystem = MemoryFilesystem(before(f=b""))
    handle = filesystem.open("f", write=True)
    handle.pwritev([b"lost"], 0)
    filesystem.fault = Fault(len(filesystem.calls), errno.EIO)
    with pytest.raises(OSError):
        handle.sync()
    handle.sync()
    assert {"f": b""} in left(filesystem.crashes_now()).values()
    handle.pwritev([b"kept"], 4)
    handle.sync()
    states = list(left(filesystem.crashes_now()).values())
    assert {"f": bytes(4) + b"kept"} in states
    assert all(state["f"][4:] == b"kept" for state in states)


def test_what_a_killed_process_did_not_sync_can_be_lost_later():
    filesystem = MemoryFilesystem(before(f=b"old", t=b"new"))
    filesystem.rename("t", "f")
    killed = next(crash for crash in filesystem.crashes() if crash.name == "kill@1")
    after = MemoryFilesystem(killed.image, killed.pending)
    assert after.content("f").whole() == b"new"
    write(after, "g", b"", sync=True)
    assert {"f": b"old", "t": b"new"} in left(after.crashes_now()).values()
    assert all(name.startswith(("kill@2", "cut@2")) for name in left(after.crashes()))


def test_a_new_inode_is_never_an_old_one():
    """Or a name that comes back after a power cut would name another file's content."""
    filesystem = MemoryFilesystem(before(f=b"old"))
    filesystem.create("empty").close()
    filesystem.unlink("empty")
    killed = list(filesystem.crashes())[-1]
    after = MemoryFilesystem(killed.image, killed.pending)
    write(after, "g", b"other", sync=True)
    for state in left(after.crashes_now()).values():
        assert state.get("empty", b"") == b""


def test_too_many_subsets_are_sampled_the_same_each_time():
    filesystem = MemoryFilesystem()
    for number in range(12):
        write(filesystem, f"f{number}", b"x", sync=False)
    names = [crash.name for crash in filesystem.crashes_now(subsets_max=50, seed=3)]
    assert names == [crash.name for crash in filesystem.crashes_now(subsets_max=50, seed=3)]
    assert names != [crash.name for crash in filesystem.crashes_now(subsets_max=50, seed=4)]
    assert len({name.removesuffix(":zeroed") for name in names}) == 51
    assert any(len(name.split(",")) == 24 for name in names), "everything lost is always tried"


def test_fingerprints_tell_states_apart_and_nothing_else():
    def made(content):
        filesystem = MemoryFilesystem()
        write(filesystem, "f", content, sync=True)
        images.append(filesystem.image)
        return filesystem.image.fingerprint()

    images = []
    assert made(b"x") == made(b"x")
    assert made(b"x") != made(b"y")
    assert MemoryFilesystem().image.fingerprint() != made(b"x")
