"""What a file system cannot do that others can, found out on scratch files, said for people.

`probe.py` finds out what decides how we work; here is what a person should know of a share before
trusting it with backups. Nothing here is needed to go on: each finding says what follows from it.
Blocking.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reconciler.remotes.filesystem import Filesystem
from reconciler.remotes.probe import PREFIX, SCRATCH_DIRECTORY
from reconciler.remotes.remote import Traits

_SECOND_NS = 10**9
_LONG_NAME_BYTES = 200  # our longest names have about 120
_ODD = (":", "?", "*", '"', "<", ">", "|", "\\", "\N{LATIN SMALL LETTER E WITH ACUTE}")
_SKEW_NS = 2 * _SECOND_NS


@dataclass(frozen=True, slots=True)
class Finding:
    """what: it cannot. so: what follows from that. grave: backups are not safe there."""

    what: str
    so: str
    grave: bool = False


def findings_of(traits: Traits) -> Iterator[Finding]:
    """What the traits say of it."""
    if not traits.replace:
        yield Finding(
            "a file cannot be renamed over another", "points are not merged or pruned", grave=True
        )
    if not traits.exclusive:
        yield Finding("there are no hard links", "of two writers at once both may think they won")
    if not traits.replace_open:
        yield Finding(
            "a file that somebody reads cannot be replaced", "replacing it waits for the reader"
        )
    if not traits.directory_sync:
        yield Finding(
            "directories cannot be synced",
            "after a power cut of the server the newest point may be missing",
        )
    if not traits.reflink:
        yield Finding("files cannot share extents", "merging copies data instead of sharing it")


def examine(filesystem: Filesystem, random_name: Callable[[], str]) -> list[Finding]:
    """Try out what no trait is about. Raises OSError if it cannot even be written to."""
    with contextlib.suppress(FileExistsError):
        filesystem.make_directory(SCRATCH_DIRECTORY)
    stem = f"{SCRATCH_DIRECTORY}/{PREFIX}{random_name()}"
    with _scratch(filesystem, f"{stem}-a.partial") as first:
        found = [
            _locks(filesystem, f"{stem}-lock"),
            _cases(filesystem, first, stem),
            _times(filesystem, first),
            _clocks(filesystem, first),
            _names(filesystem, stem),
        ]
    return [each for each in found if each is not None]


def _locks(filesystem: Filesystem, path: str) -> Finding | None:
    filesystem.make_directory(path)
    try:
        filesystem.make_directory(path)
    except FileExistsError:
        return None
    finally:
        filesystem.remove_directory(path)
    return Finding(
        "a directory can be made twice", "two writers can hold one VM's lock at once", grave=True
    )


def _cases(filesystem: Filesystem, first: str, stem: str) -> Finding | None:
    try:
        same = filesystem.stat(f"{stem}-A.partial").inode == filesystem.stat(first).inode
    except FileNotFoundError:
        return None
    if not same:
        return None
    return Finding("names have no case", "none: no two of our names differ by case only")


def _times(filesystem: Filesystem, first: str) -> Finding | None:
    wanted_ns = 1_700_000_001 * _SECOND_NS + 123_456_789
    filesystem.set_mtime(first, wanted_ns)
    off_ns = abs(filesystem.stat(first).mtime_ns - wanted_ns)
    if off_ns < _SECOND_NS:
        return None
    return Finding(
        f"modification times are off by {off_ns / _SECOND_NS:.0f} s",
        "locks count as lost later or sooner than they should",
        grave=off_ns > 2 * _SECOND_NS,
    )


def _clocks(filesystem: Filesystem, first: str) -> Finding | None:
    """SMB clients touch by their own clock: then it had better be the server's."""
    with _scratch(filesystem, first.replace("-a.", "-now.")) as fresh:
        servers_ns = filesystem.stat(fresh).mtime_ns
        filesystem.set_mtime(fresh, None)
        off_ns = filesystem.stat(fresh).mtime_ns - servers_ns
    if abs(off_ns) < _SKEW_NS:
        return None
    return Finding(
        f"the server's clock and this machine's are {abs(off_ns) / _SECOND_NS:.0f} s apart",
        "locks of other machines may count as lost while they are held; set the clocks by NTP",
        grave=True,
    )


def _names(filesystem: Filesystem, stem: str) -> Finding | None:
    refused = []
    for name in (*_ODD, "x" * (_LONG_NAME_BYTES - len(stem))):
        path = f"{stem}-{name}.partial"
        try:
            with _scratch(filesystem, path):
                listed = path.rpartition("/")[2] in filesystem.list(SCRATCH_DIRECTORY)
        except OSError as error:
            if error.errno not in _NO_SUCH_NAME:
                raise
            listed = False
        if not listed:
            refused.append(name if len(name) == 1 else f"names of {_LONG_NAME_BYTES} bytes")
    if not refused:
        return None
    return Finding(
        f"names cannot have {' '.join(refused)} in them",
        "none: our names have letters, digits, '.', '-' and '_'",
    )


_NO_SUCH_NAME = frozenset(
    {errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.ENOENT, errno.EACCES, errno.EPERM}
)


@contextlib.contextmanager
def _scratch(filesystem: Filesystem, path: str) -> Iterator[str]:
    filesystem.create(path).close()
    try:
        yield path
    finally:
        filesystem.unlink(path)
