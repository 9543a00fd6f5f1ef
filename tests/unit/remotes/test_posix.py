"""What cannot be asked of every file system: links, pipes, and odd answers of system calls."""

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest

from reconciler.remotes.posix import PosixFilesystem


@pytest.fixture
def filesystem(tmp_path):
    return PosixFilesystem(str(tmp_path))


def put(filesystem, path, content=b"content"):
    handle = filesystem.create(path)
    handle.pwritev([content], 0)
    return handle


def test_no_link_is_followed_below_the_root(filesystem, tmp_path):
    outside = tmp_path.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret").write_bytes(b"secret")
    (tmp_path / "directory").symlink_to(outside)
    (tmp_path / "file").symlink_to(outside / "secret")
    (tmp_path / "dangling").symlink_to(outside / "new")
    for attempt in (
        lambda: filesystem.open("directory/secret"),
        lambda: filesystem.create("directory/new"),
        lambda: filesystem.list("directory"),
        lambda: filesystem.entries("directory"),
        lambda: filesystem.unlink("directory/secret"),
        lambda: filesystem.make_directory("directory/new"),
        lambda: filesystem.rename("directory/secret", "stolen"),
        lambda: filesystem.open("file"),
        lambda: filesystem.open("file", write=True),
        lambda: filesystem.create("dangling"),
        lambda: filesystem.sync_directory("directory"),
    ):
        with pytest.raises(OSError) as raised:
            attempt()
        assert raised.value.errno in (errno.ELOOP, errno.ENOTDIR, errno.EEXIST)
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_links_are_seen_as_neither_file_nor_directory(filesystem, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    [(name, found)] = filesystem.entries("")
    assert (name, found.is_directory, found.is_regular) == ("link", False, False)
    assert filesystem.stat("link") == found


def test_a_link_is_touched_and_removed_itself(filesystem, tmp_path):
    target = tmp_path.parent / "target"
    target.write_bytes(b"")
    os.utime(target, (1, 1))
    (tmp_path / "link").symlink_to(target)
    filesystem.set_mtime("link", None)
    filesystem.unlink("link")
    assert target.stat().st_mtime == 1


def test_the_root_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    put(PosixFilesystem(str(tmp_path / "root")), "f").close()
    assert (tmp_path / "real" / "f").read_bytes() == b"content"


def test_a_pipe_does_not_stop_the_thread_that_opens_it(filesystem, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        filesystem.open("pipe")
    with pytest.raises(OSError) as raised:
        filesystem.open("pipe", write=True)
    assert raised.value.errno in (errno.EINVAL, errno.ENXIO)
    assert not filesystem.stat("pipe").is_regular


@pytest.mark.parametrize("path", ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a\0b"])
def test_what_is_no_path_below_the_root_is_refused(filesystem, path):
    for attempt in (filesystem.create, filesystem.open, filesystem.unlink, filesystem.stat):
        with pytest.raises(OSError) as raised:
            attempt(path)
        assert raised.value.errno == errno.EINVAL


def test_names_that_are_not_text_are_carried_through(filesystem, tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")).write_bytes(b"x")
    [name] = filesystem.list("")
    assert filesystem.stat(name).size_bytes == 1


def test_another_file_system_under_the_root_is_not_the_remote(tmp_path):
    """A share that was unmounted leaves an empty directory: not an empty remote."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        if os.stat(elsewhere).st_dev == os.stat(tmp_path).st_dev:
            pytest.skip("there is only one file system here")
        (tmp_path / "share").mkdir()
        root = tmp_path / "root"
        root.symlink_to(tmp_path / "share")
        filesystem = PosixFilesystem(str(root))
        root.unlink()
        root.symlink_to(elsewhere)
        for attempt in (lambda: filesystem.list(""), lambda: filesystem.create("f")):
            with pytest.raises(OSError) as raised:
                attempt()
            assert raised.value.errno == errno.ESTALE
        assert os.listdir(elsewhere) == []
        root.unlink()
        root.symlink_to(tmp_path / "share")
        assert filesystem.list("") == []


def test_what_is_made_is_its_owners_only(filesystem, tmp_path):
    filesystem.make_directory("d")
    put(filesystem, "d/f").close()
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "d" / "f").stat().st_mode) == 0o600


def test_short_writes_are_continued(filesystem, tmp_path, monkeypatch):
    whole = os.pwritev

    def stingy(descriptor, buffers, offset):
        return whole(descriptor, [memoryview(buffers[0])[:3]], offset)

    monkeypatch.setattr(os, "pwritev", stingy)
    handle = put(filesystem, "f", b"")
    handle.pwritev([b"0123456", bytearray(b""), b"789", memoryview(b"abcdefgh")], 2)
    handle.close()
    assert (tmp_path / "f").read_bytes() == b"\0\0" + b"0123456789abcdefgh"


def test_a_write_that_gets_nowhere_is_an_error(filesystem, monkeypatch):
    handle = put(filesystem, "f", b"")
    monkeypatch.setattr(os, "pwritev", lambda *_: 0)
    with pytest.raises(OSError) as raised:
        handle.pwritev([b"x"], 0)
    assert raised.value.errno == errno.EIO
    handle.close()


def test_short_reads_are_continued_to_the_end_of_the_file(filesystem, monkeypatch):
    whole = os.preadv

    def stingy(descriptor, buffers, offset):
        return whole(descriptor, [buffers[0][:2]], offset)

    monkeypatch.setattr(os, "preadv", stingy)
    handle = put(filesystem, "f", b"01234")
    buffer = bytearray(8)
    assert handle.pread_into(memoryview(buffer), 1) == 4
    assert buffer == b"1234\0\0\0\0"
    handle.close()


def test_interrupted_calls_are_made_again(filesystem, tmp_path, monkeypatch):
    whole, interruptions = os.mkdir, iter([True, True, False])

    def interrupted(*arguments, **keywords):
        if next(interruptions):
            raise InterruptedError(errno.EINTR, "interrupted")
        return whole(*arguments, **keywords)

    monkeypatch.setattr(os, "mkdir", interrupted)
    filesystem.make_directory("d")
    assert (tmp_path / "d").is_dir()


@pytest.mark.parametrize("refusal", [errno.EXDEV, errno.ENOTSUP, errno.EINVAL, 0])
def test_where_the_kernel_does_not_copy_memory_does(filesystem, monkeypatch, refusal):
    def refuse(*_):
        if refusal:
            raise OSError(refusal, "no")
        return 0

    monkeypatch.setattr(os, "copy_file_range", refuse)
    content = os.urandom(3 * 1024 * 1024)
    source, target = put(filesystem, "source", content), put(filesystem, "target", b"")
    target.copy_from(source, 4096, 0, len(content) - 4096)
    copied = bytearray(len(content) - 4096)
    target.pread_into(memoryview(copied), 0)
    assert copied == content[4096:]
    source.close()
    target.close()


def test_other_errors_of_the_kernels_copy_come_out(filesystem, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "bad sector")

    monkeypatch.setattr(os, "copy_file_range", fail)
    source, target = put(filesystem, "source", bytes(8192)), put(filesystem, "target", b"")
    with pytest.raises(OSError, match="bad sector"):
        target.copy_from(source, 0, 0, 4096)
    source.close()
    target.close()


def test_errors_of_close_come_out_once(filesystem, monkeypatch):
    handle, whole = put(filesystem, "f"), os.close

    def close(descriptor):
        whole(descriptor)
        raise OSError(errno.EDQUOT, "over quota")

    with monkeypatch.context() as patched:
        patched.setattr(os, "close", close)
        with pytest.raises(OSError, match="over quota"):
            handle.close()
    handle.close()


def test_no_descriptor_is_left_open(filesystem, tmp_path):
    def count():
        return len(os.listdir("/proc/self/fd"))

    filesystem.make_directory("a")
    filesystem.make_directory("a/b")
    before = count()
    put(filesystem, "a/b/f").close()
    filesystem.rename("a/b/f", "a/g")
    filesystem.stat("a/g")
    filesystem.entries("a/b")
    filesystem.sync_directory("a/b")
    filesystem.space()
    for path in ("a/g/h", "a/x/y", "a/b"):
        with pytest.raises(OSError):
            filesystem.open(path)
    assert count() == before
