"""Restore points and the files they stand on: linking, health, and what depends on what.

A restore point of an incremental backup is a set of disk files; each file is full, or a delta on
top of the file it names as its parent in the same directory. Files are the truth about chains;
metadata is the truth about points.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from reconciler.ids import DiskSnapshotUuid, DiskUuid, JobId, ScheduleId, Stamp, VmUuid
from reconciler.observed.proof import Proof

_FILE = ".vhd"
_ALIAS = ".alias.vhd"


def disk_name(stamp: Stamp, *, blocks: bool) -> str:
    """Name the file of a disk of a restore point; blocks: it is an alias of a block directory."""
    return f"{stamp}{_ALIAS if blocks else _FILE}"


def stamp_in(name: str) -> Stamp:
    """Take the stamp out of the name of a disk's file, in either layout."""
    return Stamp(name.removesuffix(_FILE).removesuffix(_ALIAS.removesuffix(_FILE)))


class FileState(StrEnum):
    OK = "Ok"
    BROKEN = "Broken"  # it was read, and what was read is not a whole disk file, or is damaged


@dataclass(frozen=True, slots=True)
class DiskFile:
    """One disk file of a chain, as its own headers describe it.

    path: relative to the VM's directory, `vdis/<job id>/<disk uuid>/<stamp>.vhd`, or
    `<stamp>.alias.vhd` in block mode: then the file is an alias, and the disk's blocks lie in a
    directory. A chain is all of the one or all of the other.
    uuid: of the disk snapshot it was exported from. parent: file name (no directory) of the file
    below, None for a full. data_bytes: what merging it into its parent would move, about.
    file_bytes: in block mode what a file of the same blocks would take.
    data: path of the directory that an alias names, "" for a file and for an alias that makes no
    sense. After a merge it is named by an older stamp than the alias, so nobody guesses it.
    """

    path: str
    uuid: DiskSnapshotUuid
    parent: str | None
    parent_uuid: DiskSnapshotUuid | None
    virtual_bytes: int
    file_bytes: int
    data_bytes: int
    state: FileState = FileState.OK
    why: str = ""
    data: str = ""

    @property
    def blocks(self) -> bool:
        """Whether it is of the layout in blocks."""
        return self.path.endswith(_ALIAS)

    @property
    def stamp(self) -> Stamp:
        return stamp_in(self.file_name)

    @property
    def directory(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def file_name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def parent_path(self) -> str | None:
        return None if self.parent is None else f"{self.directory}/{self.parent}"


@dataclass(frozen=True, slots=True)
class PointDisk:
    """One disk of a restore point.

    path: as `DiskFile.path`. position: as `pool.Disk`, "" if it is unknown. since_full: how many
    points its chain has had since its full was taken, merged ones counted; None if it does not say.
    """

    disk: DiskUuid
    snapshot: DiskSnapshotUuid
    name: str
    path: str
    size_bytes: int
    position: str = ""
    since_full: int | None = None


class PointKind(StrEnum):
    INCREMENTAL = "Incremental"  # disk files, each with a chain
    ARCHIVE = "Archive"  # the whole VM in one file, beside its metadata
    REPLICA = "Replica"  # a VM, or a snapshot of one, on an SR


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """What can be restored: one VM at one instant. Exists once its metadata is written.

    taken_at: UTC. schedules: whose retention counts it; a point of no schedule was asked for by
    hand or belongs to someone else's job, and is kept. size_bytes: bytes written for it.
    archive: path of an archive's file. flaw: why it cannot be restored, if that is seen already.
    """

    vm: VmUuid
    vm_name: str
    stamp: Stamp
    taken_at: datetime
    job: JobId
    schedules: tuple[ScheduleId, ...]
    disks: tuple[PointDisk, ...]
    size_bytes: int
    kind: PointKind = PointKind.INCREMENTAL
    archive: str = ""
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class MergeInProgress:
    """A merge that was begun and not finished: its journal. Paths relative to the VM directory.

    target: the older file, which takes the newer data. source: the newer file, whose name stays.
    """

    journal: str
    target: str
    source: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something in a VM's directory that is there and could not be understood. Never deleted."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class History:
    """All that one remote holds of one VM, wholly read and error-free.

    points: oldest first. files: by path. partials: our own uploads under temporary names that no
    running action owns, and block directories that no alias names (yet). merges: begun and
    unfinished. locked_by_others: somebody else's live lock on the VM's directory was seen. proofs:
    of each job's points, the last. as_of: everything that was true before this instant is in here.
    """

    vm: VmUuid
    as_of: datetime
    points: tuple[RestorePoint, ...] = ()
    files: Mapping[str, DiskFile] = field(default_factory=dict)
    partials: tuple[str, ...] = ()
    merges: tuple[MergeInProgress, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    locked_by_others: bool = False
    proofs: Mapping[JobId, Proof] = field(default_factory=dict)


class BrokenChain(Exception):
    """A file's chain cannot be followed to a full: a link is missing, broken or goes in a circle.

    path: the file at which it stops.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


def chain_of(files: Mapping[str, DiskFile], path: str) -> tuple[DiskFile, ...]:
    """Follow a file to its full: tip first, full last. Raises BrokenChain."""
    links: list[DiskFile] = []
    seen: set[str] = set()
    below: str | None = path
    while below is not None:
        file = files.get(below)
        if file is None:
            raise BrokenChain(below, "the file is missing")
        if file.state is FileState.BROKEN:
            raise BrokenChain(below, file.why)
        if below in seen:
            raise BrokenChain(below, "the chain goes in a circle")
        if links and links[-1].parent_uuid != file.uuid:
            raise BrokenChain(below, f"{links[-1].path} expects uuid {links[-1].parent_uuid} here")
        seen.add(below)
        links.append(file)
        below = file.parent_path
    return tuple(links)


class Chains:
    """The files of one VM on one remote, linked: a question asked again is answered from memory.

    `chain_of` explains one file; this counts them all, each once. The files must not change.
    """

    __slots__ = ("_depths", "files")

    def __init__(self, files: Mapping[str, DiskFile]) -> None:
        self.files = files
        self._depths: dict[str, int] = {}

    def depth(self, path: str) -> int:
        """Count the files from this one down to its full: 1 for a full, 0 for a broken chain."""
        depths = self._depths
        known = depths.get(path)
        if known is not None:
            return known
        files, broken = self.files, FileState.BROKEN
        directory = path[: path.rfind("/") + 1]  # a chain never leaves its directory
        trail: list[str] = []
        below, expected, depth = path, None, 0
        for _ in range(len(files) + 1):
            file = files.get(below)
            if file is None or file.state is broken or (trail and file.uuid != expected):
                depth = -1
                break
            if depths and (known := depths.get(below)) is not None:
                depth = known or -1
                break
            trail.append(below)
            if file.parent is None:
                break
            below, expected = directory + file.parent, file.parent_uuid
        else:  # a circle
            depth = -1
        if depth < 0:
            depths.update(dict.fromkeys([path, *trail], 0))
        else:
            above = range(depth + len(trail), depth, -1)
            depths.update(zip(trail, above, strict=True))
        return depths[path]

    def above(self, paths: Set[str]) -> dict[str, list[str]]:
        """Return, for each of the paths, the files that name it as their parent, in order."""
        names = {path[path.rfind("/") + 1 :] for path in paths}
        found: dict[str, list[str]] = {path: [] for path in paths}
        for upper in self.files.values():
            if upper.parent in names:
                lower = upper.parent_path
                if lower in found:
                    found[lower].append(upper.path)
        for uppers in found.values():
            uppers.sort()
        return found

    def carries(self, file: DiskFile) -> bool:
        """Say whether any file names this one as its parent."""
        name, directory = file.file_name, file.directory + "/"
        for upper in self.files.values():  # no generator: as in `is_whole`
            if upper.parent == name and upper.path.startswith(directory):
                return True
        return False

    def is_whole(self, point: RestorePoint) -> bool:
        """Say whether every disk of a point can be followed to a full; an archive has no chains."""
        if point.flaw:
            return False
        if point.archive:
            return True
        for disk in point.disks:  # no generator: planning asks this for every point there is
            depth = self._depths.get(disk.path)
            if depth == 0 or (depth is None and self.depth(disk.path) == 0):
                return False
        return True
