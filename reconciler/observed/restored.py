"""What restores made on a pool, and what it says of those that were begun there.

A restore that is to be done once cannot be told from the VM alone: somebody may delete that. So the
pool itself says, for as long as it lives, which restores were begun with which point, and which VM
came of it. All else (a half-made VM, disks that no VM has) is marked with the restore's id.
"""

from dataclasses import dataclass

from reconciler.ids import DiskUuid, RestoreId, Stamp, VmUuid


@dataclass(frozen=True, slots=True)
class RestoreRecord:
    """What the pool says of a restore: the point it was begun with, and what it was asked for as.

    made: the new VM, which may be gone by now; None as long as the restore is not done.
    """

    restore: RestoreId
    vm: VmUuid
    stamp: Stamp
    revision: str
    made: VmUuid | None = None


@dataclass(frozen=True, slots=True)
class RestoredVm:
    """A VM that a restore made (whole), or is making, or left. busy: operations under way."""

    restore: RestoreId
    vm: VmUuid
    name: str
    whole: bool
    busy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LooseDisk:
    """A disk that a restore made and no VM has."""

    restore: RestoreId
    disk: DiskUuid
