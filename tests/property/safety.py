"""What must hold of an action when it begins, whatever was planned beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from reconciler.desired.state import Desired, Job, JobMode
from reconciler.ids import (
    DiskSnapshotUuid,
    JobId,
    RemoteName,
    ScheduleId,
    SnapshotUuid,
    SrUuid,
    VmUuid,
    instant_of,
)
from reconciler.observed.chain import Chains, History
from reconciler.observed.pool import DiskSnapshot, PoolView, Vm
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import ReplicaKind, ReplicaState
from reconciler.observed.state import Observed
from reconciler.plan.actions import (
    Action,
    Archive,
    CleanFiles,
    CleanReplica,
    CleanSnapshot,
    CopyVm,
    Export,
    Merge,
    Prune,
    PruneReplica,
    Replicate,
    Snapshot,
    Verify,
    run_of,
)
from reconciler.plan.claims import sr_place
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import CleanRestore, RestoreVm

PointName = tuple[str, VmUuid, str]
"""A place, a VM, and a stamp (or the uuid of a snapshot that is the point)."""


def histories(observed: Observed) -> dict[tuple[RemoteName, VmUuid], History]:
    return {
        (remote, vm): history
        for remote, view in observed.remotes.items()
        if isinstance(view, RemoteView)
        for vm, history in view.histories.items()
        if isinstance(history, History)
    }


def whole_points(observed: Observed) -> set[PointName]:
    """Name the points whose every disk can be followed to a full, begun merges aside; replicas;
    and snapshots that were made to be points.
    """
    found: set[PointName] = set()
    for (remote, vm), history in histories(observed).items():
        chains = Chains(history.files)
        merging = {merge.source.rpartition("/")[0] for merge in history.merges}
        for point in history.points:
            if chains.is_whole(point) and not any(
                disk.path.rpartition("/")[0] in merging for disk in point.disks
            ):
                found.add((remote, vm, point.stamp))
    for pool, view in observed.pools.items():
        for replica in view.replicas if isinstance(view, PoolView) else ():
            if replica.state is ReplicaState.WHOLE:
                found.add((sr_place(pool, replica.sr, replica.vm).name, replica.vm, replica.stamp))
        for vm in view.vms.values() if isinstance(view, PoolView) else ():
            for snapshot in vm.snapshots:
                if snapshot.marks is not None and snapshot.marks.rolling:
                    found.add((f"pool {pool}", vm.uuid, snapshot.uuid))
    return found


def prunes_in(actions: tuple[Action, ...]) -> set[PointName]:
    found: set[PointName] = set()
    for each in actions:
        match each:
            case Prune():
                found.add((each.remote, each.vm, each.stamp))
            case PruneReplica():
                place = sr_place(each.target_pool, each.sr, each.vm)
                found.add((place.name, each.vm, each.stamp))
            case CleanSnapshot(destructive=True):
                found.add((f"pool {each.pool}", each.vm or VmUuid(""), each.snapshot or ""))
            case _:
                pass
    return found


def check_is_safe(action: Action, desired: Desired, observed: Observed, now: datetime) -> None:
    """Assert what must hold of an action when it begins, whatever was planned beside it."""
    match action:
        case Prune():
            check_prune(action, desired, observed, now)
        case CleanFiles():
            history = changeable(action.remote, action.vm, desired, observed)
            named = {disk.path for point in history.points for disk in point.disks}
            assert not named & set(action.paths)
            if action.reason is not Reason.PARTIAL_UPLOAD:
                assert not history.unreadable
                for path in action.paths:
                    assert path.split("/")[1] in {job.id for job in desired.jobs.values()}
        case Merge():
            history = changeable(action.remote, action.vm, desired, observed)
            named = {disk.path for point in history.points for disk in point.disks}
            if action.reason is not Reason.MERGE_INTERRUPTED:
                assert not history.unreadable
                assert action.target not in named
        case Export():
            history = changeable(action.remote, action.vm, desired, observed)
            assert all(
                point.stamp < action.stamp for point in history.points if point.job == action.job_id
            )
        case Verify():
            history = changeable(action.remote, action.vm, desired, observed)
            assert desired.jobs[action.job].verification is not None
            (point,) = (each for each in history.points if each.stamp == action.stamp)
            assert point.job == action.job_id
            assert Chains(history.files).is_whole(point)
        case Archive():
            history = changeable(action.remote, action.vm, desired, observed)
            assert desired.jobs[action.job].mode is JobMode.FULL
        case Replicate() | CopyVm():
            check_replication(action, desired, observed)
        case PruneReplica():
            check_prune_replica(action, desired, observed, now)
        case CleanReplica():
            assert action.job_id in {job.id for job in desired.jobs.values() if not job.suspend}
        case CleanSnapshot():
            check_clean_snapshot(action, desired, observed, now)
        case Snapshot():
            assert not desired.jobs[action.job].suspend
            assert not desired.cancellations or all(
                each.run != run_of(action) for each in desired.cancellations
            )
        case RestoreVm():
            check_restore(action, desired, observed)
        case CleanRestore():
            check_clean_restore(action, desired, observed)
        case _:
            raise AssertionError(f"nobody asked for {action}")


def check_restore(action: RestoreVm, desired: Desired, observed: Observed) -> None:
    """A restore is of what its manifest asks for, and done once. What is read is effects.py's."""
    (wanted,) = (each for each in desired.restores.values() if each.id == action.restore)
    assert not wanted.suspend
    assert wanted.remote in (None, action.remote)
    assert wanted.pool == action.pool
    assert not desired.remotes[action.remote].suspend
    view = observed.pools[action.pool]
    assert isinstance(view, PoolView)
    record = view.restores.get(wanted.id)
    if record is None:
        assert wanted.stamp in (None, action.stamp)
        assert wanted.vm in (action.vm, action.vm_name)
        if wanted.stamp is None:  # the newest there is in time, wherever it may be
            for (remote, vm), history in histories(observed).items():
                if vm == action.vm and wanted.remote in (None, remote):
                    assert all(
                        point.stamp <= action.stamp
                        for point in history.points
                        if wanted.as_of is None or point.taken_at <= wanted.as_of
                    )
            for remote in desired.remotes:
                if wanted.remote in (None, remote):
                    assert isinstance(observed.remotes[remote], RemoteView)
    else:
        assert record.revision == wanted.revision


def check_clean_restore(action: CleanRestore, desired: Desired, observed: Observed) -> None:
    """Only what a known restore left that is not done, and never a VM that is whole."""
    assert action.restore in {each.id for each in desired.restores.values()}
    view = observed.pools[action.pool]
    assert isinstance(view, PoolView)
    assert view.restores[action.restore].made is None
    for vm in view.restored:
        if vm.vm == action.vm:
            assert vm.restore == action.restore
            assert not vm.whole
            assert not vm.busy
    loose = {each.disk for each in view.loose if each.restore == action.restore}
    assert loose.issuperset(action.disks)


def changeable(remote: RemoteName, vm: VmUuid, desired: Desired, observed: Observed) -> History:
    """Return the history of a VM on a remote that may be changed at all."""
    assert not desired.remotes[remote].read_only
    assert not desired.remotes[remote].suspend
    view = observed.remotes[remote]
    assert isinstance(view, RemoteView)
    history = view.histories.get(vm, History(vm, view.as_of))
    assert isinstance(history, History), "an unknown history was touched"
    assert not history.locked_by_others
    return history


def check_replication(action: Replicate | CopyVm, desired: Desired, observed: Observed) -> None:
    job = desired.jobs[action.job]
    assert job.mode is (JobMode.FULL if isinstance(action, CopyVm) else JobMode.INCREMENTAL)
    view = observed.pools[action.target_pool]
    assert isinstance(view, PoolView)
    name = view.srs[action.sr].name
    assert any(
        target.sr in (name, action.sr) and (target.pool or action.pool) == action.target_pool
        for target in job.srs
    )
    for each in view.replicas:
        if (each.sr, each.vm, each.job, each.state) == (
            action.sr,
            action.vm,
            action.job_id,
            ReplicaState.WHOLE,
        ):
            assert each.stamp < action.stamp


def check_prune_replica(
    action: PruneReplica, desired: Desired, observed: Observed, now: datetime
) -> None:
    assert action.job is not None
    view = observed.pools[action.target_pool]
    assert isinstance(view, PoolView)
    good = [
        each
        for each in view.replicas
        if (each.sr, each.vm, each.job, each.state, each.ours)
        == (action.sr, action.vm, action.job_id, ReplicaState.WHOLE, True)
    ]
    (point,) = (
        each for each in good if (each.replica, each.snapshot) == (action.replica, action.snapshot)
    )
    check_leaves(point, good, desired.jobs[action.job], desired, now)


def check_leaves(
    point: Any, good: Sequence[Any], job: Job, desired: Desired, now: datetime
) -> None:
    """Assert that a good point may go, of all the good ones of its VM and job at a place."""
    assert not job.suspend
    assert job.id not in desired.protected_jobs
    assert len(good) - 1 >= job.guard.good_min, "too few good points would be left"
    known = [schedule for schedule in job.schedules if schedule.id in point.schedules]
    assert known, "a point of no schedule was pruned"
    for schedule in known:
        assert not schedule.suspend
        counted = [each for each in good if schedule.id in each.schedules]
        kept = schedule.retention.keep([each.taken_at for each in counted], now)
        assert counted.index(point) not in kept, "a point that a rule keeps was pruned"


def check_prune(action: Prune, desired: Desired, observed: Observed, now: datetime) -> None:
    history = changeable(action.remote, action.vm, desired, observed)
    assert action.job is not None
    job = desired.jobs[action.job]
    assert not history.unreadable
    assert not history.merges
    chains = Chains(history.files)
    good = [point for point in history.points if point.job == job.id and chains.is_whole(point)]
    found = [each for each in good if each.stamp == action.stamp]
    assert found, "a point that is not whole was pruned"
    check_leaves(found[0], good, job, desired, now)


def check_clean_snapshot(
    action: CleanSnapshot, desired: Desired, observed: Observed, now: datetime
) -> None:
    view = observed.pools[action.pool]
    assert isinstance(view, PoolView)
    if action.snapshot is None:
        return
    if action.snapshot in {stray.uuid for stray in view.strays}:
        check_clean_stray(action, view, desired, observed)
        return
    assert action.vm is not None
    (snapshot,) = (s for s in view.vms[action.vm].snapshots if s.uuid == action.snapshot)
    if snapshot.marks is None:
        assert action.reason is Reason.SNAPSHOT_ORPHANED
        return
    assert snapshot.marks.vm == action.vm
    (job,) = (job for job in desired.jobs.values() if job.id == snapshot.marks.job)
    if job.mode is JobMode.SNAPSHOT or snapshot.marks.rolling:
        assert action.reason is Reason.RETENTION_EXCEEDED, "a restore point went by the way"
        check_rolls(snapshot.uuid, view.vms[action.vm], job, desired, now)
    if job.mode is JobMode.SNAPSHOT:
        return
    uuids = {disk.uuid for disk in snapshot.disks if not is_excluded(disk, job, view, action.vm)}
    for remote in job.remotes:
        assert isinstance(observed.remotes[remote], RemoteView), "a remote was not seen"
        if job.mode is JobMode.INCREMENTAL:
            assert not uuids & tips(observed, remote, action.vm, job.id), "a base was removed"
    for target in job.srs:
        home = observed.pools[target.pool or action.pool]
        assert isinstance(home, PoolView), "an SR was not seen"
        if job.mode is JobMode.INCREMENTAL:
            held = {sr.uuid for sr in home.srs.values() if target.sr in (sr.name, sr.uuid)}
            assert not {disk.uuid for disk in snapshot.disks} & sources(
                home, held, action.vm, job.id
            ), "a base of a replica was removed"


def is_excluded(disk: DiskSnapshot, job: Job, view: PoolView, vm: VmUuid) -> bool:
    names = {each.uuid: each.name for each in view.vms[vm].disks}
    name = names.get(disk.disk, "") if disk.disk is not None else ""
    globs = job.settings.exclude_disks
    return "[NOBAK]" in name or bool(name and any(fnmatchcase(name, glob) for glob in globs))


def sources(view: PoolView, srs: set[SrUuid], vm: VmUuid, job: JobId) -> set[DiskSnapshotUuid]:
    """Return what the newest updated replica on each SR equals."""
    found: set[DiskSnapshotUuid] = set()
    for sr in srs:
        mine = [
            each
            for each in view.replicas
            if (each.sr, each.vm, each.job, each.kind, each.state, each.ours)
            == (sr, vm, job, ReplicaKind.UPDATED, ReplicaState.WHOLE, True)
        ]
        if mine:
            newest = max(mine, key=lambda each: (each.stamp, each.replica, each.snapshot or ""))
            found |= {disk.source for disk in newest.disks}
    return found


def check_rolls(snapshot: SnapshotUuid, vm: Vm, job: Job, desired: Desired, now: datetime) -> None:
    """A snapshot that is a restore point goes only as points do."""
    good = [
        each
        for each in vm.snapshots
        if each.marks is not None
        and (each.marks.job, each.marks.vm) == (job.id, vm.uuid)
        and (each.marks.rolling or job.mode is JobMode.SNAPSHOT)
        and {disk.disk for disk in each.disks} >= set(each.marks.disks)
    ]
    points = sorted(
        ((instant_of(each.marks.stamp), each.uuid, each.marks) for each in good if each.marks),
        key=lambda each: each[:2],
    )
    views = [Rolling(at, uuid, marks.schedules) for at, uuid, marks in points]
    (going,) = (each for each in views if each.uuid == snapshot)
    check_leaves(going, views, job, desired, now)


@dataclass(frozen=True)
class Rolling:
    taken_at: datetime
    uuid: SnapshotUuid
    schedules: tuple[ScheduleId, ...]


def check_clean_stray(
    action: CleanSnapshot, view: PoolView, desired: Desired, observed: Observed
) -> None:
    """A snapshot whose VM is gone may go once its point is somewhere."""
    (stray,) = (each for each in view.strays if each.uuid == action.snapshot)
    marks = stray.marks
    if marks is not None:
        assert not marks.rolling, "the last point of a VM that is gone was removed"
        (job,) = (job for job in desired.jobs.values() if job.id == marks.job)
        assert any(
            point.stamp == marks.stamp and point.job == job.id
            for (remote, vm), history in histories(observed).items()
            if remote in job.remotes and vm == marks.vm
            for point in history.points
        ) or any(
            (each.stamp, each.job, each.vm) == (marks.stamp, job.id, marks.vm)
            for home in observed.pools.values()
            if isinstance(home, PoolView) and job.srs
            for each in home.replicas
        )


def tips(observed: Observed, remote: RemoteName, vm: VmUuid, job: JobId) -> set[DiskSnapshotUuid]:
    """Return the uuids of the newest files that points name, one for each disk."""
    history = histories(observed).get((remote, vm))
    if history is None:
        return set()
    newest: dict[str, DiskSnapshotUuid] = {}
    named = {disk.path for point in history.points if point.job == job for disk in point.disks}
    for path in sorted(named & history.files.keys()):
        newest[path.rpartition("/")[0]] = history.files[path].uuid
    files = history.files.values()
    newest_of_all: dict[str, str] = {}
    for file in files:
        newest_of_all[file.directory] = max(newest_of_all.get(file.directory, ""), file.path)
    return {
        uuid
        for directory, uuid in newest.items()
        if history.files[newest_of_all[directory]].uuid == uuid
    }
