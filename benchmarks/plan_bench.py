"""How long a plan takes for an estate of 10,000 VMs with 300,000 restore points.

Once with all points on one remote, and once with half of them on a remote and half as replicas on
an SR. Each moment is planned cold (nothing is remembered from a plan before it, but the calendar):
`idle`, when everything is in sync; `slot`, when every VM is due; `export`, when every VM has its
snapshot; `prune`, when every VM has one point too many; `merge`, when all those points are gone.
"""

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from reconciler.desired.retention import Retention
from reconciler.desired.schedule import Schedule
from reconciler.desired.selector import Selector
from reconciler.desired.state import (
    Desired,
    Job,
    JobSchedule,
    LocalPlace,
    Pool,
    Remote,
    SecretRef,
    SrTarget,
)
from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    ScheduleId,
    SnapshotUuid,
    SrUuid,
    VmUuid,
    stamp_of,
)
from reconciler.observed.chain import DiskFile, History, PointDisk, RestorePoint
from reconciler.observed.pool import Disk, DiskSnapshot, Marks, PoolView, PowerState, Snapshot, Vm
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import Replica, ReplicaDisk, ReplicaKind, Sr
from reconciler.observed.state import Observed
from reconciler.plan.admit import decide
from reconciler.plan.planner import plan

GIB = 1024**3
LAST_NIGHT = datetime(2026, 8, 20, 2, 0, tzinfo=UTC)
TONIGHT = LAST_NIGHT + timedelta(days=1)
POOL, REMOTE, JOB = PoolName("east"), RemoteName("nas"), JobId(str(UUID(int=1)))
SR = SrUuid(str(UUID(int=4)))
SCHEDULE = ScheduleId(str(UUID(int=2)))


def measure(vms: int = 10_000, points: int = 30) -> dict[str, dict[str, float]]:
    """Return, for each moment, seconds to plan and to admit, and how many actions were planned."""
    found = {name: _measure(*make(vms, points)) for name, make in MOMENTS.items()}
    for name, make in MOMENTS.items():
        found[f"{name}, two destinations"] = _measure(*replicated(*make(vms, points // 2)))
    return found


def _measure(desired: Desired, observed: Observed, now: datetime) -> dict[str, float]:
    gc.collect()
    started = time.process_time()
    planned = plan(desired, observed, now)
    planned_at = time.process_time()
    admission = decide(planned, desired, observed, now)
    admitted_at = time.process_time()
    return {
        "plan_s": round(planned_at - started, 3),
        "admit_s": round(admitted_at - planned_at, 3),
        "actions": len(planned.actions),
        "admitted": len(admission.actions),
    }


# ── the estate ────────────────────────────────────────────────────────────────────────────────────


def desired_estate(keep: int) -> Desired:
    rules = Retention(last=keep - 8, daily=keep, weekly=2, zone="Europe/Paris")
    job = Job(
        name=JobName("nightly"),
        id=JOB,
        pools=(POOL,),
        remotes=(REMOTE,),
        selector=Selector(tags=frozenset({"prod"})),
        schedules=(JobSchedule("night", SCHEDULE, Schedule.parse("0 2 * * *"), rules),),
    )
    return Desired(
        pools={POOL: Pool(POOL, ("https://east.example.net",), "root", SecretRef())},
        remotes={REMOTE: Remote(REMOTE, LocalPlace("/srv/nas"))},
        jobs={job.name: job},
    )


def estate(vms: int, points: int) -> Observed:
    """Every VM has one disk, its points of the last nights, and last night's snapshot."""
    as_of = TONIGHT + timedelta(seconds=1)
    machines: dict[VmUuid, Vm] = {}
    histories: dict[VmUuid, History] = {}
    for number in range(vms):
        vm = VmUuid(str(UUID(int=(number + 1) << 64)))
        disk = DiskUuid(str(UUID(int=(number + 1) << 64 | 1)))
        histories[vm] = _history(vm, disk, number, points, as_of)
        newest = histories[vm].points[-1]
        machines[vm] = Vm(
            uuid=vm,
            name=f"vm{number}",
            tags=frozenset({"prod"}),
            power_state=PowerState.RUNNING,
            disks=(Disk(disk, "root", 10 * GIB, "sr", "0"),),
            snapshots=(_snapshot(vm, disk, newest.taken_at),),
        )
    pool = PoolView(POOL, str(UUID(int=3)), "east", "host", "8.3", as_of, machines)
    remote = RemoteView(REMOTE, as_of, 1 << 40, 1 << 44, histories)
    return Observed(pools={POOL: pool}, remotes={REMOTE: remote})


def _history(vm: VmUuid, disk: DiskUuid, number: int, count: int, as_of: datetime) -> History:
    files: dict[str, DiskFile] = {}
    points = []
    below: DiskFile | None = None
    for night in range(count):
        taken_at = LAST_NIGHT - timedelta(days=count - 1 - night) + timedelta(seconds=number % 9000)
        stamp = stamp_of(taken_at)
        file = DiskFile(
            path=f"vdis/{JOB}/{disk}/{stamp}.vhd",
            uuid=_disk_snapshot(vm, taken_at),
            parent=None if below is None else below.file_name,
            parent_uuid=None if below is None else below.uuid,
            virtual_bytes=10 * GIB,
            file_bytes=GIB,
            data_bytes=GIB,
        )
        files[file.path] = below = file
        parts = (PointDisk(disk, file.uuid, "root", file.path, 10 * GIB),)
        points.append(
            RestorePoint(vm, f"vm{number}", stamp, taken_at, JOB, (SCHEDULE,), parts, GIB)
        )
    return History(vm, as_of, tuple(points), files)


def _snapshot(vm: VmUuid, disk: DiskUuid, taken_at: datetime) -> Snapshot:
    identity = SnapshotUuid(str(UUID(int=UUID(vm).int | int(taken_at.timestamp()) << 20)))
    return Snapshot(
        uuid=identity,
        name="backup",
        taken_at=taken_at,
        marks=Marks(JOB, (SCHEDULE,), stamp_of(taken_at), vm, (disk,)),
        disks=(DiskSnapshot(_disk_snapshot(vm, taken_at), disk, 10 * GIB, "sr"),),
    )


def _disk_snapshot(vm: VmUuid, taken_at: datetime) -> DiskSnapshotUuid:
    return DiskSnapshotUuid(str(UUID(int=UUID(vm).int | int(taken_at.timestamp()) << 2 | 3)))


def replicated(
    desired: Desired, observed: Observed, now: datetime
) -> tuple[Desired, Observed, datetime]:
    """Return the same with a second destination: an SR that has the points of the remote, too."""
    (job,) = desired.jobs.values()
    pool, remote = observed.pools[POOL], observed.remotes[REMOTE]
    assert isinstance(pool, PoolView)
    assert isinstance(remote, RemoteView)
    replicas = sorted(
        (
            _replica(point)
            for history in remote.histories.values()
            if isinstance(history, History)
            for point in history.points
        ),
        key=lambda replica: replica.stamp,
    )
    pool = replace(pool, srs={SR: Sr(SR, "fast", None, None)}, replicas=tuple(replicas))
    return (
        replace(desired, jobs={job.name: replace(job, srs=(SrTarget("fast"),))}),
        replace(observed, pools={POOL: pool}),
        now,
    )


def _replica(point: RestorePoint) -> Replica:
    (disk,) = point.disks
    return Replica(
        sr=SR,
        vm=point.vm,
        vm_name=point.vm_name,
        stamp=point.stamp,
        taken_at=point.taken_at,
        job=point.job,
        schedules=point.schedules,
        kind=ReplicaKind.UPDATED,
        replica=VmUuid(f"replica of {point.vm}"),
        snapshot=SnapshotUuid(f"{point.vm} {point.stamp}"),
        disks=(ReplicaDisk(disk.snapshot, disk.disk, disk.snapshot, disk.size_bytes),),
    )


# ── the moments ───────────────────────────────────────────────────────────────────────────────────

Moment = tuple[Desired, Observed, datetime]


def _idle(vms: int, points: int) -> Moment:
    return desired_estate(points), estate(vms, points), TONIGHT - timedelta(hours=3)


def _slot(vms: int, points: int) -> Moment:
    return desired_estate(points), estate(vms, points), TONIGHT + timedelta(seconds=10)


def _export(vms: int, points: int) -> Moment:
    observed = estate(vms, points)
    pool = observed.pools[POOL]
    assert isinstance(pool, PoolView)
    machines = {}
    for number, (uuid, vm) in enumerate(pool.vms.items()):
        taken_at = TONIGHT + timedelta(seconds=number % 9000)
        fresh = _snapshot(uuid, vm.disks[0].uuid, taken_at)
        machines[uuid] = replace(vm, snapshots=(*vm.snapshots, fresh))
    now = TONIGHT + timedelta(hours=3)
    pools = {POOL: replace(pool, vms=machines, as_of=now)}
    return desired_estate(points), replace(observed, pools=pools), now


def _prune(vms: int, points: int) -> Moment:
    return desired_estate(points - 1), estate(vms, points), TONIGHT - timedelta(hours=3)


def _merge(vms: int, points: int) -> Moment:
    observed = estate(vms, points)
    remote = observed.remotes[REMOTE]
    assert isinstance(remote, RemoteView)
    histories = {}
    for uuid, history in remote.histories.items():
        assert isinstance(history, History)
        histories[uuid] = replace(history, points=history.points[1:])
    remotes = {REMOTE: replace(remote, histories=histories)}
    desired = desired_estate(points)
    return desired, replace(observed, remotes=remotes), TONIGHT - timedelta(hours=3)


MOMENTS: dict[str, Callable[[int, int], Moment]] = {
    "idle": _idle,
    "slot": _slot,
    "export": _export,
    "prune": _prune,
    "merge": _merge,
}

if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=2)
    sys.stdout.write("\n")
