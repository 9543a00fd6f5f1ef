"""Restore points as a list, wherever they lie: on remotes, on SRs, on the pools themselves. Pure.

What is a point where is told by the planner's own words: a whole replica on an SR, and on a pool a
snapshot that was made to be one, or that a job in mode Snapshot has.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reconciler.cli.listing import Listing
from reconciler.cli.listings import iso_of, time_of
from reconciler.ids import JobId, RemoteName, VmUuid
from reconciler.observed.chain import Chains, History, RestorePoint
from reconciler.observed.pool import PoolView, Vm
from reconciler.observed.progress import PlaceKind
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import Replica, ReplicaKind, ReplicaState
from reconciler.plan.claims import pool_address, sr_address
from reconciler.plan.points import point_name
from reconciler.plan.scope import MarkedSnapshot, is_point
from reconciler.plan.slots import Point
from reconciler.status.report import Report
from reconciler.units import render_size


def points(report: Report, vm: VmUuid | None = None) -> Listing:
    """List the restore points that were seen, by VM's name, oldest first. vm: of this one alone."""
    items = sorted(
        (item for item in _all(report) if vm in (None, item["vm"])),
        key=lambda item: (item["vmName"], item["vm"], item["stamp"], item["place"]),
    )
    return Listing(
        kind="Point",
        headers=(
            *("NAME", "VM", "TAKEN", "KIND", "SIZE", "STATE"),
            *("JOB", "SCHEDULES", "DISKS", "CHAIN"),
        ),
        narrow=6,
        rows=[_row(item) for item in items],
        items=items,
        names=[item["name"] for item in items],
    )


def _all(report: Report) -> Iterable[dict[str, Any]]:
    jobs_by_id = {job.id: str(job.name) for job in report.desired.jobs.values()}
    for remote, view in report.observed.remotes.items():
        for history in view.histories.values() if isinstance(view, RemoteView) else ():
            if isinstance(history, History):
                chains = Chains(history.files)
                for point in history.points:
                    yield point_dict(point, remote, chains, jobs_by_id)
    for pool in report.observed.pools.values():
        if isinstance(pool, PoolView):
            for replica in pool.replicas:
                if replica.state is ReplicaState.WHOLE:
                    yield _replica_dict(replica, pool, jobs_by_id)
            yield from _snapshots(report, pool, jobs_by_id)


def _row(item: Mapping[str, Any]) -> list[str]:
    size, chain = item["sizeBytes"], item["chainLength"]
    return [
        item["name"],
        item["vmName"],
        time_of(datetime.fromisoformat(item["takenAt"])),
        item["kind"],
        "" if size is None else render_size(size),
        item["state"],
        item["job"] or f"id {item['jobId']}",
        str(len(item["schedules"])),
        str(item["disks"]),
        "" if chain is None else str(chain),
    ]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a point lies. name: as in the names of points."""

    kind: PlaceKind
    name: str
    remote: RemoteName | None = None


def _dict(
    point: Point, vm: VmUuid, vm_name: str, job: JobId, place: _Place, jobs: Mapping[JobId, str]
) -> dict[str, Any]:
    """Render what all points have. sizeBytes, chainLength: None where nobody knows."""
    return {
        "name": point_name(vm, point.stamp, place.name),
        "vm": vm,
        "vmName": vm_name,
        "stamp": point.stamp,
        "takenAt": iso_of(point.taken_at),
        "place": place.name,
        "placeKind": place.kind.value,
        "remote": place.remote,
        "job": jobs.get(job),
        "jobId": job,
        "schedules": list(point.schedules),
        "sizeBytes": None,
        "chainLength": None,
    }


def point_dict(
    point: RestorePoint, remote: RemoteName, chains: Chains, jobs_by_id: Mapping[JobId, str]
) -> dict[str, Any]:
    """Render a point on a remote for a program. chainLength: files of its longest chain."""
    depths = [1] if point.archive else [chains.depth(disk.path) for disk in point.disks]
    place = _Place(PlaceKind.REMOTE, remote, remote)
    return {
        **_dict(point, point.vm, point.vm_name, point.job, place, jobs_by_id),
        "kind": point.kind.value if point.archive else _kind(depths),
        "state": "Ok" if chains.is_whole(point) else "Broken",
        "chainLength": max(depths, default=0),
        "sizeBytes": point.size_bytes,
        "disks": len(point.disks),
    }


def _kind(depths: list[int]) -> str:
    if 0 in depths:
        return ""
    if all(depth == 1 for depth in depths):
        return "Full"
    return "Mixed" if 1 in depths else "Delta"


def _replica_dict(
    replica: Replica, pool: PoolView, jobs_by_id: Mapping[JobId, str]
) -> dict[str, Any]:
    """Render a point on an SR. replica, snapshot: what to clone, on which pool."""
    place = _Place(PlaceKind.SR, sr_address(pool.name, replica.sr, pool.sr_name(replica.sr)))
    return {
        **_dict(replica, replica.vm, replica.vm_name, replica.job, place, jobs_by_id),
        "kind": "Replica" if replica.kind is ReplicaKind.UPDATED else "Copy",
        "state": "Ok",
        "disks": len(replica.disks),
        "pool": pool.name,
        "sr": replica.sr,
        "replica": replica.replica,
        "snapshot": replica.snapshot,
        "ours": replica.ours,
    }


def _snapshots(
    report: Report, pool: PoolView, jobs_by_id: Mapping[JobId, str]
) -> Iterable[dict[str, Any]]:
    jobs = {job.id: job for job in report.desired.jobs.values()}
    for vm in pool.vms.values():
        for snapshot in vm.snapshots:
            marks = snapshot.marks
            if marks is None or marks.vm != vm.uuid:
                continue
            if marks.rolling or is_point(marks, jobs.get(marks.job)):
                yield _snapshot_dict(vm, MarkedSnapshot(snapshot, marks), pool, jobs_by_id)


def _snapshot_dict(
    vm: Vm, point: MarkedSnapshot, pool: PoolView, jobs_by_id: Mapping[JobId, str]
) -> dict[str, Any]:
    present = {disk.disk for disk in point.snapshot.disks}
    place = _Place(PlaceKind.POOL, pool_address(pool.name))
    return {
        **_dict(point, vm.uuid, vm.name, point.marks.job, place, jobs_by_id),
        "kind": "Snapshot",
        "state": "Ok" if present.issuperset(point.marks.disks) else "Broken",
        "disks": len(point.marks.disks or point.snapshot.disks),
        "pool": pool.name,
        "snapshot": point.uuid,
    }
