"""What can go wrong with a call of the in-memory model, and which calls it can go wrong with."""

import errno
from dataclasses import dataclass

READS = frozenset({"open", "pread_into", "size", "stat", "list", "entries", "space"})
GROWS = frozenset(
    {
        "create",
        "pwritev",
        "truncate",
        "clone_from",
        "copy_from",
        "make_directory",
        "rename",
        "link",
        "sync",
    }
)


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded call. offset, count: of the bytes it was about. target: of a rename or link."""

    kind: str
    path: str
    offset: int = 0
    count: int = 0
    target: str = ""

    @property
    def changes(self) -> bool:
        return self.kind not in READS and self.kind != "close"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong: call number `at` (from 0) fails with `number`, an errno.

    lasting: so do all after it that this errno concerns. done: the call is carried out and only
    its reply is lost. short: of a write, half is carried out first. spot: instead of a call by
    number, every call of this kind on this path fails: a bad sector, whoever looks however often.
    """

    at: int
    number: int
    lasting: bool = False
    done: bool = False
    short: bool = False
    spot: tuple[str, str] | None = None

    def strikes(self, index: int, call: Call) -> bool:
        if self.spot is not None:
            return self.spot == (call.kind, call.path)
        if index == self.at:
            return concerns(self.number, call)
        return self.lasting and index > self.at and concerns(self.number, call)


def concerns(number: int, call: Call) -> bool:
    """Whether a call can fail with an errno at all: a full disk can be read."""
    match number:
        case errno.ENOSPC | errno.EDQUOT:
            return call.kind in GROWS
        case errno.EROFS:
            return call.changes or call.kind == "create"
        case errno.ENOENT:
            return call.kind in ("rename", "link", "unlink", "remove_directory")
        case errno.EEXIST:
            return call.kind in ("create", "link", "make_directory")
        case _:
            return True
