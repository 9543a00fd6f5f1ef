"""The storage port: the few file-system calls that everything on a file remote is made of.

Each method is one system call, blocking, on paths relative to one root: `a/b/c`, no empty, `.` or
`..` component, never absolute. `posix.py` does them for real; `memory.py` does them on a model of
a file system that records every call, can fail any of them, and can show what a crash would leave.
Whatever is built from these calls can therefore be proven at each point between two of them.

Errors are OSError with an errno, as the kernel gives them; nothing else comes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Piece = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Stat:
    """size_bytes: 0 for directories. mtime_ns: by the file server's clock.

    is_regular: False for directories and for whatever is no file either: links, pipes, devices.
    """

    size_bytes: int
    mtime_ns: int
    is_directory: bool
    inode: int
    is_regular: bool = True


@dataclass(frozen=True, slots=True)
class Space:
    free_bytes: int
    total_bytes: int


class Handle(Protocol):
    """An open file. Offsets and sizes are bytes. One thread at a time calls one handle."""

    def pread_into(self, target: memoryview, offset: int) -> int:
        """Read into `target`; return the count, short only at the end of the file."""

    def pwritev(self, pieces: Sequence[Piece], offset: int) -> None:
        """Write all pieces one after the other from `offset`; short writes are continued."""

    def truncate(self, size: int) -> None: ...

    def size(self) -> int: ...

    def sync(self) -> None:
        """Make data and size durable (fsync). After an error the file's content is worth nothing:
        an error is reported once and then forgotten by the kernel, so never sync again."""

    def clone_from(self, source: "Handle", source_offset: int, offset: int, count: int) -> None:
        """Share extents (FICLONERANGE). count 0: to the end of the source.

        Raises OSError (ENOTSUP, EXDEV, EINVAL) where it cannot be."""

    def copy_from(self, source: "Handle", source_offset: int, offset: int, count: int) -> None:
        """Copy bytes inside the kernel or the server where that is faster, else through memory."""

    def close(self) -> None: ...


class Filesystem(Protocol):
    """One root directory. No symbolic link is ever followed below it."""

    def create(self, path: str) -> Handle:
        """Create for writing and reading; EEXIST if the name is taken."""

    def open(self, path: str, *, write: bool = False) -> Handle: ...

    def stat(self, path: str) -> Stat: ...

    def entries(self, path: str) -> list[tuple[str, Stat]]:
        """Names in a directory with what `stat` says of each, sorted; one walk for all of them."""

    def list(self, path: str) -> list[str]:
        """Names in a directory, sorted. "" is the root. ENOENT if it is not there."""

    def make_directory(self, path: str) -> None:
        """EEXIST if it is there: exactly one of several callers succeeds."""

    def remove_directory(self, path: str) -> None: ...

    def rename(self, source: str, target: str) -> None:
        """Replace `target` atomically if it is there."""

    def link(self, source: str, target: str) -> None:
        """Give a file a second name. EEXIST if that is taken: one of several callers succeeds.

        ENOTSUP, EPERM, EMLINK and the like where it cannot be."""

    def unlink(self, path: str) -> None: ...

    def sync_directory(self, path: str) -> None:
        """Make creations, renames and removals in a directory durable. "" is the root."""

    def set_mtime(self, path: str, mtime_ns: int | None) -> None:
        """None: the present, by the file server's clock."""

    def space(self) -> Space: ...
