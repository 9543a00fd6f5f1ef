"""Worlds for tests of the planner: short text trees in, `Observed` out.

A tree is what a story's `world.yaml` holds. Ids are made from names, so that a file's uuid, a
snapshot's and a mark's agree wherever the same VM, disk and stamp are meant:

    now: 2026-08-21 02:00:10
    pools:
      east:
        vms:
          web:
            disks: {root: 10GiB}
            snapshots: [{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}]
        srs: [fast]
        replicas:
          - {vm: web, sr: fast, job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}
        restores: {drill: {vm: web, at: 2026-08-20 02:00:05, made: web-drill}}
        restored: [{restore: drill, vm: web-drill, whole: true}]
    remotes:
      nas:
        vms:
          web: {points: [{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}]}

The first point of a disk is full, each later one a delta on the one before it. What actions do to
a world is told by effects.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from reconciler.desired.state import Desired
from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    PoolName,
    RemoteName,
    RestoreId,
    ScheduleId,
    SnapshotUuid,
    SrUuid,
    VmUuid,
    stamp_of,
)
from reconciler.observed.chain import (
    DiskFile,
    FileState,
    History,
    MergeInProgress,
    PointDisk,
    PointKind,
    RestorePoint,
    Unreadable,
    disk_name,
)
from reconciler.observed.pool import (
    SNAPSHOT_IN_PROGRESS,
    Disk,
    DiskSnapshot,
    GivenUp,
    Marks,
    OrphanDiskSnapshot,
    PoolView,
    PowerState,
    Snapshot,
    Vm,
)
from reconciler.observed.proof import Proof, ProofLevel
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import Replica, ReplicaDisk, ReplicaKind, ReplicaState, Sr
from reconciler.observed.restored import LooseDisk, RestoredVm, RestoreRecord
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.units import parse_size

GIB = 1024**3
_SPACE = UUID("00000000-0000-0000-0000-0000000000aa")


def uuid(*names: str) -> str:
    return str(uuid5(_SPACE, "/".join(names)))


def vm_uuid(name: str) -> VmUuid:
    return VmUuid(uuid("vm", name))


def disk_uuid(vm: str, disk: str) -> DiskUuid:
    return DiskUuid(uuid("disk", vm, disk))


def disk_snapshot_uuid(disk: DiskUuid, stamp: str) -> DiskSnapshotUuid:
    return DiskSnapshotUuid(uuid("disk snapshot", disk, stamp))


def snapshot_uuid(vm: VmUuid, stamp: str, job: JobId) -> SnapshotUuid:
    return SnapshotUuid(uuid("snapshot", vm, stamp, job))


def sr_uuid(pool: str, name: str) -> SrUuid:
    return SrUuid(uuid("sr", pool, name))


def replica_uuid(vm: VmUuid, sr: SrUuid, job: JobId, made: str) -> VmUuid:
    return VmUuid(uuid("replica", vm, sr, job, made))


def instant(value: object) -> datetime:
    """Read an instant of a tree: a datetime or text, UTC if it does not say."""
    parsed = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


class Names:
    """What jobs and schedules are called; names of no job (a deleted one) get an id, too."""

    def __init__(self, desired: Desired) -> None:
        self._desired = desired

    def job(self, name: str) -> JobId:
        found = self._desired.jobs.get(name)  # type: ignore[call-overload]
        return found.id if found else JobId(uuid("job", name))

    def restore(self, name: str) -> RestoreId:
        found = self._desired.restores.get(name)  # type: ignore[call-overload]
        return found.id if found else RestoreId(uuid("restore", name))

    def revision(self, name: str) -> str:
        found = self._desired.restores.get(name)  # type: ignore[call-overload]
        return found.revision if found else ""

    def schedules(self, job: str, names: list[str]) -> tuple[ScheduleId, ...]:
        found = self._desired.jobs.get(job)  # type: ignore[call-overload]
        known = {each.name: each.id for each in found.schedules} if found else {}
        return tuple(known.get(name, ScheduleId(uuid("schedule", job, name))) for name in names)


def observed_of(tree: Mapping[str, Any], desired: Desired) -> Observed:
    """Build the world that a tree describes."""
    now = instant(tree["now"])
    names = Names(desired)
    return Observed(
        pools={
            PoolName(name): _pool(name, part, names, now)
            for name, part in tree.get("pools", {}).items()
        },
        remotes={
            RemoteName(name): _remote(name, part, names, now)
            for name, part in tree.get("remotes", {}).items()
        },
    )


def _unknown(part: Mapping[str, Any], now: datetime) -> Unknown:
    return Unknown(
        since=instant(part.get("since", now)), reason=part.get("reason", ""), why=part["unknown"]
    )


def _pool(name: str, part: Mapping[str, Any], names: Names, now: datetime) -> PoolView | Unknown:
    if "unknown" in part:
        return _unknown(part, now)
    vms = [_vm(vm, inner or {}, names) for vm, inner in part.get("vms", {}).items()]
    orphans = tuple(
        OrphanDiskSnapshot(
            disk_snapshot_uuid(disk_uuid(each["vm"], each["disk"]), stamp_of(instant(each["at"]))),
            Marks(names.job(each["job"]), (), stamp_of(instant(each["at"])), vm_uuid(each["vm"])),
        )
        for each in part.get("orphans", [])
    )
    srs = [Sr(sr_uuid(name, sr), sr, None, None) for sr in part.get("srs", [])]
    replicas = [_replica(name, each, names) for each in part.get("replicas", [])]
    return PoolView(
        name=PoolName(name),
        uuid=uuid("pool", name),
        label=name,
        master="host1",
        version="8.3",
        as_of=now,
        srs={sr.uuid: sr for sr in srs},
        replicas=tuple(sorted(replicas, key=lambda each: each.stamp)),
        vms={vm.uuid: vm for vm in vms},
        orphans=orphans,
        strays=tuple(
            replace(_snapshot(each["vm"], each, {"root": 10 * GIB}, names), name=each["vm"])
            for each in part.get("strays", [])
        ),
        unreadable=tuple(part.get("unreadable", ())),
        restored=tuple(_restored(each, names) for each in part.get("restored", [])),
        loose=tuple(
            LooseDisk(names.restore(each["restore"]), disk_uuid(each["restore"], each["disk"]))
            for each in part.get("loose", [])
        ),
        restores={
            names.restore(restore): _record(restore, each, names)
            for restore, each in part.get("restores", {}).items()
        },
    )


def _restored(part: Mapping[str, Any], names: Names) -> RestoredVm:
    return RestoredVm(
        names.restore(part["restore"]),
        vm_uuid(part["vm"]),
        part["vm"],
        part.get("whole", False),
        tuple(part.get("busy", ())),
    )


def _record(name: str, part: Mapping[str, Any], names: Names) -> RestoreRecord:
    """What the pool says of a restore. revision: another than it has now; made: a VM, once done."""
    return RestoreRecord(
        names.restore(name),
        vm_uuid(part["vm"]),
        stamp_of(instant(part["at"])),
        part.get("revision", names.revision(name)),
        vm_uuid(part["made"]) if "made" in part else None,
    )


def _replica(pool: str, part: Mapping[str, Any], names: Names) -> Replica:
    """One replica. of: the VM that stands for it here; theirs: another tool made it."""
    vm, at = part["vm"], instant(part["at"])
    stamp = stamp_of(at)
    kind = ReplicaKind(part.get("kind", "Updated"))
    made = part.get("of", "first" if kind is ReplicaKind.UPDATED else stamp)
    replica = replica_uuid(vm_uuid(vm), sr_uuid(pool, part["sr"]), names.job(part["job"]), made)
    is_point = kind is ReplicaKind.UPDATED and not part.get("interrupted")
    return Replica(
        sr=sr_uuid(pool, part["sr"]),
        vm=vm_uuid(vm),
        vm_name=vm,
        stamp=stamp,
        taken_at=at,
        job=names.job(part["job"]),
        schedules=names.schedules(part["job"], part.get("schedules", [])),
        kind=kind,
        replica=replica,
        snapshot=SnapshotUuid(uuid("replica", replica, stamp)) if is_point else None,
        disks=tuple(
            ReplicaDisk(
                DiskSnapshotUuid(uuid("replica", replica, stamp, disk)),
                disk_uuid(vm, disk),
                disk_snapshot_uuid(disk_uuid(vm, disk), stamp),
                parse_size(str(part.get("virtual", "10GiB"))),
            )
            for disk in part.get("disks", ["root"])
        ),
        clean=part.get("clean", True),
        state=ReplicaState.INTERRUPTED if part.get("interrupted") else ReplicaState.WHOLE,
        ours=not part.get("theirs", False),
        importing=part.get("importing", False),
    )


def _vm(name: str, part: Mapping[str, Any], names: Names) -> Vm:
    disks = {
        disk: parse_size(str(size)) for disk, size in part.get("disks", {"root": "10GiB"}).items()
    }
    return Vm(
        uuid=vm_uuid(name),
        name=name,
        tags=frozenset(part.get("tags", ())),
        power_state=PowerState(part.get("power", "Running")),
        disks=tuple(
            Disk(disk_uuid(name, disk), disk, size, "sr1", str(position))
            for position, (disk, size) in enumerate(disks.items())
        ),
        snapshots=tuple(_snapshot(name, each, disks, names) for each in part.get("snapshots", [])),
        busy=tuple(part.get("busy", ())),
        given_up=tuple(
            GivenUp(
                names.job(each["job"]),
                stamp_of(instant(each["at"])),
                names.schedules(each["job"], each.get("schedules", [])),
                stamp_of(instant(each["requested"])) if each.get("requested") else None,
                each.get("reason", "TimedOut"),
            )
            for each in part.get("given_up", [])
        ),
    )


def _snapshot(vm: str, part: Mapping[str, Any], disks: Mapping[str, int], names: Names) -> Snapshot:
    at = instant(part["at"])
    job = names.job(part["job"])
    taken_of = part.get("disks", list(disks))
    lost = part.get("lost", [])
    marks = Marks(
        job=job,
        schedules=names.schedules(part["job"], part.get("schedules", [])),
        stamp=stamp_of(at),
        vm=vm_uuid(part.get("marked_for", vm)),
        disks=tuple(disk_uuid(vm, disk) for disk in taken_of)
        if part.get("says_disks", True)
        else (),
        rolling=part.get("rolling", False),
        requested=stamp_of(instant(part["requested"])) if part.get("requested") else None,
    )
    return Snapshot(
        uuid=snapshot_uuid(vm_uuid(vm), stamp_of(at), job),
        name=f"{SNAPSHOT_IN_PROGRESS}-{job}" if part.get("unmarked") else f"backup of {vm}",
        taken_at=at,
        marks=None if part.get("unmarked") else marks,
        disks=tuple(
            DiskSnapshot(
                disk_snapshot_uuid(disk_uuid(vm, disk), stamp_of(at)),
                disk_uuid(vm, disk),
                disks.get(disk, 10 * GIB),
                "sr1",
            )
            for disk in taken_of
            if disk not in lost
        ),
    )


def _remote(
    name: str, part: Mapping[str, Any], names: Names, now: datetime
) -> RemoteView | Unknown:
    if "unknown" in part:
        return _unknown(part, now)
    return RemoteView(
        name=RemoteName(name),
        as_of=now,
        free_bytes=parse_size(str(part.get("free", "1TiB"))),
        total_bytes=parse_size("2TiB"),
        histories={
            vm_uuid(vm): _history(vm, inner or {}, names, now)
            for vm, inner in part.get("vms", {}).items()
        },
    )


def _history(vm: str, part: Mapping[str, Any], names: Names, now: datetime) -> History | Unknown:
    if "unknown" in part:
        return _unknown(part, now)
    points: list[RestorePoint] = []
    files: dict[str, DiskFile] = {}
    tips: dict[str, DiskFile] = {}
    for each in part.get("points", []):
        point = _point(vm, each, names, files, tips)
        if not each.get("pruned"):
            points.append(point)
    return History(
        vm=vm_uuid(vm),
        as_of=now,
        points=tuple(points),
        files=files,
        partials=tuple(_partial(vm, each, names) for each in part.get("partials", ())),
        merges=tuple(_merge(vm, each, names) for each in part.get("merges", [])),
        unreadable=tuple(Unreadable(**each) for each in part.get("unreadable", [])),
        locked_by_others=bool(part.get("locked")),
        proofs={
            names.job(job): Proof(
                ProofLevel.CHAIN, stamp_of(instant(each["of"])), instant(each["at"]), GIB
            )
            for job, each in part.get("proofs", {}).items()
        },
    )


def _point(
    vm: str,
    part: Mapping[str, Any],
    names: Names,
    files: dict[str, DiskFile],
    tips: dict[str, DiskFile],
) -> RestorePoint:
    """One restore point and its files. pruned: the files only, the point itself is gone."""
    at = instant(part["at"])
    stamp = stamp_of(at)
    job = names.job(part["job"])
    if part.get("archive"):
        schedules = names.schedules(part["job"], part.get("schedules", []))
        return RestorePoint(
            vm_uuid(vm), vm, stamp, at, job, schedules, (), 10 * GIB, PointKind.ARCHIVE,
            f"{stamp}.xva", part.get("flaw", ""),
        )  # fmt: skip
    disks = []
    for disk in part.get("disks", ["root"]):
        identity = disk_uuid(vm, disk)
        directory = f"vdis/{job}/{identity}"
        tip = tips.get(directory)
        if tip is not None and tip.blocks is not bool(part.get("blocks")):
            tip = None
        below = None if tip is None or disk in part.get("full", []) else tip
        size = parse_size(str(part.get("size", "10GiB" if below is None else "1GiB")))
        broken = part.get("broken", {}).get(disk)
        file = DiskFile(
            path=f"{directory}/{disk_name(stamp, blocks=bool(part.get('blocks')))}",
            uuid=disk_snapshot_uuid(identity, stamp),
            parent=None if below is None else below.file_name,
            parent_uuid=None if below is None else below.uuid,
            virtual_bytes=parse_size(str(part.get("virtual", "10GiB"))),
            file_bytes=size,
            data_bytes=size,
            state=FileState.BROKEN if broken else FileState.OK,
            why=broken or "",
        )
        tips[directory] = file
        if disk not in part.get("missing", []):
            files[file.path] = file
        since_full = part.get("since_full")
        disks.append(
            PointDisk(
                identity, file.uuid, disk, file.path, file.virtual_bytes, since_full=since_full
            )
        )
    return RestorePoint(
        vm=vm_uuid(vm),
        vm_name=vm,
        stamp=stamp,
        taken_at=at,
        job=job,
        schedules=names.schedules(part["job"], part.get("schedules", [])),
        disks=tuple(disks),
        size_bytes=sum(files[disk.path].file_bytes for disk in disks if disk.path in files),
    )


def _partial(vm: str, part: Any, names: Names) -> str:
    """A path; or a block directory without an alias, by its job, disk and instant."""
    if isinstance(part, str):
        return part
    directory = f"vdis/{names.job(part['job'])}/{disk_uuid(vm, part.get('disk', 'root'))}"
    return f"{directory}/data/{disk_name(stamp_of(instant(part['at'])), blocks=False)}"


def _merge(vm: str, part: Mapping[str, Any], names: Names) -> MergeInProgress:
    directory = f"vdis/{names.job(part['job'])}/{disk_uuid(vm, part.get('disk', 'root'))}"
    target, source = (f"{stamp_of(instant(part[end]))}.vhd" for end in ("target", "source"))
    return MergeInProgress(
        f"{directory}/.{target}.merge.json", f"{directory}/{target}", f"{directory}/{source}"
    )
