"""The closed union of everything that can be done, as frozen values.

Each action is planned, admitted, run, logged and counted under one id that is derived from its
content, so planning again gives the same id. Actions are serialisable (`as_dict`), name their
subject by uuids, and carry everything a step needs but opened connections.

The backup of one VM is two actions: `Snapshot` makes and marks the snapshot; once that is seen,
`Export` sends it to a remote that lacks its restore point. Whatever interrupts the two, the next
plan continues from what is there.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, get_args

from reconciler.ids import (
    ActionId,
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    ScheduleId,
    SnapshotUuid,
    Stamp,
    VmUuid,
)
from reconciler.plan.reasons import Reason


class ExportKind(StrEnum):
    FULL = "Full"
    DELTA = "Delta"


@dataclass(frozen=True, slots=True)
class DiskExport:
    """One disk of an export. base: snapshot that the delta is taken against; None for a full.

    base_file: name of the file the delta will stand on, in the disk's directory.
    estimate_bytes: upper bound of what will be written, as far as it is known.
    """

    disk: DiskUuid
    snapshot: DiskSnapshotUuid
    kind: ExportKind
    reason: Reason
    base: DiskSnapshotUuid | None = None
    base_file: str | None = None
    estimate_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Snapshot one VM and mark it. after: stamp of the newest point or snapshot, to stay above."""

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


@dataclass(frozen=True, slots=True)
class Export:
    """Make the restore point of one snapshot on one remote. due: the oldest debt it settles.

    disks: all disks of the point, those that are there already (`AlreadyExported`) included.
    """

    verb: ClassVar[str] = "export"
    destructive: ClassVar[bool] = False

    pool: PoolName
    remote: RemoteName
    vm: VmUuid
    vm_name: str
    job: JobName
    job_id: JobId
    schedules: tuple[ScheduleId, ...]
    snapshot: SnapshotUuid
    stamp: Stamp
    disks: tuple[DiskExport, ...]
    due: datetime
    reason: Reason

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
    """

    verb: ClassVar[str] = "clean"
    destructive: ClassVar[bool] = False

    pool: PoolName
    vm: VmUuid | None
    vm_name: str
    snapshot: SnapshotUuid | None
    disks: tuple[DiskSnapshotUuid, ...]
    due: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class RestoreVm:
    """Restore a point as a new VM. Never touches an existing one. start: power it on at the end."""

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


Action = Snapshot | Export | Merge | Prune | CleanFiles | CleanSnapshot | RestoreVm | RestoreDisk


# An id names an intent. Why, for when and how much goes with it may change from plan to plan; so
# may the base of an export and the slots a snapshot answers, without its being another action:
# a running one is recognised, and one that failed keeps its back-off.
_CIRCUMSTANCES = frozenset(
    {"due", "reason", "vm_name", "job", "estimate_bytes", "freed_bytes", "data_bytes"}
)
_CIRCUMSTANCES_OF: dict[type[Action], frozenset[str]] = {
    Snapshot: frozenset({"schedules"}),
    Export: frozenset({"schedules", "disks"}),
}


def as_dict(action: Action) -> dict[str, Any]:
    """Render an action as JSON-ready values, with its class name under "action"."""
    return {"action": type(action).__name__, "id": id_of(action), **_plain(asdict(action))}


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


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case datetime():
            return value.isoformat()
        case _:
            return value
