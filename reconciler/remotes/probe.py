"""What a file system can do, found out by doing it on scratch files: tables of names lie.

Blocking; one call of `probe` a remote, when it is opened for writing.
"""

import contextlib
import errno
from collections.abc import Callable

from reconciler.remotes.durable import IN_USE
from reconciler.remotes.filesystem import Filesystem
from reconciler.remotes.remote import Traits

SCRATCH_DIRECTORY = ".reconciler"
"""At the root of a remote; names with a dot are ignored by Xen Orchestra."""

PREFIX = "probe-"
_CLONE_BYTES = 4096
_LEFT_BEHIND_NS = 3600 * 10**9
# What "this file system has no such thing" looks like; any other error is a failure to look.
_UNABLE = frozenset(
    {errno.ENOTSUP, errno.ENOTTY, errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EPERM}
)

READ_ONLY = Traits(reflink=False, replace=False, patch=False, exclusive=False)


def probe(filesystem: Filesystem, random_name: Callable[[], str]) -> Traits:
    """Find out the traits of a file system. Raises OSError if it cannot even be written to."""
    with contextlib.suppress(FileExistsError):
        filesystem.make_directory(SCRATCH_DIRECTORY)
    name = random_name()
    first = f"{SCRATCH_DIRECTORY}/{PREFIX}{name}-1.partial"
    second = f"{SCRATCH_DIRECTORY}/{PREFIX}{name}-2.partial"
    third = f"{SCRATCH_DIRECTORY}/{PREFIX}{name}-3.partial"
    try:
        reflink = _reflinks(filesystem, first, second)
        _remove_left_behind(filesystem, first)
        exclusive = _links(filesystem, first, third)
        replace_open = _replaces_open(filesystem, first, second)
        replace = replace_open or _replaces(filesystem, first, second)
        directory_sync = _able(lambda: filesystem.sync_directory(SCRATCH_DIRECTORY))
    finally:
        for path in (first, second, third):
            with contextlib.suppress(OSError):
                filesystem.unlink(path)
    return Traits(
        reflink=reflink,
        replace=replace,
        patch=True,
        directory_sync=directory_sync,
        exclusive=exclusive,
        replace_open=replace_open,
    )


def _reflinks(filesystem: Filesystem, first: str, second: str) -> bool:
    """Two files, an extent of one shared with the other; both exist afterwards."""
    source = filesystem.create(first)
    try:
        source.pwritev([b"\1" * (2 * _CLONE_BYTES)], 0)
        source.sync()
        target = filesystem.create(second)
        try:
            if not _able(lambda: target.clone_from(source, _CLONE_BYTES, 0, _CLONE_BYTES)):
                return False
            copy = bytearray(_CLONE_BYTES)
            target.pread_into(memoryview(copy), 0)
            return copy == b"\1" * _CLONE_BYTES
        finally:
            target.close()
    finally:
        source.close()


def _links(filesystem: Filesystem, first: str, third: str) -> bool:
    """A second name for a file, refused once that is taken."""
    if not _able(lambda: filesystem.link(first, third)):
        return False
    try:
        filesystem.link(first, third)
    except FileExistsError:
        return filesystem.stat(first).inode == filesystem.stat(third).inode
    return False


def _replaces_open(filesystem: Filesystem, first: str, second: str) -> bool:
    """Rename over a file that is being read. If it cannot be, both are there afterwards."""
    inode = filesystem.stat(first).inode
    reader = filesystem.open(second)
    try:
        filesystem.rename(first, second)
    except OSError as error:
        if error.errno in IN_USE or error.errno == errno.EEXIST:
            return False
        raise
    finally:
        reader.close()
    return filesystem.stat(second).inode == inode


def _replaces(filesystem: Filesystem, first: str, second: str) -> bool:
    """Rename over a name that is taken."""
    inode = filesystem.stat(first).inode
    try:
        filesystem.rename(first, second)
    except FileExistsError:
        return False
    return filesystem.stat(second).inode == inode


def _able(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except OSError as error:
        if error.errno in _UNABLE:
            return False
        raise
    return True


def _remove_left_behind(filesystem: Filesystem, ours: str) -> None:
    """Remove scratch files of probes that were killed; ages are differences of server times."""
    present_ns = filesystem.stat(ours).mtime_ns
    for name, stat in filesystem.entries(SCRATCH_DIRECTORY):
        is_scratch = name.startswith(PREFIX) and name.endswith(".partial") and stat.is_regular
        if is_scratch and present_ns - stat.mtime_ns > _LEFT_BEHIND_NS:
            with contextlib.suppress(OSError):
                filesystem.unlink(f"{SCRATCH_DIRECTORY}/{name}")
