"""Replicas: restore points that lie on an SR as VMs, marked as Xen Orchestra marks them.

Two shapes. *Updated*: one VM is brought up to date again and again, and each time a snapshot of it
is taken; such a snapshot is the point. *Copied*: each point is a VM of its own, imported whole.

What a replica was made from is told by its disks: each names the disk snapshot it is equal to, so
the next update can be the difference to that.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    ScheduleId,
    SnapshotUuid,
    SrUuid,
    Stamp,
    VmUuid,
)


@dataclass(frozen=True, slots=True)
class Sr:
    """A storage repository. free_bytes: None where it does not say.

    coalesce_backlog: hidden disks that it has still to fold into the one they stand on; None where
    none of its disks says on which it stands.
    """

    uuid: SrUuid
    name: str
    free_bytes: int | None
    total_bytes: int | None
    coalesce_backlog: int | None = None


class ReplicaKind(StrEnum):
    UPDATED = "Updated"
    COPIED = "Copied"


class ReplicaState(StrEnum):
    WHOLE = "Whole"
    INTERRUPTED = "Interrupted"  # its transfer did not end; it is no restore point


@dataclass(frozen=True, slots=True)
class ReplicaDisk:
    """One disk of a replica. disk: the live disk it is of. source: the snapshot it equals."""

    uuid: DiskSnapshotUuid
    disk: DiskUuid | None
    source: DiskSnapshotUuid
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Replica:
    """A restore point on an SR.

    vm: the protected VM; replica: the VM that stands for it here. snapshot: of the replica, which
    is the point; None if the replica itself is. clean: the replica's disks are as that snapshot
    left them and it is halted, so that the difference to it can be written into them. ours: made by
    us; what another tool made under the job's id is a point as well, and is left to that tool.
    importing: the replica's name says that a transfer goes on.
    """

    sr: SrUuid
    vm: VmUuid
    vm_name: str
    stamp: Stamp
    taken_at: datetime
    job: JobId
    schedules: tuple[ScheduleId, ...]
    kind: ReplicaKind
    replica: VmUuid
    snapshot: SnapshotUuid | None
    disks: tuple[ReplicaDisk, ...]
    clean: bool = True
    state: ReplicaState = ReplicaState.WHOLE
    ours: bool = True
    importing: bool = False
