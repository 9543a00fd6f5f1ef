"""Names on a remote: which key holds what, and what a name that is found there can be.

Pure. Xen Orchestra's layout (docs/format.md); two kinds of names: *keys* are relative to the root
of the remote, *paths* are relative to one VM's directory. Whatever comes from a listing or from
metadata is parsed here before it is used, and anything that is not exactly one of our forms is
refused: names are input.
"""

import re
from dataclasses import dataclass

from reconciler.ids import STAMP, UUID, DiskUuid, JobId, Stamp, VmUuid, instant_of
from reconciler.observed.chain import disk_name

ROOT = "xo-vm-backups"
DISKS = "vdis"
DATA = "data"
"""In a disk's directory: the block directories that aliases name."""
CACHE = "cache.json.gz"

_PARTIAL = ".partial"
# What we make under temporary names: disks, archives and marks of them, metadata, journals, caches,
# being written or merged. Anything else that is hidden is somebody else's.
_OURS = re.compile(
    r"\.(\d{8}T\d{6}Z(\.vhd|\.alias\.vhd|\.json|\.xva|\.xva\.checksum)"
    r"|\.\d{8}T\d{6}Z((\.alias)?\.vhd\.merge\.json|\.xva\.partial)|cache\.json\.gz)"
    r"(\.[0-9a-z]{1,64})?\.(partial|merging)",
    re.ASCII,
)
_JOURNAL = ".merge.json"
_DISK = ".vhd"
_ALIAS = ".alias.vhd"
_METADATA = ".json"
_ARCHIVE = ".xva"
_CHECKSUM = ".checksum"
_COMPONENT_BYTES_MAX = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def vm_key(vm: VmUuid) -> str:
    """The directory of a VM."""
    return f"{ROOT}/{vm}"


def key_of(vm: VmUuid, path: str) -> str:
    """The key of a path in a VM's directory."""
    return f"{ROOT}/{vm}/{path}"


def lock_key(vm: VmUuid) -> str:
    return f"{ROOT}/{vm}.lock"


def cache_key(vm: VmUuid) -> str:
    return key_of(vm, CACHE)


def metadata_path(stamp: Stamp) -> str:
    return f"{stamp}{_METADATA}"


def metadata_key(vm: VmUuid, stamp: Stamp) -> str:
    return key_of(vm, metadata_path(stamp))


def archive_path(stamp: Stamp) -> str:
    """The archive of a point of kind Archive."""
    return f"{stamp}{_ARCHIVE}"


def checksum_path(stamp: Stamp) -> str:
    """The checksum that Xen Orchestra wants beside an archive."""
    return f"{stamp}{_ARCHIVE}{_CHECKSUM}"


def archive_mark_path(stamp: Stamp) -> str:
    """The mark that an archive is on its way here, or away from here.

    What then lies under the archive's name and belongs to no point is ours to remove.
    """
    return partial_of(archive_path(stamp))


def disk_directory(job: JobId, disk: DiskUuid) -> str:
    return f"{DISKS}/{job}/{disk}"


def disk_path(job: JobId, disk: DiskUuid, stamp: Stamp, *, blocks: bool = False) -> str:
    """The disk's file, or in block mode its alias."""
    return f"{disk_directory(job, disk)}/{disk_name(stamp, blocks=blocks)}"


def disk_key(vm: VmUuid, job: JobId, disk: DiskUuid, stamp: Stamp, *, blocks: bool = False) -> str:
    return key_of(vm, disk_path(job, disk, stamp, blocks=blocks))


def data_path(job: JobId, disk: DiskUuid, stamp: Stamp) -> str:
    """The block directory that a new alias of this stamp will name."""
    return f"{disk_directory(job, disk)}/{DATA}/{disk_name(stamp, blocks=False)}"


def partial_of(path: str) -> str:
    """The temporary name, key or path, of a file that is being written.

    No other program takes it for a disk or for metadata.
    """
    directory, slash, name = path.rpartition("/")
    return f"{directory}{slash}.{name}{_PARTIAL}"


def journal_of(target: str) -> str:
    """The journal, key or path, of a merge into a disk file: Xen Orchestra's merge state."""
    directory, slash, name = target.rpartition("/")
    return f"{directory}{slash}.{name}{_JOURNAL}"


@dataclass(frozen=True, slots=True)
class DiskPath:
    """A disk file's path, taken apart. blocks: it is an alias of a block directory."""

    job: JobId
    disk: DiskUuid
    stamp: Stamp
    blocks: bool = False

    @property
    def path(self) -> str:
        return disk_path(self.job, self.disk, self.stamp, blocks=self.blocks)

    @property
    def directory(self) -> str:
        return disk_directory(self.job, self.disk)


def parse_disk_path(path: str) -> DiskPath | None:
    """Take `vdis/<job>/<disk uuid>/<stamp>.vhd`, or `….alias.vhd`, apart; None for all else."""
    match path.split("/"):
        case [directory, job, disk, name] if directory == DISKS:
            stamp = parse_disk_name(name)
            if stamp is not None and is_component(job) and UUID.fullmatch(disk):
                return DiskPath(JobId(job), DiskUuid(disk), stamp, is_alias(name))
    return None


def parse_data_path(path: str) -> DiskPath | None:
    """Take `vdis/<job>/<disk uuid>/data/<stamp>.vhd` apart: gives the path of its own alias."""
    match path.split("/"):
        case [directory, job, disk, data, name] if (directory, data) == (DISKS, DATA):
            place = parse_disk_path(f"{DISKS}/{job}/{disk}/{name}")
            if place is not None and not place.blocks:
                return DiskPath(place.job, place.disk, place.stamp, blocks=True)
    return None


def parse_disk_name(name: str) -> Stamp | None:
    """`<stamp>.vhd` or `<stamp>.alias.vhd`."""
    if not name.endswith(_DISK):
        return None
    return _stamp(name.removesuffix(_ALIAS if is_alias(name) else _DISK))


def is_alias(name: str) -> bool:
    """Whether a name, path or key is one of an alias."""
    return name.endswith(_ALIAS)


def parse_metadata_name(name: str) -> Stamp | None:
    """`<stamp>.json`."""
    return _stamp(name.removesuffix(_METADATA)) if name.endswith(_METADATA) else None


def parse_archive_mark(name: str) -> Stamp | None:
    """The mark of an archive."""
    stamp = _stamp(name[1:].removesuffix(f"{_ARCHIVE}{_PARTIAL}"))
    return stamp if stamp is not None and name == archive_mark_path(stamp) else None


def parse_journal_name(name: str) -> str | None:
    """`.<name of a disk's file>.merge.json`: the file that is merged into."""
    if not (name.startswith(".") and name.endswith(_JOURNAL)):
        return None
    target = name[1:].removesuffix(_JOURNAL)
    return target if parse_disk_name(target) else None


def parse_vm(name: str) -> VmUuid | None:
    return VmUuid(name) if UUID.fullmatch(name) else None


def is_partial(name: str) -> bool:
    """Whether a file is an unfinished one of ours. Never of a disk or metadata that is finished."""
    return _OURS.fullmatch(name) is not None


def is_disk_like(name: str) -> bool:
    """Whether other programs take it for a disk file; hidden ones are uploads under way."""
    return name.endswith(_DISK) and not name.startswith(".")


def is_metadata_like(name: str) -> bool:
    """Whether other programs take it for metadata."""
    return name.endswith(_METADATA) and not name.startswith(".")


def is_component(name: str) -> bool:
    """Whether a string can be the name of a directory, and of no other directory than it says."""
    return (
        name not in ("", ".", "..")
        and "/" not in name
        and _CONTROL.search(name) is None
        and _encodable(name)
    )


def _encodable(name: str) -> bool:
    try:
        return len(name.encode()) <= _COMPONENT_BYTES_MAX
    except UnicodeEncodeError:  # half of a surrogate pair: a name that is not text
        return False


def _stamp(text: str) -> Stamp | None:
    if not text.isascii() or STAMP.fullmatch(text) is None:
        return None
    try:
        instant_of(Stamp(text))
    except ValueError:  # the thirty-first of February
        return None
    return Stamp(text)
