"""From a pool's tables to the replicas that lie on it, and to the storage they lie on.

A replica is told by its marks (`observed/replica_marks.py`), whoever wrote them. What is marked as
a point is shown even if a disk of it cannot be understood: a point that is there is never missing.
"""

from reconciler.ids import DiskSnapshotUuid, SnapshotUuid, SrUuid, VmUuid, instant_of
from reconciler.observed.pool import PowerState
from reconciler.observed.replica import Replica, ReplicaDisk, ReplicaKind, ReplicaState, Sr
from reconciler.observed.replica_marks import (
    IMPORTING,
    ReplicaMarks,
    is_ours,
    read_origin,
    read_point,
    read_unfinished,
)
from reconciler.observers.pool_tables import PoolTables
from reconciler.xapi.records import SrRecord, VmRecord

_HOLDS_NO_DISKS = frozenset({"iso", "udev"})


def replica_of(tables: PoolTables, record: VmRecord) -> Replica | None:
    """What a VM, or a snapshot of one, is as a replica; None if it is none."""
    if record.is_control_domain:
        return None
    point = read_point(record.other_config, record.uuid)
    if point is not None:
        if record.is_snapshot:
            return _updated(tables, record, point)
        # one that may be started may have been: it is somebody's VM by now
        return _copied(tables, record, point) if is_untouched(record) else None
    unfinished = read_unfinished(record.other_config, record.uuid, record.name)
    if unfinished is None or _has_points(tables, record):
        return None
    state = ReplicaState.INTERRUPTED
    return _replica(tables, record, unfinished, ReplicaKind.COPIED, record.uuid, state=state)


def is_untouched(record: VmRecord) -> bool:
    """Whether a replica is as it was left: nobody could start it since, and nobody runs it."""
    return record.power_state == PowerState.HALTED and "start" in record.blocked


def storage(tables: PoolTables) -> dict[SrUuid, Sr]:
    """The storage that replicas can lie on."""
    backlog = tables.coalesce_backlog()
    return {
        SrUuid(sr.uuid): Sr(
            SrUuid(sr.uuid), sr.name, _free(sr), sr.total_bytes, backlog.get(sr.ref)
        )
        for sr in tables.srs.values()
        if sr.type not in _HOLDS_NO_DISKS and sr.content_type not in _HOLDS_NO_DISKS
    }


def _free(sr: SrRecord) -> int | None:
    if sr.total_bytes is None or sr.used_bytes is None:
        return None
    return max(0, sr.total_bytes - sr.used_bytes)


def _has_points(tables: PoolTables, record: VmRecord) -> bool:
    """Whether snapshots of a VM are points: then whatever it is itself, it is not left over."""
    return any(
        read_point(snapshot.other_config, snapshot.uuid) is not None
        for snapshot in tables.snapshots_of(record.ref)
    )


def _updated(tables: PoolTables, record: VmRecord, marks: ReplicaMarks) -> Replica:
    live = tables.vms.get(record.snapshot_of or "")
    return _replica(
        tables,
        record,
        marks,
        ReplicaKind.UPDATED,
        live.uuid if live is not None else record.uuid,
        snapshot=SnapshotUuid(record.uuid),
        clean=live is not None and is_untouched(live),
        importing=live is not None and live.name.startswith(IMPORTING),
    )


def _copied(tables: PoolTables, record: VmRecord, marks: ReplicaMarks) -> Replica:
    return _replica(tables, record, marks, ReplicaKind.COPIED, record.uuid)


def _replica(
    tables: PoolTables,
    record: VmRecord,
    marks: ReplicaMarks,
    kind: ReplicaKind,
    replica: str,
    *,
    snapshot: SnapshotUuid | None = None,
    clean: bool = True,
    importing: bool = False,
    state: ReplicaState = ReplicaState.WHOLE,
) -> Replica:
    return Replica(
        sr=marks.sr,
        vm=marks.vm,
        vm_name=marks.vm_name or record.name,
        stamp=marks.stamp,
        taken_at=instant_of(marks.stamp),
        job=marks.job,
        schedules=marks.schedules,
        kind=kind,
        replica=VmUuid(replica),
        snapshot=snapshot,
        disks=_disks(tables, record),
        clean=clean,
        importing=importing,
        state=state,
        ours=state is ReplicaState.INTERRUPTED or is_ours(record.other_config, record.uuid),
    )


def _disks(tables: PoolTables, record: VmRecord) -> tuple[ReplicaDisk, ...]:
    """The disks that say what they equal."""
    disks = []
    for _, vdi in tables.disks_of(record):
        origin = read_origin(vdi.other_config) if vdi is not None else None
        if vdi is not None and origin is not None:
            uuid = DiskSnapshotUuid(vdi.uuid)
            disks.append(ReplicaDisk(uuid, origin.disk, origin.source, vdi.size_bytes))
    return tuple(sorted(disks, key=lambda disk: disk.uuid))
