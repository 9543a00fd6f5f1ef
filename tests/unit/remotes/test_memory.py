"""The model beyond the conformance suite: recording, faults, and errors as a kernel gives them."""

import errno

import pytest

from reconciler.remotes.faults import Call, Fault, concerns
from reconciler.remotes.memory import MemoryFilesystem


@pytest.fixture
def filesystem():
    filesystem = MemoryFilesystem()
    filesystem.make_directory("d")
    handle = filesystem.create("d/f")
    handle.pwritev([b"0123456789"], 0)
    handle.close()
    filesystem.calls.clear()
    return filesystem


def failing_at(filesystem, number, **ways):
    filesystem.fault = Fault(len(filesystem.calls), number, **ways)


def test_every_call_is_recorded_with_what_it_was_about(filesystem):
    handle = filesystem.open("d/f", write=True)
    handle.pwritev([b"ab", b"c"], 7)
    handle.sync()
    handle.close()
    filesystem.rename("d/f", "d/g")
    assert filesystem.calls == [
        Call("open", "d/f"),
        Call("pwritev", "d/f", 7, 3),
        Call("sync", "d/f"),
        Call("close", "d/f"),
        Call("rename", "d/f", target="d/g"),
    ]
    assert [call.changes for call in filesystem.calls] == [False, True, True, False, True]


def test_a_fault_strikes_once_or_from_then_on(filesystem):
    failing_at(filesystem, errno.EIO)
    for expected in (True, False, False):
        try:
            filesystem.stat("d/f")
            assert not expected
        except OSError as error:
            assert expected and error.errno == errno.EIO
    failing_at(filesystem, errno.EIO, lasting=True)
    for _ in range(3):
        with pytest.raises(OSError):
            filesystem.stat("d/f")


def test_a_bad_spot_is_bad_for_everybody(filesystem):
    filesystem.fault = Fault(0, errno.EIO, spot=("open", "d/f"))
    for _ in range(2):
        with pytest.raises(OSError):
            filesystem.open("d/f")
    assert filesystem.stat("d/f").size_bytes == 10
    filesystem.rename("d/f", "d/g")
    filesystem.open("d/g").close()


def test_a_call_whose_reply_is_lost_was_carried_out(filesystem):
    failing_at(filesystem, errno.ENOENT, done=True)
    with pytest.raises(FileNotFoundError):
        filesystem.unlink("d/f")
    assert filesystem.paths() == []


def test_a_short_write_wrote_half(filesystem):
    handle = filesystem.open("d/f", write=True)
    failing_at(filesystem, errno.ENOSPC, short=True)
    with pytest.raises(OSError):
        handle.pwritev([b"abcdef"], 2)
    assert filesystem.content("d/f").whole() == b"01abc56789"


def test_faults_concern_what_they_can_concern():
    write, read = Call("pwritev", "f"), Call("pread_into", "f")
    assert concerns(errno.ENOSPC, write) and not concerns(errno.ENOSPC, read)
    assert concerns(errno.EROFS, Call("unlink", "f")) and not concerns(errno.EROFS, read)
    assert not concerns(errno.ENOSPC, Call("unlink", "f")), "removing needs no space"
    assert concerns(errno.EIO, read) and concerns(errno.EIO, Call("close", "f"))
    assert concerns(errno.ENOENT, Call("rename", "f")) and not concerns(errno.ENOENT, write)
    assert concerns(errno.EEXIST, Call("create", "f"))


@pytest.mark.parametrize(
    ("attempt", "number"),
    [
        (lambda model: model.create("d/f"), errno.EEXIST),
        (lambda model: model.create("x/f"), errno.ENOENT),
        (lambda model: model.create("d/f/g"), errno.ENOTDIR),
        (lambda model: model.open("d"), errno.EISDIR),
        (lambda model: model.list("d/f"), errno.ENOTDIR),
        (lambda model: model.unlink("d"), errno.EISDIR),
        (lambda model: model.remove_directory("d"), errno.ENOTEMPTY),
        (lambda model: model.rename("d/f", "d"), errno.EISDIR),
        (lambda model: model.rename("d/x", "d/y"), errno.ENOENT),
        (lambda model: model.make_directory("d"), errno.EEXIST),
        (lambda model: model.stat("d/../d"), errno.EINVAL),
        (lambda model: model.open("d/f").pwritev([b"x"], 0), errno.EBADF),
    ],
)
def test_errors_are_those_of_a_kernel(filesystem, attempt, number):
    with pytest.raises(OSError) as raised:
        attempt(filesystem)
    assert raised.value.errno == number


def test_a_closed_file_is_closed(filesystem):
    handle = filesystem.open("d/f")
    handle.close()
    with pytest.raises(OSError) as raised:
        handle.size()
    assert raised.value.errno == errno.EBADF


def test_clones_need_alignment_and_ends(filesystem):
    filesystem.reflink = True
    source, target = filesystem.create("s"), filesystem.create("t")
    source.pwritev([bytes(10_000)], 0)
    target.clone_from(source, 0, 0, 0)
    assert target.size() == 10_000
    for range_ in ((512, 0, 4096), (0, 512, 4096), (0, 0, 100), (8192, 0, 4096)):
        with pytest.raises(OSError) as raised:
            target.clone_from(source, *range_)
        assert raised.value.errno == errno.EINVAL
    target.clone_from(source, 8192, 0, 10_000 - 8192)


def test_the_servers_clock_is_its_own(filesystem):
    filesystem.set_mtime("d", None)
    first = filesystem.stat("d").mtime_ns
    filesystem.pass_time(7)
    filesystem.set_mtime("d", None)
    assert filesystem.stat("d").mtime_ns - first > 7 * 10**9
