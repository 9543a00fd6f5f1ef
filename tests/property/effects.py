"""What actions do to a world: predicted, and checked against what they were planned on."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from worlds import GIB, disk_snapshot_uuid, replica_uuid, snapshot_uuid, uuid

from reconciler.desired.state import Desired
from reconciler.ids import (
    DiskSnapshotUuid,
    PoolName,
    SnapshotUuid,
    VmUuid,
    instant_of,
    stamp_of,
)
from reconciler.observed.chain import (
    Chains,
    DiskFile,
    History,
    PointDisk,
    PointKind,
    RestorePoint,
    disk_name,
)
from reconciler.observed.pool import (
    DiskSnapshot,
    GivenUp,
    Marks,
    PoolView,
    PowerState,
    Snapshot,
    Vm,
)
from reconciler.observed.progress import Attempt, Progress
from reconciler.observed.proof import Proof, ProofLevel
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import Replica, ReplicaDisk, ReplicaKind, ReplicaState
from reconciler.observed.restored import RestoredVm, RestoreRecord
from reconciler.observed.state import Observed
from reconciler.plan import actions as act
from reconciler.plan.actions import id_of
from reconciler.plan.claims import claims_of_party, touched_by
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import CleanRestore, RestoreVm


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
            return _with_vm(observed, action, now, lambda vm: _without_snapshot(vm, action))
        case act.Export():
            return _with_history(observed, action, now, _exported(observed, action))
        case act.Archive():
            return _with_history(observed, action, now, _archived(observed, action))
        case act.Replicate():
            return _with_replica(observed, action, now, _replicated(observed, action))
        case act.CopyVm():
            made = replica_uuid(action.vm, action.sr, action.job_id, action.stamp)
            copied = _replica_of(observed, action, ReplicaKind.COPIED, made)
            return _with_replica(observed, action, now, copied)
        case act.PruneReplica():
            return _without_replica(observed, action, now)
        case act.CleanReplica() if action.rename:
            view = _pool_of(observed, action.target_pool)
            named = tuple(
                replace(each, importing=False) if each.replica == action.replica else each
                for each in view.replicas
            )
            assert named != view.replicas, "renamed something that had its name"
            return _with_pool(observed, replace(view, replicas=named, as_of=now))
        case act.CleanReplica():
            view = _pool_of(observed, action.target_pool)
            gone = [each for each in view.replicas if each.replica == action.replica]
            assert gone, "cleaned something that was not there"
            assert all(each.state is ReplicaState.INTERRUPTED and each.ours for each in gone)
            left = tuple(each for each in view.replicas if each not in gone)
            return _with_pool(observed, replace(view, replicas=left, as_of=now))
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
        case act.Verify():
            history = _history_of(observed, action)
            assert any(each.stamp == action.stamp for each in history.points), "verified nothing"
            proof = Proof(ProofLevel.CHAIN, action.stamp, now, action.size_bytes)
            proofs = {**history.proofs, action.job_id: proof}
            return _with_history(observed, action, now, replace(history, proofs=proofs))
        case RestoreVm():
            return _restored(observed, action, now)
        case CleanRestore():
            return _without_half(observed, action, now)
        case _:
            raise AssertionError(f"no story has {action}")


def start(
    party: Sequence[act.Action], observed: Observed, now: datetime, desired: Desired
) -> Observed:
    """Note that actions have started together, as the executor does."""
    progress = observed.progress
    ids = [id_of(action) for action in party]
    claims = claims_of_party(party, desired, now)
    return replace(
        observed,
        progress=replace(
            progress,
            running={**progress.running, **dict.fromkeys(ids, now)},
            claims={**progress.claims, **dict(zip(ids, claims, strict=True))},
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
    taken_of = [disk for disk in vm.disks if disk.uuid not in action.without]
    assert taken_of, "a snapshot of nothing"
    disks = tuple(disk.uuid for disk in taken_of)
    marks = Marks(
        action.job_id,
        action.schedules,
        stamp,
        vm.uuid,
        disks,
        action.rolling,
        action.requested,
    )
    taken = Snapshot(
        uuid=snapshot_uuid(vm.uuid, stamp, action.job_id),
        name=f"backup of {vm.name}",
        taken_at=instant_of(stamp),
        marks=marks,
        disks=tuple(
            DiskSnapshot(disk_snapshot_uuid(d.uuid, stamp), d.uuid, d.size_bytes, d.sr)
            for d in taken_of
        ),
    )
    noted = tuple(each for each in vm.given_up if each.job != action.job_id)
    return replace(vm, snapshots=(*vm.snapshots, taken), given_up=noted)


def _without_snapshot(vm: Vm, action: act.CleanSnapshot) -> Vm:
    (gone,) = (each for each in vm.snapshots if each.uuid == action.snapshot)
    noted = vm.given_up
    if action.reason in act.GIVEN_UP:
        marks = gone.marks
        assert marks is not None
        said = GivenUp(marks.job, marks.stamp, marks.schedules, marks.requested, action.reason)
        noted = (*(each for each in noted if each.job != marks.job), said)
    left = tuple(each for each in vm.snapshots if each is not gone)
    return replace(vm, snapshots=left, given_up=noted)


def _exported(observed: Observed, action: act.Export) -> History:
    history = _history_of(observed, action)
    vm = _pool_of(observed, action.pool).vms[action.vm]
    (snapshot,) = (each for each in vm.snapshots if each.uuid == action.snapshot)
    files = dict(history.files)
    name = disk_name(action.stamp, blocks=action.blocks)
    for export in action.disks:
        if export.reason is Reason.ALREADY_EXPORTED:
            assert files[f"vdis/{action.job_id}/{export.disk}/{name}"]
            continue
        (disk,) = (each for each in snapshot.disks if each.uuid == export.snapshot)
        directory = f"vdis/{action.job_id}/{export.disk}"
        parent = files[f"{directory}/{export.base_file}"] if export.base_file else None
        if parent is not None:
            # True base: what the delta was computed against is what it will be read over.
            assert parent.uuid == export.base
            assert parent.blocks is action.blocks, "two layouts in one chain"
            assert any(
                parent.uuid == each.uuid and each.disk == export.disk
                for other in vm.snapshots
                for each in other.disks
            )
        files[f"{directory}/{name}"] = DiskFile(
            path=f"{directory}/{name}",
            uuid=export.snapshot,
            parent=export.base_file,
            parent_uuid=export.base,
            virtual_bytes=disk.size_bytes,
            file_bytes=GIB,
            data_bytes=GIB,
        )
    names = {disk.uuid: disk.name for disk in vm.disks}
    since_full = {disk.snapshot: disk.since_full for disk in action.disks}
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
                f"vdis/{action.job_id}/{disk.disk}/{name}",
                disk.size_bytes,
                since_full=since_full[disk.uuid],
            )
            for disk in snapshot.disks
            if disk.disk is not None
        ),
        size_bytes=GIB,
    )
    points = sorted([*history.points, point], key=lambda each: each.stamp)
    resumed = {f"vdis/{action.job_id}/{disk.disk}/data/{action.stamp}.vhd" for disk in action.disks}
    partials = tuple(path for path in history.partials if path not in resumed)
    return replace(history, points=tuple(points), files=files, partials=partials)


def _archived(observed: Observed, action: act.Archive) -> History:
    history = _history_of(observed, action)
    _snapshot_of(observed, action)
    point = RestorePoint(
        vm=action.vm,
        vm_name=action.vm_name,
        stamp=action.stamp,
        taken_at=instant_of(action.stamp),
        job=action.job_id,
        schedules=action.schedules,
        disks=(),
        size_bytes=10 * GIB,
        kind=PointKind.ARCHIVE,
        archive=f"{action.stamp}.xva",
    )
    points = sorted([*history.points, point], key=lambda each: each.stamp)
    return replace(history, points=tuple(points))


def _replicated(observed: Observed, action: act.Replicate) -> Replica:
    """Check that what is updated is what was planned on; return the new point."""
    view = _pool_of(observed, action.target_pool)
    there = [
        each
        for each in view.replicas
        if (each.sr, each.vm, each.job) == (action.sr, action.vm, action.job_id)
        and each.kind is ReplicaKind.UPDATED
        and each.state is ReplicaState.WHOLE
        and each.ours
    ]
    if action.base is None:
        assert action.replica is None
        assert all(disk.base is None for disk in action.disks)
        made = replica_uuid(action.vm, action.sr, action.job_id, action.stamp)
        return _replica_of(observed, action, ReplicaKind.UPDATED, made)
    base = max(there, key=lambda each: each.stamp)
    assert base.stamp == action.base
    sources = {disk.disk: disk.source for disk in base.disks}
    known = {
        disk.uuid
        for snapshot in _pool_of(observed, action.pool).vms[action.vm].snapshots
        for disk in snapshot.disks
    }
    for disk in action.disks:
        if disk.base is not None:
            # True base: what the difference is taken to is what it is written over.
            assert disk.base == sources[disk.disk]
            assert disk.base in known
    if action.replica is None:
        assert not base.clean, "a second replica where the first could be updated"
        made = replica_uuid(action.vm, action.sr, action.job_id, action.stamp)
        return _replica_of(observed, action, ReplicaKind.UPDATED, made)
    assert action.replica == base.replica
    assert base.clean, "somebody's VM was changed"
    return _replica_of(observed, action, ReplicaKind.UPDATED, action.replica)


def _replica_of(
    observed: Observed, action: act.Replicate | act.CopyVm, kind: ReplicaKind, replica: VmUuid
) -> Replica:
    snapshot = _snapshot_of(observed, action)
    is_updated = kind is ReplicaKind.UPDATED
    return Replica(
        sr=action.sr,
        vm=action.vm,
        vm_name=action.vm_name,
        stamp=action.stamp,
        taken_at=instant_of(action.stamp),
        job=action.job_id,
        schedules=action.schedules,
        kind=kind,
        replica=replica,
        snapshot=SnapshotUuid(uuid("replica", replica, action.stamp)) if is_updated else None,
        disks=tuple(
            ReplicaDisk(
                DiskSnapshotUuid(uuid("replica", replica, action.stamp, disk.uuid)),
                disk.disk,
                disk.uuid,
                disk.size_bytes,
            )
            for disk in snapshot.disks
        ),
    )


def _with_replica(
    observed: Observed, action: act.Replicate | act.CopyVm, now: datetime, replica: Replica
) -> Observed:
    view = _pool_of(observed, action.target_pool)
    assert action.sr in view.srs, "replicated to an SR that nobody saw"
    replicas = sorted([*view.replicas, replica], key=lambda each: each.stamp)
    return _with_pool(observed, replace(view, replicas=tuple(replicas), as_of=now))


def _without_replica(observed: Observed, action: act.PruneReplica, now: datetime) -> Observed:
    view = _pool_of(observed, action.target_pool)
    (gone,) = (
        each
        for each in view.replicas
        if (each.replica, each.snapshot) == (action.replica, action.snapshot)
    )
    assert gone.state is ReplicaState.WHOLE
    assert gone.ours, "what another tool made was removed"
    left = tuple(each for each in view.replicas if each is not gone)
    if action.with_replica:
        assert gone.clean, "somebody's VM was removed"
    return _with_pool(observed, replace(view, replicas=left, as_of=now))


def _snapshot_of(observed: Observed, action: act.Sending) -> Snapshot:
    vm = _pool_of(observed, action.pool).vms[action.vm]
    (snapshot,) = (each for each in vm.snapshots if each.uuid == action.snapshot)
    assert snapshot.marks is not None
    assert snapshot.marks.stamp == action.stamp
    assert {disk.disk for disk in snapshot.disks} >= set(snapshot.marks.disks)
    return snapshot


def _restored(observed: Observed, action: RestoreVm, now: datetime) -> Observed:
    """Check that the point is there, and that the pool does not say that it was done."""
    view = _pool_of(observed, action.pool)
    assert action.restore is not None
    known = view.restores.get(action.restore)
    if known is not None:
        assert known.made is None, "restored again"
        assert (known.vm, known.stamp) == (action.vm, action.stamp), "another point than begun with"
    remote = observed.remotes[action.remote]
    assert isinstance(remote, RemoteView), "restored from a remote that was not seen"
    history = remote.histories[action.vm]
    assert isinstance(history, History)
    (point,) = (each for each in history.points if each.stamp == action.stamp)
    assert Chains(history.files).is_whole(point), "restored what cannot be"
    made = action.made or VmUuid(uuid("restored", action.restore))
    name = action.name or f"{action.vm_name} ({action.stamp})"
    record = RestoreRecord(action.restore, action.vm, action.stamp, action.revision, made)
    others = [each for each in view.restored if each.vm != made]
    assert action.made or not [each for each in others if each.restore == action.restore]
    vms = dict(view.vms)
    if action.made is None:
        vms[made] = Vm(made, name, frozenset(), PowerState.HALTED, ())
    whole = RestoredVm(action.restore, made, name, True)
    return _with_pool(
        observed,
        replace(
            view,
            vms=vms,
            restored=(*others, whole),
            restores={**view.restores, action.restore: record},
            as_of=now,
        ),
    )


def _without_half(observed: Observed, action: CleanRestore, now: datetime) -> Observed:
    view = _pool_of(observed, action.pool)
    gone = [each for each in view.restored if each.vm == action.vm]
    assert not any(each.whole for each in gone), "a restored VM was removed"
    assert gone or action.disks, "cleaned something that was not there"
    return _with_pool(
        observed,
        replace(
            view,
            restored=tuple(each for each in view.restored if each not in gone),
            loose=tuple(each for each in view.loose if each.disk not in action.disks),
            as_of=now,
        ),
    )


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
