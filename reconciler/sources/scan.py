"""What lies in the directories of manifests at one moment, read whole and at rest.

A reading is taken between two equal looks at the directories: if a file changed, moved or was
swapped in between (a checkout, a ConfigMap's `..data`), it is thrown away and taken again. What
cannot be looked at is *lost*, which is not the same as empty: its objects stay.

Symbolic links are followed within a directory, not out of it: who may write manifests may not
have the operator read other files and quote them in error messages.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.desired.problems import Problem
from reconciler.sources.documents import FILE_BYTES_MAX

SUFFIXES = (".yaml", ".yml")
FILES_MAX = 10_000
DEPTH_MAX = 32
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest file. real: its path without symbolic links. version: changes when it does."""

    real: str
    version: tuple[int, ...]


@dataclass(slots=True)
class Look:
    """Names and versions, nothing read.

    files: by the path users know. lost: what could not be looked at, with the problem to report.
    watch: directories in which a change may matter. devices: the file system on which each root
    last had manifests.
    """

    files: dict[str, Found] = field(default_factory=dict)
    refused: dict[str, Problem] = field(default_factory=dict)
    lost: dict[str, Problem] = field(default_factory=dict)
    watch: set[str] = field(default_factory=set)
    devices: dict[str, int] = field(default_factory=dict)

    def same_as(self, other: "Look") -> bool:
        return (self.files, self.refused, self.lost) == (other.files, other.refused, other.lost)


@dataclass(frozen=True, slots=True)
class Reading:
    """The content of all files at one moment. at_rest: False if they never held still."""

    look: Look
    contents: Mapping[str, bytes | Problem]
    at_rest: bool = True

    def same_as(self, other: "Reading") -> bool:
        """Say whether both hold the same, whenever it was written."""
        return (self.contents, self.look.refused, self.look.lost) == (
            other.contents,
            other.look.refused,
            other.look.lost,
        )


def take_reading(roots: Sequence[str], before: Look | None = None) -> Reading:
    """Read all manifests under `roots`; blocks. before: the last look, to notice lost mounts."""
    look = look_at(roots, before)
    for _ in range(_ATTEMPTS):
        contents = {path: _content(path, found.real) for path, found in look.files.items()}
        after = look_at(roots, before)
        if look.same_as(after):
            return Reading(look, contents)
        look = after
    return Reading(look, contents, at_rest=False)


def look_at(roots: Sequence[str], before: Look | None = None) -> Look:
    """Find the manifest files under `roots` (directories, or files themselves)."""
    look = Look()
    seen: set[str] = set()
    for root in roots:
        walk = _Walk(look, seen, root)
        walk.walk()
        _notice_lost_mount(look, root, walk.device, before)
    return look


class _Walk:
    def __init__(self, look: Look, seen: set[str], root: str) -> None:
        self._look = look
        self._seen = seen  # real paths of files and directories, over all roots
        self._root = root
        self._real_root = os.path.realpath(root)
        self.device: int | None = None

    def walk(self) -> None:
        self._look.watch |= _places_of_links(self._root)
        try:
            status = os.stat(self._real_root)
        except OSError as error:
            hint = "its objects stay as they are until it is back"
            self._lose(self._root, f"cannot be read: {error.strerror}", hint)
            return
        self.device = status.st_dev
        if stat.S_ISDIR(status.st_mode):
            self._directory(self._root, self._real_root, 0)
        else:
            self._look.watch.add(os.path.dirname(self._real_root))
            self._file(os.path.normpath(self._root), self._real_root)

    def _lose(self, path: str, message: str, hint: str = "") -> None:
        self._look.lost[path] = Problem(path, 0, 0, message, hint)

    def _directory(self, path: str, real: str, depth: int) -> None:
        if real in self._seen:
            return
        self._seen.add(real)
        if depth > DEPTH_MAX:
            self._lose(path, f"directories nested more than {DEPTH_MAX} deep")
            return
        self._look.watch.add(real)
        try:
            with os.scandir(real) as entries:
                names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        except OSError as error:
            hint = "its objects stay as they are until it is back"
            self._lose(path, f"cannot be read: {error.strerror}", hint)
            return
        for name in names:
            self._entry(os.path.normpath(os.path.join(path, name)), os.path.join(real, name), depth)

    def _entry(self, path: str, real: str, depth: int) -> None:
        try:
            mode = os.stat(real).st_mode
        except OSError:
            mode = 0  # a dangling link, or gone by now: reading it will tell
        if not (stat.S_ISDIR(mode) or path.endswith(SUFFIXES)):
            return
        if os.path.islink(real):
            target = os.path.realpath(real)
            if not target.startswith(os.path.join(self._real_root, "")):
                self._look.refused[path] = Problem(
                    path,
                    0,
                    0,
                    "is a symbolic link out of the directory",
                    "links are followed within a directory of manifests; name that directory, too",
                )
                return
            self._look.watch |= {os.path.dirname(target)}
            real = target
        if stat.S_ISDIR(mode):
            self._directory(path, real, depth + 1)
        else:
            self._file(path, real)

    def _file(self, path: str, real: str) -> None:
        if real in self._seen:
            return
        self._seen.add(real)
        if len(self._look.files) >= FILES_MAX:
            self._lose(self._root, f"holds more than {FILES_MAX} files", "split it")
            return
        try:
            status = os.stat(real)
        except OSError:
            version: tuple[int, ...] = ()
        else:
            # The time of the last change of the inode cannot be set back by whoever edits.
            version = (
                status.st_dev,
                status.st_ino,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
        self._look.files[path] = Found(real, version)


def _places_of_links(root: str) -> set[str]:
    """Return the directories in which a link on the way to `root` could be pointed elsewhere.

    git-sync swaps the link `current` beside its worktrees; of what it points to, nothing changes.
    """
    places: set[str] = set()
    path = os.path.abspath(root)
    for _ in range(DEPTH_MAX):
        if os.path.islink(path):
            parent = os.path.dirname(path)
            places.add(os.path.realpath(parent))
            path = os.path.normpath(os.path.join(parent, os.readlink(path)))
            continue
        parent = os.path.dirname(path)
        if not os.path.lexists(path):
            places |= {os.path.realpath(parent)} if os.path.isdir(parent) else set()
        if parent == path:
            break
        path = parent
    return places


def _notice_lost_mount(look: Look, root: str, device: int | None, before: Look | None) -> None:
    """An empty directory where another file system was: unmounted, not emptied by its author."""
    under = os.path.join(os.path.normpath(root), "")
    known = before.devices.get(root) if before else None
    if device is not None and any(path.startswith(under) for path in look.files):
        look.devices[root] = device
    elif known is not None:
        look.devices[root] = known
        if device is not None and device != known:
            hint = "is it mounted? its objects stay as they are until it is back"
            message = "is empty, and on another file system than before"
            look.lost[root] = Problem(root, 0, 0, message, hint)


def _content(path: str, real: str) -> bytes | Problem:
    try:
        # A fifo that is called like a manifest must not make us wait for its writer.
        descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return Problem(path, 0, 0, "is not a regular file")
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        return Problem(path, 0, 0, f"cannot be read: {error.strerror}")
