"""The storage port on a real directory: a local file system, or a mounted NFS or SMB share.

Every path is walked from the root component by component through directory descriptors, and no
symbolic link is followed below the root: a link planted on a share leads nowhere. The root is
opened anew for each call and must still be the same (root.py).

Knows system calls. Never knows what the files are for, retries or deadlines.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from reconciler.remotes import pulse
from reconciler.remotes.filesystem import Handle, Piece, Space, Stat
from reconciler.remotes.root import Root

T = TypeVar("T")

_FICLONERANGE = 0x4020940D  # _IOW(0x94, 13, struct file_clone_range)
_PIECES_MAX = 1024  # IOV_MAX on Linux
_CLONE_ALIGN = 4096
_COPY_BUFFER_BYTES = 2 * 1024 * 1024
# Errors with which copy_file_range says that it does not do this pair of files.
_COPY_UNABLE = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EBADF}
)

_WRITE_OUT_BYTES = 8 * 1024 * 1024
_SYNC_FILE_RANGE_WRITE = 2

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a pipe under a disk's name must not stop the thread that opens it.
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700

_buffers = threading.local()


def _find_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """Find the C library's call, where it has one; Python has no other way to it."""
    try:
        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return call


_sync_file_range = _find_sync_file_range()


class PosixHandle:
    """An open regular file. path: named where a call on it hangs."""

    def __init__(self, descriptor: int, path: str = "") -> None:
        self._descriptor = descriptor
        self._path = path
        self._dirty_offset = 0
        self._dirty_bytes = 0

    def pread_into(self, target: memoryview, offset: int) -> int:
        view = target.cast("B") if target.format != "B" else target
        done = 0
        while done < len(view):
            pulse.begin("read", self._path)
            count = os.preadv(self._descriptor, [view[done:]], offset + done)
            if count == 0:
                break
            done += count
        return done

    def pwritev(self, pieces: Sequence[Piece], offset: int) -> None:
        start = offset
        views = [view for piece in pieces if len(view := memoryview(piece).cast("B"))]
        first = 0
        while first < len(views):
            batch = views[first : first + _PIECES_MAX]
            pulse.begin("write", self._path)
            count = os.pwritev(self._descriptor, batch, offset)
            if count == 0:
                raise OSError(errno.EIO, "nothing was written, and no reason given")
            offset += count
            while first < len(views) and count >= len(views[first]):
                count -= len(views[first])
                first += 1
            if count:
                views[first] = views[first][count:]
        self._write_out_soon(start, offset - start)

    def truncate(self, size: int) -> None:
        pulse.begin("truncate", self._path)
        os.ftruncate(self._descriptor, size)

    def size(self) -> int:
        pulse.begin("stat", self._path)
        return os.fstat(self._descriptor).st_size

    def sync(self) -> None:
        pulse.begin("fsync", self._path)
        os.fsync(self._descriptor)

    def clone_from(self, source: Handle, source_offset: int, offset: int, count: int) -> None:
        assert isinstance(source, PosixHandle), "both files are of one kind of file system"
        pulse.begin("clone", self._path)
        request = struct.pack("qQQQ", source._descriptor, source_offset, count, offset)
        _uninterrupted(lambda: fcntl.ioctl(self._descriptor, _FICLONERANGE, request))

    def copy_from(self, source: Handle, source_offset: int, offset: int, count: int) -> None:
        # copy_file_range off 4 KiB boundaries is up to seven times slower than reading and
        # writing (XFS, btrfs: it shares what it can and then copies the ragged ends).
        assert isinstance(source, PosixHandle), "both files are of one kind of file system"
        done = 0
        if source_offset % _CLONE_ALIGN == 0 and offset % _CLONE_ALIGN == 0:
            done = self._copy_in_kernel(source, source_offset, offset, count)
        self._copy_through_memory(source, source_offset + done, offset + done, count - done)

    def _copy_in_kernel(
        self, source: "PosixHandle", source_offset: int, offset: int, count: int
    ) -> int:
        """Copy as much as the kernel will; return how much that was."""
        done = 0
        while done < count:
            pulse.begin("copy", self._path)
            try:
                copied = os.copy_file_range(
                    source._descriptor,
                    self._descriptor,
                    count - done,
                    source_offset + done,
                    offset + done,
                )
            except OSError as error:
                if error.errno in _COPY_UNABLE:
                    break
                raise
            if copied == 0:
                break
            done += copied
        self._write_out_soon(offset, done)
        return done

    def _copy_through_memory(
        self, source: "PosixHandle", source_offset: int, offset: int, count: int
    ) -> None:
        done = 0
        while done < count:
            view = _copy_buffer()[: count - done]
            got = source.pread_into(view, source_offset + done)
            if got < len(view):
                raise OSError(errno.EIO, f"the file copied from ends {len(view) - got} bytes early")
            self.pwritev([view], offset + done)
            done += got

    def _write_out_soon(self, offset: int, count: int) -> None:
        """Have the kernel begin to write out what was written, a long piece at a time.

        Else it waits for the sync at the end, and the disk idles until then: a file written and
        synced takes half as long again (measured, ext4). A hint: its errors come up at the sync.
        """
        if offset != self._dirty_offset + self._dirty_bytes:
            self._dirty_offset, self._dirty_bytes = offset, 0
        self._dirty_bytes += count
        if self._dirty_bytes >= _WRITE_OUT_BYTES and _sync_file_range is not None:
            _sync_file_range(
                self._descriptor, self._dirty_offset, self._dirty_bytes, _SYNC_FILE_RANGE_WRITE
            )
            self._dirty_offset, self._dirty_bytes = offset + count, 0

    def close(self) -> None:
        # The descriptor is gone whatever close says; EINTR is not worth a word, EIO is.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(InterruptedError):
                os.close(descriptor)


class PosixFilesystem:
    """A directory of this machine. root: absolute path; may itself be a link. Raises OSError."""

    def __init__(self, root: str, prove: Callable[[], None] | None = None) -> None:
        """prove: as of Root, for file systems that come and go."""
        self._root = Root(root, prove)

    def create(self, path: str) -> PosixHandle:
        return self._opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def open(self, path: str, *, write: bool = False) -> PosixHandle:
        return self._opened(path, os.O_RDWR if write else os.O_RDONLY)

    def stat(self, path: str) -> Stat:
        with self._parent(path) as (directory, name):
            return _stat_of(_stat_at(name, directory))

    def entries(self, path: str) -> list[tuple[str, Stat]]:
        with self._readable_directory(path) as directory:
            found = []
            for name in sorted(_uninterrupted(lambda: os.listdir(directory))):
                pulse.begin("stat", name)
                with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                    found.append((name, _stat_of(_stat_at(name, directory))))
            return found

    def list(self, path: str) -> list[str]:
        with self._readable_directory(path) as directory:
            return sorted(_uninterrupted(lambda: os.listdir(directory)))

    def make_directory(self, path: str) -> None:
        with self._parent(path) as (directory, name):
            pulse.begin("mkdir", path)
            _uninterrupted(lambda: os.mkdir(name, _DIRECTORY_MODE, dir_fd=directory))

    def remove_directory(self, path: str) -> None:
        with self._parent(path) as (directory, name):
            pulse.begin("rmdir", path)
            _uninterrupted(lambda: os.rmdir(name, dir_fd=directory))

    def rename(self, source: str, target: str) -> None:
        with (
            self._parent(source) as (source_directory, source_name),
            self._parent(target) as (target_directory, target_name),
        ):
            pulse.begin("rename", target)
            _uninterrupted(
                lambda: os.rename(
                    source_name,
                    target_name,
                    src_dir_fd=source_directory,
                    dst_dir_fd=target_directory,
                )
            )

    def link(self, source: str, target: str) -> None:
        with (
            self._parent(source) as (source_directory, source_name),
            self._parent(target) as (target_directory, target_name),
        ):
            _uninterrupted(
                lambda: os.link(
                    source_name,
                    target_name,
                    src_dir_fd=source_directory,
                    dst_dir_fd=target_directory,
                    follow_symlinks=False,
                )
            )

    def unlink(self, path: str) -> None:
        with self._parent(path) as (directory, name):
            pulse.begin("unlink", path)
            _uninterrupted(lambda: os.unlink(name, dir_fd=directory))

    def sync_directory(self, path: str) -> None:
        with self._readable_directory(path) as directory:
            pulse.begin("fsync", path)
            os.fsync(directory)

    def set_mtime(self, path: str, mtime_ns: int | None) -> None:
        times = None if mtime_ns is None else (mtime_ns, mtime_ns)
        with self._parent(path) as (directory, name):
            pulse.begin("utime", path)
            if times is None:
                os.utime(name, None, dir_fd=directory, follow_symlinks=False)
            else:
                os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)

    def space(self) -> Space:
        with self._walked([]) as root:
            pulse.begin("statvfs", "")
            answer = os.fstatvfs(root)
            return Space(
                free_bytes=answer.f_bavail * answer.f_frsize,
                total_bytes=answer.f_blocks * answer.f_frsize,
            )

    def _opened(self, path: str, flags: int) -> PosixHandle:
        with self._parent(path) as (directory, name):
            pulse.begin("open", path)
            descriptor = os.open(name, flags | _FILE, _FILE_MODE, dir_fd=directory)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
        return PosixHandle(descriptor, path)

    @contextlib.contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        *directories, name = _components(path)
        with self._walked(directories) as directory:
            yield directory, name

    @contextlib.contextmanager
    def _readable_directory(self, path: str) -> Iterator[int]:
        with self._walked(_components(path) if path else []) as directory:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            descriptor = os.open(".", flags, dir_fd=directory)
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    @contextlib.contextmanager
    def _walked(self, directories: Sequence[str]) -> Iterator[int]:
        """Open a directory below the root; closed on leaving."""
        descriptor = self._root.open()
        try:
            pulse.begin("open", "/".join(directories))
            for name in directories:
                above = descriptor
                descriptor = os.open(name, _DIRECTORY, dir_fd=above)
                os.close(above)
            yield descriptor
        finally:
            os.close(descriptor)


def _components(path: str) -> list[str]:
    components = path.split("/")
    for component in components:
        if component in ("", ".", "..") or "\0" in component:
            raise OSError(errno.EINVAL, f"{path!r} is not a path below the root")
    return components


def _stat_at(name: str, directory: int) -> os.stat_result:
    return os.stat(name, dir_fd=directory, follow_symlinks=False)


def _stat_of(answer: os.stat_result) -> Stat:
    is_directory = stat.S_ISDIR(answer.st_mode)
    return Stat(
        size_bytes=0 if is_directory else answer.st_size,
        mtime_ns=answer.st_mtime_ns,
        is_directory=is_directory,
        inode=answer.st_ino,
        is_regular=stat.S_ISREG(answer.st_mode),
    )


def _uninterrupted(call: Callable[[], T]) -> T:
    """Call again after EINTR: Python does so for reads and writes, not for these calls."""
    while True:
        try:
            return call()
        except InterruptedError:
            continue


def _copy_buffer() -> memoryview:
    """One buffer a thread, reused: fresh pages cost more than the copying."""
    view = getattr(_buffers, "view", None)
    if not isinstance(view, memoryview):
        view = memoryview(bytearray(_COPY_BUFFER_BYTES))
        _buffers.view = view
    return view
