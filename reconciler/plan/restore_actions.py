"""The actions of restores: a VM or a disk out of a point, and what interrupted ones left."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from reconciler.desired.state import MacAddresses, NetworkChoice
from reconciler.ids import DiskUuid, PoolName, RemoteName, RestoreId, Stamp, VmUuid
from reconciler.plan.reasons import Reason


@dataclass(frozen=True, slots=True)
class RestoreVm:
    """Restore a point as a new VM. Never touches an existing one. start: power it on at the end.

    restore: whose wish it is; None where somebody asks on the spot. revision: of that wish. made:
    the VM, where it is whole and only the rest (starting it, noting the end) is to be done.
    """

    verb: ClassVar[str] = "restore"
    destructive: ClassVar[bool] = False

    remote: RemoteName
    vm: VmUuid
    vm_name: str
    stamp: Stamp
    pool: PoolName
    sr: str | None
    name: str | None
    start: bool
    due: datetime
    reason: Reason = Reason.REQUESTED
    restore: RestoreId | None = None
    revision: str = ""
    networks: tuple[NetworkChoice, ...] = ()
    mac: MacAddresses = MacAddresses.KEEP
    made: VmUuid | None = None


@dataclass(frozen=True, slots=True)
class RestoreDisk:
    """Restore one disk of a point to a local file. format: "raw", "vhd" or "qcow2"."""

    verb: ClassVar[str] = "restore"
    destructive: ClassVar[bool] = False

    remote: RemoteName
    vm: VmUuid
    vm_name: str
    stamp: Stamp
    disk: DiskUuid
    output: str
    format: str
    due: datetime
    reason: Reason = Reason.REQUESTED


@dataclass(frozen=True, slots=True)
class CleanRestore:
    """Remove what an interrupted restore left: never a VM that is whole.

    vm: the half-made VM, None where only disks are left. disks: those that no VM has.
    """

    verb: ClassVar[str] = "clean"
    destructive: ClassVar[bool] = False

    pool: PoolName
    restore: RestoreId
    vm: VmUuid | None
    vm_name: str
    disks: tuple[DiskUuid, ...]
    due: datetime
    reason: Reason = Reason.RESTORE_INTERRUPTED
