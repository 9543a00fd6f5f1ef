"""Worlds for tests of the planner: short text trees in, `Observed` out; and what actions do to one.

A tree is what a story's `world.yaml` holds. Ids are made from names, so that a file's uuid, a
snapshot's and a mark's agree wherever the same VM, disk and stamp are meant:

    now: 2026-08-21 02:00:10
    pools:
      east:
        vms:
          web:
            disks: {root: 10GiB}
            snapshots: [{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}]
    remotes:
      nas:
        vms:
          web: {points: [{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}]}

The first point of a disk is full, each later one a delta on the one before it.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from reconciler.desired.state import Desired
from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    PoolName,
    RemoteName,
    ScheduleId,
    SnapshotUuid,
    VmUuid,
    instant_of,
    stamp_of,
)
from reconciler.observed.chain import (
    DiskFile,
    FileState,
    History,
    MergeInProgress,
    PointDisk,
    RestorePoint,
    Unreadable,
)
from reconciler.observed.pool import (
    SNAPSHOT_IN_PROGRESS,
    Disk,
    DiskSnapshot,
    Marks,
    OrphanDiskSnapshot,
    PoolView,
    PowerState,
    Snapshot,
    Vm,
)
from reconciler.observed.progress import Attempt, Progress
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan import actions as act
from reconciler.plan.actions import id_of
from reconciler.plan.claims import claims_of, touched_by
from reconciler.plan.reasons import Reason
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
    return PoolView(
        name=PoolName(name),
        uuid=uuid("pool", name),
        label=name,
        master="host1",
        version="8.3",
        as_of=now,
        vms={vm.uuid: vm for vm in vms},
        orphans=orphans,
        strays=tuple(
            replace(_snapshot(each["vm"], each, {"root": 10 * GIB}, names), name=each["vm"])
            for each in part.get("strays", [])
        ),
        unreadable=tuple(part.get("unreadable", ())),
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
        partials=tuple(part.get("partials", ())),
        merges=tuple(_merge(vm, each, names) for each in part.get("merges", [])),
        unreadable=tuple(Unreadable(**each) for each in part.get("unreadable", [])),
        locked_by_others=bool(part.get("locked")),
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
    disks = []
    for disk in part.get("disks", ["root"]):
        identity = disk_uuid(vm, disk)
        directory = f"vdis/{job}/{identity}"
        tip = tips.get(directory)
        below = None if tip is None or disk in part.get("full", []) else tip
        size = parse_size(str(part.get("size", "10GiB" if below is None else "1GiB")))
        broken = part.get("broken", {}).get(disk)
        file = DiskFile(
            path=f"{directory}/{stamp}.vhd",
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
        disks.append(PointDisk(identity, file.uuid, disk, file.path, file.virtual_bytes))
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


def _merge(vm: str, part: Mapping[str, Any], names: Names) -> MergeInProgress:
    directory = f"vdis/{names.job(part['job'])}/{disk_uuid(vm, part.get('disk', 'root'))}"
    target, source = (f"{stamp_of(instant(part[end]))}.vhd" for end in ("target", "source"))
    return MergeInProgress(
        f"{directory}/.{target}.merge.json", f"{directory}/{target}", f"{directory}/{source}"
    )


# ── what actions do ───────────────────────────────────────────────────────────────────────────────


def apply(action: act.Action, observed: Observed, now: datetime) -> Observed:
    """Predict the world after an action, seen at `now`."""
    match action:
        case act.Snapshot():
            return _with_vm(observed, action, now, lambda vm: _snapshotted(vm, action, now))
        case act.CleanSnapshot(snapshot=None):
            view = _pool_of(observed, action.pool)
            orphans = tuple(each for each in view.orphans if each.uuid not in action.disks)
            return _with_pool(observed, replace(view, orphans=orphans, as_of=now))
        case act.CleanSnapshot() if action.vm not in _pool_of(observed, action.pool).vms:
            view = _pool_of(observed, action.pool)
            strays = tuple(each for each in view.strays if each.uuid != action.snapshot)
            return _with_pool(observed, replace(view, strays=strays, as_of=now))
        case act.CleanSnapshot():
            return _with_vm(
                observed,
                action,
                now,
                lambda vm: replace(
                    vm, snapshots=tuple(s for s in vm.snapshots if s.uuid != action.snapshot)
                ),
            )
        case act.Export():
            return _with_history(observed, action, now, _exported(observed, action))
        case act.Prune():
            history = _history_of(observed, action)
            points = tuple(each for each in history.points if each.stamp != action.stamp)
            assert len(points) == len(history.points) - 1, "pruned something that was not there"
            return _with_history(observed, action, now, replace(history, points=points))
        case act.Merge():
            return _with_history(observed, action, now, _merged(observed, action))
        case act.CleanFiles():
            history = _history_of(observed, action)
            return _with_history(
                observed,
                action,
                now,
                replace(
                    history,
                    files={p: f for p, f in history.files.items() if p not in action.paths},
                    partials=tuple(p for p in history.partials if p not in action.paths),
                ),
            )
        case _:
            raise AssertionError(f"no story has {action}")


def start(action: act.Action, observed: Observed, now: datetime) -> Observed:
    """Note that an action has started, as the executor does."""
    progress = observed.progress
    identity = id_of(action)
    return replace(
        observed,
        progress=replace(
            progress,
            running={**progress.running, identity: now},
            claims={**progress.claims, identity: claims_of(action)},
        ),
    )


def end(
    action: act.Action, observed: Observed, now: datetime, attempt: Attempt | None = None
) -> Observed:
    """Note that an action has ended, as the executor does. The world is not changed by this."""
    progress = observed.progress
    identity = id_of(action)
    touched = dict(progress.touched)
    for place in touched_by(progress.claims[identity]):
        touched[place] = max(now, touched.get(place, now))
    return replace(
        observed,
        progress=Progress(
            running={key: value for key, value in progress.running.items() if key != identity},
            claims={key: value for key, value in progress.claims.items() if key != identity},
            ended={**progress.ended, identity: attempt or Attempt(now, True)},
            touched=touched,
        ),
    )


def _snapshotted(vm: Vm, action: act.Snapshot, now: datetime) -> Vm:
    stamp = stamp_of(now)
    if action.after is not None and stamp <= action.after:
        stamp = stamp_of(instant_of(action.after) + timedelta(seconds=1))
    marks = Marks(
        action.job_id, action.schedules, stamp, vm.uuid, tuple(disk.uuid for disk in vm.disks)
    )
    taken = Snapshot(
        uuid=snapshot_uuid(vm.uuid, stamp, action.job_id),
        name=f"backup of {vm.name}",
        taken_at=instant_of(stamp),
        marks=marks,
        disks=tuple(
            DiskSnapshot(disk_snapshot_uuid(d.uuid, stamp), d.uuid, d.size_bytes, d.sr)
            for d in vm.disks
        ),
    )
    return replace(vm, snapshots=(*vm.snapshots, taken))


def _exported(observed: Observed, action: act.Export) -> History:
    history = _history_of(observed, action)
    vm = _pool_of(observed, action.pool).vms[action.vm]
    (snapshot,) = (each for each in vm.snapshots if each.uuid == action.snapshot)
    files = dict(history.files)
    for export in action.disks:
        if export.reason is Reason.ALREADY_EXPORTED:
            assert files[f"vdis/{action.job_id}/{export.disk}/{action.stamp}.vhd"]
            continue
        (disk,) = (each for each in snapshot.disks if each.uuid == export.snapshot)
        directory = f"vdis/{action.job_id}/{export.disk}"
        parent = files[f"{directory}/{export.base_file}"] if export.base_file else None
        if parent is not None:
            # True base: what the delta was computed against is what it will be read over.
            assert parent.uuid == export.base
            assert any(
                parent.uuid == each.uuid and each.disk == export.disk
                for other in vm.snapshots
                for each in other.disks
            )
        files[f"{directory}/{action.stamp}.vhd"] = DiskFile(
            path=f"{directory}/{action.stamp}.vhd",
            uuid=export.snapshot,
            parent=export.base_file,
            parent_uuid=export.base,
            virtual_bytes=disk.size_bytes,
            file_bytes=GIB,
            data_bytes=GIB,
        )
    names = {disk.uuid: disk.name for disk in vm.disks}
    point = RestorePoint(
        vm=vm.uuid,
        vm_name=vm.name,
        stamp=action.stamp,
        taken_at=instant_of(action.stamp),
        job=action.job_id,
        schedules=action.schedules,
        disks=tuple(
            PointDisk(
                disk.disk,
                disk.uuid,
                names.get(disk.disk, ""),
                f"vdis/{action.job_id}/{disk.disk}/{action.stamp}.vhd",
                disk.size_bytes,
            )
            for disk in snapshot.disks
            if disk.disk is not None
        ),
        size_bytes=GIB,
    )
    points = sorted([*history.points, point], key=lambda each: each.stamp)
    return replace(history, points=tuple(points), files=files)


def _merged(observed: Observed, action: act.Merge) -> History:
    history = _history_of(observed, action)
    files = dict(history.files)
    target = files.pop(action.target)
    source = files[action.source]
    assert source.parent_path == action.target
    files[action.source] = replace(
        source,
        parent=target.parent,
        parent_uuid=target.parent_uuid,
        file_bytes=target.file_bytes + source.file_bytes,
        data_bytes=target.data_bytes + source.data_bytes,
    )
    merges = tuple(each for each in history.merges if each.target != action.target)
    return replace(history, files=files, merges=merges)


def _pool_of(observed: Observed, name: PoolName) -> PoolView:
    view = observed.pools[name]
    assert isinstance(view, PoolView)
    return view


def _with_pool(observed: Observed, view: PoolView) -> Observed:
    return replace(observed, pools={**observed.pools, view.name: view})


def _with_vm(observed: Observed, action: Any, now: datetime, change: Any) -> Observed:
    view = _pool_of(observed, action.pool)
    vms = {**view.vms, action.vm: change(view.vms[action.vm])}
    return _with_pool(observed, replace(view, vms=vms, as_of=now))


def _history_of(observed: Observed, action: Any) -> History:
    view = observed.remotes[action.remote]
    assert isinstance(view, RemoteView), "acted on a remote that was not seen"
    history = view.histories.get(action.vm, History(action.vm, view.as_of))
    assert isinstance(history, History), "acted on a history that was not seen"
    assert not history.locked_by_others
    return history


def _with_history(observed: Observed, action: Any, now: datetime, history: History) -> Observed:
    view = observed.remotes[action.remote]
    assert isinstance(view, RemoteView)
    histories = {**view.histories, action.vm: replace(history, as_of=now)}
    return replace(
        observed,
        remotes={**observed.remotes, action.remote: replace(view, histories=histories, as_of=now)},
    )
