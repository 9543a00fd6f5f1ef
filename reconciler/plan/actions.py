"""The closed union of everything that can be done, as frozen values.

Each action is planned, admitted, run, logged and counted under one id that is derived from its
content, so planning again gives the same id. They are serialisable (render.py), name their subject
by uuids, and carry everything a step needs but opened connections. The backup of one VM is two:
`Snapshot` makes and marks one; once it is seen, `Export` sends it to a remote that lacks the point.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, get_args

from reconciler.desired.state import Compression, Consistency
from reconciler.ids import (
    ActionId,
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    RunId,
    ScheduleId,
    SnapshotUuid,
    SrUuid,
    Stamp,
    VmUuid,
    run_id,
)
from reconciler.plan.power_on import PowerOn
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import CleanRestore, RestoreDisk, RestoreVm


class ExportKind(StrEnum):
    FULL = "Full"
    DELTA = "Delta"


@dataclass(frozen=True, slots=True)
class DiskExport:
    """One disk of an export. base: snapshot that the delta is taken against; None for a full.

    base_file: name of the file the delta will stand on, in the disk's directory.
    estimate_bytes: upper bound of what will be written, as far as it is known. since_full: points
    since the chain's full was taken, this one included; 0 for a full.
    """

    disk: DiskUuid
    snapshot: DiskSnapshotUuid
    kind: ExportKind
    reason: Reason
    base: DiskSnapshotUuid | None = None
    base_file: str | None = None
    estimate_bytes: int = 0
    since_full: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Snapshot one VM and mark it.

    after: stamp of the newest point or snapshot, to stay above. without: disks that are left out.
    rolling: it is the restore point itself (mode Snapshot), not what one is made from. requested:
    the request that it answers, by its instant, if it answers one.
    """

    verb: ClassVar[str] = "snapshot"
    destructive: ClassVar[bool] = False

    pool: PoolName
    vm: VmUuid
    vm_name: str
    job: JobName
    job_id: JobId
    schedules: tuple[ScheduleId, ...]
    due: datetime
    reason: Reason
    after: Stamp | None = None
    consistency: Consistency = Consistency.CRASH
    without: tuple[DiskUuid, ...] = ()
    rolling: bool = False
    requested: Stamp | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sending:
    """What all that makes a restore point of one snapshot says. due: the oldest debt it settles."""

    destructive: ClassVar[bool] = False

    pool: PoolName
    vm: VmUuid
    vm_name: str
    job: JobName
    job_id: JobId
    schedules: tuple[ScheduleId, ...]
    snapshot: SnapshotUuid
    stamp: Stamp
    due: datetime
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(_Sending):
    """Make the restore point of one snapshot on one remote.

    disks: all of the point, `AlreadyExported` ones included. blocks: they lie as blocks there.
    checksums: are kept beside, for when the point is verified.
    """

    verb: ClassVar[str] = "export"

    remote: RemoteName
    disks: tuple[DiskExport, ...]
    blocks: bool = False
    checksums: bool = False

    @property
    def disks_to_send(self) -> tuple[DiskExport, ...]:
        return tuple(disk for disk in self.disks if disk.reason is not Reason.ALREADY_EXPORTED)


@dataclass(frozen=True, slots=True)
class Merge:
    """Fold a file whose point is gone into the file above it, which keeps its name.

    target: path of the older file. source: path of the newer one, its only child.
    """

    verb: ClassVar[str] = "merge"
    destructive: ClassVar[bool] = False

    remote: RemoteName
    vm: VmUuid
    vm_name: str
    job: JobName | None
    target: str
    source: str
    data_bytes: int
    due: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class Prune:
    """Take a restore point off a remote: its metadata goes; files follow by Merge or Clean."""

    verb: ClassVar[str] = "prune"
    destructive: ClassVar[bool] = True

    remote: RemoteName
    vm: VmUuid
    vm_name: str
    job: JobName | None
    stamp: Stamp
    freed_bytes: int
    due: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class CleanFiles:
    """Remove files of ours that nothing needs: partial uploads, unreferenced disk files."""

    verb: ClassVar[str] = "clean"
    destructive: ClassVar[bool] = False

    remote: RemoteName
    vm: VmUuid
    vm_name: str
    paths: tuple[str, ...]
    freed_bytes: int
    due: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class CleanSnapshot:
    """Remove a marked snapshot (or what is left of one) from a pool.

    snapshot: None when only disk snapshots are left. disks: the disk snapshots that go with it.
    A reason of `GIVEN_UP` is noted on the VM, so that nobody makes another for the same slots.
    job: whose retention lets go of it, where snapshots are the restore points (mode Snapshot).
    """

    verb: ClassVar[str] = "clean"

    pool: PoolName
    vm: VmUuid | None
    vm_name: str
    snapshot: SnapshotUuid | None
    disks: tuple[DiskSnapshotUuid, ...]
    due: datetime
    reason: Reason
    job: JobName | None = None

    @property
    def destructive(self) -> bool:
        return self.reason is Reason.RETENTION_EXCEEDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive(_Sending):
    """Make the restore point of one snapshot on one remote as one archive of the whole VM."""

    verb: ClassVar[str] = "export"

    remote: RemoteName
    compression: Compression
    estimate_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicate(_Sending):
    """Bring the replica on an SR up to one snapshot.

    target_pool: of the SR. replica: the VM to update, None to make a new one. base: the replica's
    snapshot that is updated, by its stamp. disks: as in `Export`; base: the snapshot of the source
    that the replica's disk equals.
    """

    verb: ClassVar[str] = "replicate"

    target_pool: PoolName
    sr: SrUuid
    replica: VmUuid | None
    base: Stamp | None
    disks: tuple[DiskExport, ...]
    sr_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyVm(_Sending):
    """Import one snapshot whole into an SR, as a VM of its own."""

    verb: ClassVar[str] = "replicate"

    target_pool: PoolName
    sr: SrUuid
    compression: Compression
    estimate_bytes: int = 0
    sr_name: str = ""


@dataclass(frozen=True, slots=True)
class PruneReplica:
    """Take a restore point off an SR: the replica's snapshot, or the VM that is the point.

    with_replica: it is of a replica that is not updated any more (a new one was made beside it),
    which goes with its last point.
    """

    verb: ClassVar[str] = "prune"
    destructive: ClassVar[bool] = True

    target_pool: PoolName
    sr: SrUuid
    vm: VmUuid
    vm_name: str
    job: JobName | None
    job_id: JobId
    stamp: Stamp
    replica: VmUuid
    snapshot: SnapshotUuid | None
    due: datetime
    reason: Reason
    with_replica: bool = False
    sr_name: str = ""


@dataclass(frozen=True, slots=True)
class CleanReplica:
    """Remove what an interrupted replication left: never anything that is a restore point.

    rename: a replica that has points stays, and only gets this name, instead of one that says that
    a transfer goes on; "" for what goes.
    """

    verb: ClassVar[str] = "clean"
    destructive: ClassVar[bool] = False

    target_pool: PoolName
    sr: SrUuid
    vm: VmUuid
    vm_name: str
    job_id: JobId
    replica: VmUuid
    due: datetime
    reason: Reason
    sr_name: str = ""
    rename: str = ""


@dataclass(frozen=True, slots=True)
class Verify:
    """Read a restore point as a restore would, and note beside it what that showed.

    size_bytes: about what there is to read.
    """

    verb: ClassVar[str] = "verify"
    destructive: ClassVar[bool] = False

    remote: RemoteName
    vm: VmUuid
    vm_name: str
    job: JobName
    job_id: JobId
    stamp: Stamp
    size_bytes: int
    due: datetime
    reason: Reason


GIVEN_UP = frozenset({Reason.RUN_CANCELLED, Reason.TIMED_OUT})
"""Why a snapshot goes although points of it are wanted."""

Action = (
    Snapshot
    | Export
    | Archive
    | Replicate
    | CopyVm
    | Merge
    | Prune
    | PruneReplica
    | CleanFiles
    | CleanSnapshot
    | CleanReplica
    | Verify
    | PowerOn
    | RestoreVm
    | RestoreDisk
    | CleanRestore
)
Sending = Export | Archive | Replicate | CopyVm
"""What makes a restore point out of a snapshot: those of one snapshot start as a party."""


# An id names an intent. Why, for when and how much goes with it may change from plan to plan; so
# may the base of an export and the slots a snapshot answers, without its being another action:
# a running one is recognised, and one that failed keeps its back-off.
_CIRCUMSTANCES = frozenset(
    {"due", "reason", "vm_name", "job", "sr_name", "estimate_bytes", "freed_bytes", "data_bytes"}
)
_CIRCUMSTANCES_OF: dict[type[Action], frozenset[str]] = {
    Snapshot: frozenset({"schedules", "consistency", "without", "rolling", "requested"}),
    Export: frozenset({"schedules", "disks", "blocks", "checksums"}),
    Archive: frozenset({"schedules"}),
    Replicate: frozenset({"schedules", "disks", "replica", "base"}),
    CopyVm: frozenset({"schedules"}),
    PruneReplica: frozenset({"with_replica"}),
    # Whichever point is the newest by then.
    Verify: frozenset({"stamp", "size_bytes"}),
    # One restore is one intent, whatever is known by now of what it asks for.
    RestoreVm: frozenset(
        {"remote", "vm", "stamp", "sr", "start", "revision", "networks", "mac", "made"}
    ),
    CleanRestore: frozenset({"disks"}),
}


def run_of(action: Action) -> RunId | None:
    """Name the run that an action belongs to; None for what belongs to no slot of a job."""
    return run_id(action.job, action.due) if isinstance(action, Snapshot | Sending) else None


def id_of(action: Action) -> ActionId:
    """Derive the id: equal for equal intent, whatever reason, moment or estimate goes with it."""
    content = [type(action).__name__, *(getattr(action, name) for name in _IDENTITY[type(action)])]
    text = json.dumps(content, separators=(",", ":"))
    digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    return ActionId(f"{action.verb}-{digest}")


def _identity_of(kind: type[Action]) -> tuple[str, ...]:
    left_out = _CIRCUMSTANCES | _CIRCUMSTANCES_OF.get(kind, frozenset())
    return tuple(sorted(field.name for field in fields(kind) if field.name not in left_out))


_IDENTITY: dict[type[Action], tuple[str, ...]] = {
    kind: _identity_of(kind) for kind in get_args(Action)
}
