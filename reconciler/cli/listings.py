"""Pools, remotes, jobs and VMs as lists: one report in, rows and objects out. Pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.cli.listing import Listing
from reconciler.cli.places import address_of, kind_of
from reconciler.desired.state import Destination, Pool, Remote, SrTarget
from reconciler.ids import RemoteName, VmUuid
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView, Vm
from reconciler.observed.proof import Proof
from reconciler.observed.remote import RemoteView
from reconciler.observed.unknown import Unknown
from reconciler.status.conditions import Condition, ConditionType
from reconciler.status.protected import protections
from reconciler.status.report import Report
from reconciler.status.standing import JobStanding, VmStanding, VmState
from reconciler.units import render_size

NOT_LOOKED_AT = "it has not been looked at"

_NO_JOB = "Unassigned"  # no job chooses the VM


def time_of(instant: datetime | None) -> str:
    """Render an instant for a table, UTC; "" for none."""
    return "" if instant is None else f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def iso_of(instant: datetime | None) -> str | None:
    """Render an instant for a program."""
    return None if instant is None else instant.astimezone(UTC).isoformat()


def _seen(view: object) -> tuple[str, str]:
    """Say whether something was seen, as a condition's status, and why not."""
    match view:
        case None:
            return "Unknown", NOT_LOOKED_AT
        case Unknown(why=why):
            return "Unknown", why
        case _:
            return "True", ""


# ── pools ─────────────────────────────────────────────────────────────────────────────────────────


def pools(report: Report) -> Listing:
    found = [
        (pool, report.observed.pools.get(name)) for name, pool in _sorted(report.desired.pools)
    ]
    return Listing(
        kind="Pool",
        headers=("NAME", "SEEN", "MASTER", "VERSION", "VMS", "UUID", "URLS", "WHY"),
        narrow=5,
        rows=[_pool_row(pool, view) for pool, view in found],
        items=[pool_dict(pool, view) for pool, view in found],
        names=[pool.name for pool, _ in found],
    )


def _pool_row(pool: Pool, view: PoolView | Unknown | None) -> list[str]:
    seen, why = _seen(view)
    known = ["", "", "", ""]
    if isinstance(view, PoolView):
        known = [view.master, view.version, str(len(view.vms)), view.uuid]
    return [pool.name, seen, *known, ",".join(pool.urls), why]


def pool_dict(pool: Pool, view: PoolView | Unknown | None) -> dict[str, Any]:
    """Render a pool for a program. Where its password is stays out: nobody needs it."""
    seen, why = _seen(view)
    known = view if isinstance(view, PoolView) else None
    return {
        "name": pool.name,
        "seen": seen,
        "why": why or None,
        "urls": list(pool.urls),
        "uuid": known.uuid if known else None,
        "label": known.label if known else None,
        "master": known.master if known else None,
        "version": known.version if known else None,
        "vms": len(known.vms) if known else None,
        "seenAt": iso_of(known.as_of) if known else None,
        "exportsMax": pool.exports_max,
        "snapshotsMax": pool.snapshots_max,
    }


# ── remotes ───────────────────────────────────────────────────────────────────────────────────────


def remotes(report: Report) -> Listing:
    found = [
        (remote, report.observed.remotes.get(name))
        for name, remote in _sorted(report.desired.remotes)
    ]
    return Listing(
        kind="Remote",
        headers=(
            *("NAME", "KIND", "SEEN", "VMS", "POINTS", "SIZE", "FREE", "TOTAL"),
            *("ACCESS", "LAYOUT", "ENCRYPTED", "PLACE", "IDENTITY", "WHY"),
        ),
        narrow=8,
        rows=[_remote_row(remote, view) for remote, view in found],
        items=[remote_dict(remote, view) for remote, view in found],
        names=[remote.name for remote, _ in found],
    )


def _remote_row(remote: Remote, view: RemoteView | Unknown | None) -> list[str]:
    content = remote_dict(remote, view)
    sizes = [content[key] for key in ("sizeBytes", "freeBytes", "totalBytes")]
    return [
        remote.name,
        content["kind"],
        content["seen"],
        _text(content["vms"]),
        _text(content["points"]),
        *("" if size is None else render_size(size) for size in sizes),
        content["access"],
        content["layout"],
        "yes" if content["encrypted"] else "no",
        content["place"],
        _text(content["identity"]),
        content["why"] or "",
    ]


def remote_dict(remote: Remote, view: RemoteView | Unknown | None) -> dict[str, Any]:
    """Render a remote for a program."""
    seen, why = _seen(view)
    known = view if isinstance(view, RemoteView) else None
    histories = list(known.histories.values()) if known else []
    whole = [history for history in histories if isinstance(history, History)]
    files = sum(file.file_bytes for history in whole for file in history.files.values())
    points = sum(len(history.points) for history in whole)
    return {
        "name": remote.name,
        "seen": seen,
        "why": why or None,
        "kind": kind_of(remote.place),
        "place": address_of(remote.place),
        "path": remote.path,
        "access": "ReadOnly" if remote.read_only else "ReadWrite",
        "layout": remote.layout.value,
        "encrypted": remote.encryption is not None,
        "identity": (known.identity if known else None) or remote.identity,
        "identityPinned": remote.identity is not None,
        "actionsMax": remote.actions_max,
        "rateBytesPerS": remote.rate_bytes_per_s,
        "suspend": remote.suspend,
        "vms": len(histories) if known else None,
        "vmsNotReadable": len(histories) - len(whole) if known else None,
        "points": points if known else None,
        "sizeBytes": files if known else None,
        "freeBytes": known.free_bytes if known else None,
        "totalBytes": known.total_bytes if known else None,
        "seenAt": iso_of(known.as_of) if known else None,
    }


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────


def jobs(report: Report) -> Listing:
    conditions = report.conditions()
    found = [(standing, conditions[standing.job.name]) for standing in report.standings]
    return Listing(
        kind="Job",
        headers=(
            *("NAME", "READY", "PROTECTED", "LAST", "NEXT", "STATUS"),
            *("RPO MET", "CHAINS HEALTHY", "PROOF FRESH", "POOLS", "REMOTES"),
        ),
        narrow=6,
        rows=[_job_row(*each) for each in found],
        items=[job_dict(*each) for each in found],
        names=[standing.job.name for standing, _ in found],
    )


def _job_row(standing: JobStanding, found: tuple[Condition, ...]) -> list[str]:
    by_type = {each.type: each for each in found}
    ready, job = by_type[ConditionType.READY], standing.job
    return [
        job.name,
        ready.status.value,
        f"{standing.count(VmState.PROTECTED)}/{len(standing.vms)}",
        time_of(standing.last_taken_at),
        time_of(standing.next_slot),
        ready.message,
        by_type[ConditionType.RPO_MET].status.value,
        by_type[ConditionType.CHAINS_HEALTHY].status.value,
        by_type[ConditionType.PROOF_FRESH].status.value if job.verification else "",
        ",".join(job.pools),
        ",".join(job.remotes),
    ]


def job_dict(standing: JobStanding, found: tuple[Condition, ...]) -> dict[str, Any]:
    """Render a job for a program."""
    job = standing.job
    return {
        "name": job.name,
        "id": job.id,
        "conditions": [
            {
                "type": each.type.value,
                "status": each.status.value,
                "reason": each.reason.value,
                "message": each.message,
            }
            for each in found
        ],
        "pools": list(job.pools),
        "mode": job.mode.value,
        "remotes": list(job.remotes),
        "srs": [destination_text(sr) for sr in job.srs],
        "vms": {each.value.lower(): standing.count(each) for each in VmState},
        "lastPointAt": iso_of(standing.last_taken_at),
        "nextSlotAt": iso_of(standing.next_slot),
        "suspend": job.suspend,
        "revision": job.revision,
    }


def destination_text(destination: Destination) -> str:
    """Say where to: a remote's name, or an SR's, with its pool unless that is the VM's own."""
    if isinstance(destination, SrTarget):
        return (
            destination.sr if destination.pool is None else f"{destination.pool}:{destination.sr}"
        )
    return destination


# ── VMs ───────────────────────────────────────────────────────────────────────────────────────────


def vms(report: Report) -> Listing:
    """Every VM of every pool, once for each job that chooses it, and those that none chooses."""
    told = {(each.job, each.vm): dict(each.fields) for each in protections(report)}
    chosen: dict[VmUuid, list[VmStanding]] = {}
    for standing in (vm for job in report.standings for vm in job.vms):
        chosen.setdefault(standing.vm, []).append(standing)
    found: list[tuple[str, Vm, VmStanding | None]] = []
    for pool, view in sorted(report.observed.pools.items()):
        if isinstance(view, PoolView):
            for vm in sorted(view.vms.values(), key=lambda each: (each.name, each.uuid)):
                here = [each for each in chosen.get(vm.uuid, []) if each.pool == pool]
                found += [(pool, vm, each) for each in here] or [(pool, vm, None)]
    return Listing(
        kind="VM",
        headers=(
            *("NAME", "POOL", "JOB", "STATE", "LAST", "POINTS"),
            *("PROVEN", "UUID", "POWER", "DISKS", "SIZE", "TAGS", "WHY"),
        ),
        narrow=6,
        rows=[_vm_row(*each) for each in found],
        items=[
            {
                **vm_dict(pool, vm, standing),
                # as a ProtectedVM says it in a cluster
                "protection": told[standing.job, vm.uuid] if standing else None,
            }
            for pool, vm, standing in found
        ],
        names=list(dict.fromkeys(vm.uuid for _, vm, _ in found)),
    )


def _vm_row(pool: str, vm: Vm, standing: VmStanding | None) -> list[str]:
    content = vm_dict(pool, vm, standing)
    return [
        vm.name,
        pool,
        content["job"] or "",
        content["state"],
        time_of(standing.last_taken_at) if standing else "",
        str(standing.points) if standing else "",
        time_of(max((proof.at for _, proof in standing.proofs), default=None)) if standing else "",
        vm.uuid,
        vm.power_state.value,
        str(len(vm.disks)),
        render_size(content["sizeBytes"]),
        ",".join(sorted(vm.tags)),
        content["why"] or "",
    ]


def vm_dict(pool: str, vm: Vm, standing: VmStanding | None) -> dict[str, Any]:
    """Render a VM, as it stands with one job, for a program."""
    return {
        "name": vm.name,
        "uuid": vm.uuid,
        "pool": pool,
        "job": standing.job if standing else None,
        "state": standing.state.value if standing else _NO_JOB,
        "reason": (standing.reason or None) if standing else None,
        "why": (standing.why or None) if standing else None,
        "lastPointAt": iso_of(standing.last_taken_at) if standing else None,
        "behindSince": iso_of(standing.behind_since) if standing else None,
        "points": standing.points if standing else 0,
        "proofs": [proof_dict(*each) for each in standing.proofs] if standing else [],
        "proofDueSince": iso_of(standing.unproven_since) if standing else None,
        "powerState": vm.power_state.value,
        "disks": len(vm.disks),
        "sizeBytes": sum(disk.size_bytes for disk in vm.disks),
        "tags": sorted(vm.tags),
    }


def proof_dict(remote: RemoteName, proof: Proof) -> dict[str, Any]:
    """Render for a program that a point was read whole."""
    return {
        "remote": remote,
        "at": iso_of(proof.at),
        "level": proof.level.value,
        "point": proof.stamp,
        "readBytes": proof.read_bytes,
    }


def _sorted(named: Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    return sorted(named.items())


def _text(value: object) -> str:
    return "" if value is None else str(value)
