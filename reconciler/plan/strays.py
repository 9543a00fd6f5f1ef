"""Rule: snapshots that no backup goes on from: unmarked, half removed, of VMs that are gone.

Each was made by a step of ours that was interrupted, or outlived its VM. Those of jobs that are
not known here are never touched, only named: putting the job's manifest back adopts them.
"""

from reconciler.ids import DiskSnapshotUuid, JobId, PoolName, Stamp, VmUuid, instant_of
from reconciler.observed.chain import History
from reconciler.observed.pool import SNAPSHOT_IN_PROGRESS, Marks, PoolView, Snapshot
from reconciler.observed.progress import PlaceKind
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import ReplicaState
from reconciler.plan.actions import CleanSnapshot
from reconciler.plan.draft import Draft
from reconciler.plan.reasons import Reason
from reconciler.plan.sites import sites_of
from reconciler.plan.world import World


def clean_unmarked(world: World, pool: PoolName, view: PoolView, draft: Draft) -> None:
    """Plan to remove snapshots that were made and never marked, unless one is being made."""
    for vm in view.vms.values():
        for snapshot in vm.snapshots:
            if snapshot.marks is not None or not _is_ours(world, _job_in_name(snapshot)):
                continue
            if not vm.busy and world.mode_on_pool(pool, vm.uuid) is None:
                draft.do(_clean(pool, vm.uuid, vm.name, snapshot, Reason.SNAPSHOT_ORPHANED))


def clean_strays(world: World, pool: PoolName, view: PoolView, draft: Draft) -> None:
    """Plan to remove snapshots whose VM is gone, once their point is at a destination.

    One that is nowhere else holds the last there is of its VM, and one that was made in mode
    Snapshot is a restore point itself: a person decides about those.
    """
    for snapshot in view.strays:
        marks = snapshot.marks
        if marks is None:
            if _is_ours(world, _job_in_name(snapshot)):
                draft.do(_clean(pool, None, "", snapshot, Reason.SNAPSHOT_ORPHANED))
        elif _is_ours(world, marks.job) and world.mode_on_pool(pool, marks.vm) is None:
            if _has_point(world, marks, pool) and not marks.rolling:
                draft.do(
                    _clean(pool, marks.vm, snapshot.name, snapshot, Reason.SNAPSHOT_SUPERSEDED)
                )
            else:
                why = f"the VM of {snapshot.name} is gone, and "
                why += (
                    "this snapshot is a restore point"
                    if marks.rolling
                    else "no remote has the point of this one"
                )
                draft.hold(f"pool {pool}", Reason.SNAPSHOT_ORPHANED, why)


def clean_disks(world: World, pool: PoolName, view: PoolView, draft: Draft) -> None:
    """Plan to remove the disks of half-removed snapshots, those of one snapshot together."""
    left: dict[tuple[VmUuid, JobId, Stamp], list[DiskSnapshotUuid]] = {}
    for orphan in view.orphans:
        marks = orphan.marks
        if _is_ours(world, marks.job) and world.mode_on_pool(pool, marks.vm) is None:
            left.setdefault((marks.vm, marks.job, marks.stamp), []).append(orphan.uuid)
    for (vm, _, stamp), disks in left.items():
        home = view.vms.get(vm)
        draft.do(
            CleanSnapshot(
                pool=pool,
                vm=vm,
                vm_name=vm if home is None else home.name,
                snapshot=None,
                disks=tuple(sorted(disks)),
                due=instant_of(stamp),
                reason=Reason.SNAPSHOT_ORPHANED,
            )
        )


def report(world: World, pool: PoolName, view: PoolView, draft: Draft) -> None:
    """Name what stays because nobody here knows what it is, or whose."""
    for sentence in view.unreadable:
        draft.hold(f"pool {pool}", Reason.UNREADABLE_METADATA, sentence)
    unknown: dict[JobId, int] = {}
    for vm in view.vms.values():
        for snapshot in vm.snapshots:
            marks = snapshot.marks
            if marks is not None and marks.vm == vm.uuid and marks.job not in world.jobs_by_id:
                unknown[marks.job] = unknown.get(marks.job, 0) + 1
    for job, count in unknown.items():
        if job not in world.desired.protected_jobs:
            draft.hold(
                f"pool {pool}",
                Reason.JOB_UNKNOWN,
                f"no manifest describes job {job}: its snapshots here ({count}) stay, and so do"
                " its restore points",
            )


def _clean(
    pool: PoolName, vm: VmUuid | None, vm_name: str, snapshot: Snapshot, reason: Reason
) -> CleanSnapshot:
    return CleanSnapshot(
        pool=pool,
        vm=vm,
        vm_name=vm_name,
        snapshot=snapshot.uuid,
        disks=tuple(disk.uuid for disk in snapshot.disks),
        due=snapshot.taken_at,
        reason=reason,
    )


def _job_in_name(snapshot: Snapshot) -> JobId:
    """Read whose a snapshot is that has its temporary name still; "" if it is none of ours."""
    prefix, separator, job = snapshot.name.partition(f"{SNAPSHOT_IN_PROGRESS}-")
    return JobId(job if separator and not prefix else "")


def _is_ours(world: World, job: JobId) -> bool:
    found = world.jobs_by_id.get(job)
    return found is not None and not found.suspend


def _has_point(world: World, marks: Marks, pool: PoolName) -> bool:
    """Say whether a destination of the job is seen to have the point of a snapshot."""
    for site in sites_of(world, world.jobs_by_id[marks.job], pool):
        match site.view:
            case RemoteView():
                history = site.view.histories.get(marks.vm)
                points = history.points if isinstance(history, History) else ()
                if any(point.stamp == marks.stamp and point.job == marks.job for point in points):
                    return True
            case PoolView() if site.kind is PlaceKind.SR:
                if any(
                    each.stamp == marks.stamp
                    and each.job == marks.job
                    and each.state is ReplicaState.WHOLE
                    for each in world.replicas(site.view, site.sr, marks.vm)
                ):
                    return True
            case _:
                pass
    return False
