"""What survives a power cut, made of file-system calls: directories, publishing, removing.

Every function blocks and runs as one piece on one thread. The order of calls in here is the
promise of `Remote`: a name appears whole or not at all, and once a function has returned, what it
did survives. Nothing is ever overwritten in place.

Knows the storage port. Never knows threads, event loops or what the bytes mean.
"""

import contextlib
import errno
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from reconciler.remotes.filesystem import Filesystem, Handle, Piece, Space, Stat

T = TypeVar("T")

PARTIAL_SUFFIX = ".partial"
_SETTLED_MAX = 100_000
# How SMB says that somebody has a file open: a reader of a few moments, or a virus scanner.
IN_USE = frozenset({errno.EACCES, errno.EBUSY, errno.ETXTBSY})
_LOOK_AGAIN_S = 0.1
_LOOKS_MAX = 50  # counted, not timed: what is to go away needs a machine that runs to do so
_COPY_STRIDE = 16 * 1024 * 1024
# Errors that say "not here" or "not these two"; another way is tried.
_UNABLE = frozenset(
    {
        errno.ENOTSUP,
        errno.ENOTTY,
        errno.ENOSYS,
        errno.EINVAL,
        errno.EXDEV,
        errno.EPERM,
        errno.EMLINK,
    }
)


class Durable:
    """The calls of one file system in safe order.

    random_name: gives a name nobody else will think of, of letters and digits.
    directory_sync: whether directories can be synced here. replace_open: whether a file that
    somebody has open can be replaced.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        random_name: Callable[[], str],
        *,
        directory_sync: bool,
        replace_open: bool = True,
    ) -> None:
        self._filesystem = filesystem
        self._random_name = random_name
        self._directory_sync = directory_sync
        self._replace_open = replace_open
        self._settled: set[str] = set()

    def put(self, key: str, content: Piece) -> None:
        """Publish a small object. Leaves a partial file behind only if removing it fails too."""
        temporary = self.temporary_for(key)
        try:
            self._write(temporary, content)
            self._rename(temporary, key)
        except OSError:
            # Whatever failed, the file is not to be trusted: an error of fsync is reported once,
            # after that the kernel has forgotten it. The object is written anew by the next try.
            self.discard(temporary)
            raise
        self._sync_directory(key.rpartition("/")[0])

    def put_new(self, key: str, content: Piece) -> None:
        """Publish a small object under a free name. Raises FileExistsError.

        Also whoever finds the name taken may rely on what is there: it may have been published by
        a try that did not live to sync the directory."""
        temporary = self.temporary_for(key)
        try:
            self._write(temporary, content)
            self._name_new(temporary, key)
        except FileExistsError:
            self.settle(key)
            raise
        finally:
            self.discard(temporary)
        self._sync_directory(key.rpartition("/")[0])

    def copy(self, source: str, target: str, *, reflink: bool, wanted: Callable[[], bool]) -> None:
        """Give a file's bytes a second name: a hard link, else shared extents, else a copy.

        wanted: looked at between two pieces of a long copy; once False, an error comes out."""
        temporary = self.temporary_for(target)
        directory = target.rpartition("/")[0]
        try:
            with _closing(self.open(source)) as handle:
                handle.sync()  # whoever wrote it may not have
                with self._surprised():
                    self.ensure_directory(directory)
                    linked = self._linked(source, temporary)
                if not linked:
                    self._write_copy(handle, temporary, reflink=reflink, wanted=wanted)
            self._rename(temporary, target)
        finally:
            # Renaming one name of a file over another of the same does nothing: both are left.
            self.discard(temporary)
        self._sync_directory(directory)

    def temporary_for(self, key: str) -> str:
        """A hidden name beside `key` that nobody else will think of."""
        directory, _, name = key.rpartition("/")
        temporary = f".{name}.{self._random_name()}{PARTIAL_SUFFIX}"
        return f"{directory}/{temporary}" if directory else temporary

    def discard(self, temporary: str) -> None:
        """Remove a temporary file if it is there and can be removed."""
        with contextlib.suppress(OSError):
            self._filesystem.unlink(temporary)

    def create(self, key: str) -> Handle:
        """Create a file under a free name, with the directories above it."""
        with self._surprised():
            self.ensure_directory(key.rpartition("/")[0])
            return self._filesystem.create(key)

    def publish(self, temporary: str, key: str) -> None:
        """Give a synced file its name."""
        directory = key.rpartition("/")[0]
        with self._surprised():
            self.ensure_directory(directory)
            self._rename(temporary, key)
        self._sync_directory(directory)
        if (above := temporary.rpartition("/")[0]) != directory:
            self._sync_directory(above)

    def open(self, key: str, *, write: bool = False) -> Handle:
        """Open a file that is there.

        Linux asks an SMB server for one lease for all names of a file; the server will not have a
        second name while the first is open (EINVAL), as it is for a moment after `put_new`.
        """

        def refused(error: OSError) -> bool:
            return error.errno == errno.EINVAL and self._filesystem.stat(key).is_regular

        return self._once_free(lambda: self._filesystem.open(key, write=write), refused)

    def settle(self, key: str) -> None:
        """Make a file durable that somebody else wrote, or a try that did not get that far."""
        handle = self.open(key)
        with _closing(handle):
            handle.sync()
        directory = key.rpartition("/")[0]
        self.ensure_directory(directory)
        self._sync_directory(directory)

    def delete(self, key: str) -> None:
        """Remove a file; the directory is synced even if it was gone: that may not be durable."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.unlink(key)
        with contextlib.suppress(FileNotFoundError):
            self._sync_directory(key.rpartition("/")[0])

    def make_directory(self, key: str) -> None:
        """Make one directory, the ones above as needed. Raises FileExistsError."""
        with self._surprised():
            self.ensure_directory(key.rpartition("/")[0])
            self._filesystem.make_directory(key)

    def remove_directory(self, key: str) -> None:
        """Remove an empty directory; it may be back after a power cut, as empty."""
        self._settled.discard(key)
        self._filesystem.remove_directory(key)

    def touch(self, key: str) -> Stat:
        """Set the modification time to the file server's present."""
        self._filesystem.set_mtime(key, None)
        return self._filesystem.stat(key)

    def space(self) -> Space:
        return self._filesystem.space()

    def ensure_directory(self, key: str) -> None:
        """Make a directory and those above it, each durable before anything is put into it.

        One that was there already may have been made a moment before a crash and never synced,
        so each is synced once by this process, whoever made it.
        """
        if not key or key in self._settled:
            return
        above = key.rpartition("/")[0]
        self.ensure_directory(above)
        with contextlib.suppress(FileExistsError):  # a file? the next call inside will tell
            self._filesystem.make_directory(key)
        self._sync_directory(above)
        if len(self._settled) >= _SETTLED_MAX:
            self._settled.clear()
        self._settled.add(key)

    @contextlib.contextmanager
    def _surprised(self) -> Iterator[None]:
        """Trust no directory any more once one is missing: somebody else removed it."""
        try:
            yield
        except FileNotFoundError:
            self._settled.clear()
            raise

    def _write(self, temporary: str, content: Piece) -> None:
        with _closing(self._create_temporary(temporary)) as handle:
            handle.pwritev([content], 0)
            handle.sync()

    def _create_temporary(self, temporary: str) -> Handle:
        """Create a file under a name of our own: that it is taken says nothing about the key."""
        try:
            return self.create(temporary)
        except FileExistsError as error:
            raise OSError(errno.EIO, "a temporary name is taken") from error

    def _name_new(self, temporary: str, key: str) -> None:
        """Give a synced file a second name that must be free; the first one is left."""
        if self._linked(temporary, key):
            return
        try:
            self._filesystem.stat(key)
        except FileNotFoundError:
            self._rename(temporary, key)
        else:
            raise FileExistsError(errno.EEXIST, "the name is taken")

    def _linked(self, source: str, target: str) -> bool:
        """Link; a lost reply is told from a taken name. False: no such thing here."""
        inode = self._filesystem.stat(source).inode
        try:
            self._filesystem.link(source, target)
        except OSError as error:
            with contextlib.suppress(FileNotFoundError):
                if self._filesystem.stat(target).inode == inode:
                    return True
                # Of several at once SMB tells some that the call makes no sense (EINVAL).
                raise FileExistsError(errno.EEXIST, "the name is taken") from error
            if error.errno in _UNABLE:
                return False
            raise
        return True

    def _write_copy(
        self, source: Handle, temporary: str, *, reflink: bool, wanted: Callable[[], bool]
    ) -> None:
        with _closing(self._create_temporary(temporary)) as copy:
            if not (reflink and _cloned(source, copy)):
                size = source.size()
                for offset in range(0, size, _COPY_STRIDE):
                    if not wanted():
                        raise OSError(errno.ECANCELED, "nobody wants this copy any more")
                    copy.copy_from(source, offset, offset, min(_COPY_STRIDE, size - offset))
            copy.sync()

    def _rename(self, source: str, target: str) -> None:
        """Rename; a lost reply (NFS sends again and hears ENOENT) is told from a lost file."""
        inode = self._filesystem.stat(source).inode

        def rename() -> None:
            try:
                self._filesystem.rename(source, target)
            except OSError:
                if not self._was_renamed(source, target, inode):
                    raise

        try:
            self._once_free(rename, _is_in_use)
        except OSError as error:
            if self._replace_open or not _is_in_use(error):
                raise
            message = "somebody has the file open, and this share replaces none that is"
            raise OSError(errno.EBUSY, message) from error

    def _once_free(self, call: Callable[[], T], refused: Callable[[OSError], bool]) -> T:
        """Call; where open files are in the way, again until they are closed, for some seconds.

        refused: whether an error may come of an open file. Raises the last error.
        """
        for _ in range(0 if self._replace_open else _LOOKS_MAX):
            try:
                return call()
            except OSError as error:
                if not refused(error):
                    raise
            time.sleep(_LOOK_AGAIN_S)
        return call()

    def _was_renamed(self, source: str, target: str, inode: int) -> bool:
        try:
            self._filesystem.stat(source)
        except FileNotFoundError:
            with contextlib.suppress(OSError):
                return self._filesystem.stat(target).inode == inode
        except OSError:
            pass
        return False

    def _sync_directory(self, key: str) -> None:
        if self._directory_sync:
            self._filesystem.sync_directory(key)


def _is_in_use(error: OSError) -> bool:
    return error.errno in IN_USE


def _cloned(source: Handle, copy: Handle) -> bool:
    try:
        copy.clone_from(source, 0, 0, 0)
    except OSError as error:
        if error.errno in _UNABLE:
            return False
        raise
    return True


@contextlib.contextmanager
def _closing(handle: Handle) -> Iterator[Handle]:
    """Close on leaving; an error of close counts, unless there was one before it."""
    try:
        yield handle
    except BaseException:
        with contextlib.suppress(OSError):
            handle.close()
        raise
    handle.close()
