"""How one VM of one job is protected, as a ProtectedVM says it: for files and clusters alike. Pure.

Instants instead of ages, so that nothing changes with time alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from reconciler.desired.document import Plain
from reconciler.ids import JobName, VmUuid
from reconciler.observed.pool import PoolView
from reconciler.plan.reasons import Reason, reason_of
from reconciler.status.conditions import Condition, ConditionStatus, ConditionType
from reconciler.status.holdings import Holding, Spot
from reconciler.status.report import Report
from reconciler.status.standing import JobStanding, VmStanding, VmState


@dataclass(frozen=True, slots=True)
class Protection:
    """One VM of one job. fields: beside the conditions."""

    job: JobName
    vm: VmUuid
    conditions: tuple[Condition, ...]
    fields: Mapping[str, Plain]


def protections(report: Report) -> Iterator[Protection]:
    """Say how each VM of each job is protected."""
    for standing in report.standings:
        for vm in standing.vms:
            yield protection_of(report, standing, vm)


def protection_of(report: Report, standing: JobStanding, vm: VmStanding) -> Protection:
    """Say how one VM is protected by one job."""
    fields: dict[str, Plain] = {
        "vmName": vm.name,
        "pool": vm.pool,
        "state": vm.state.value,
        "lastSuccessTime": _time(vm.last_taken_at),
        "behindSince": _time(vm.behind_since),
        "pointCount": vm.points,
        "chains": [_chain(spot, held) for spot, held in _held(report, standing, vm)],
        "reference": _reference(report, standing, vm),
        "lastProof": _last_proof(vm),
        "blockedBy": [{"reason": str(vm.reason), "message": vm.why}] if vm.why else [],
    }
    conditions = [_ready(vm)]
    if standing.job.verification is not None:
        conditions.append(_proof_fresh(vm))
    return Protection(vm.job, vm.vm, tuple(conditions), fields)


def _ready(vm: VmStanding) -> Condition:
    match vm.state:
        case VmState.PROTECTED:
            status, message = ConditionStatus.TRUE, "every point that is owed is there"
        case VmState.UNKNOWN:
            status, message = ConditionStatus.UNKNOWN, vm.why
        case VmState.NEW:
            status, message = (
                ConditionStatus.FALSE,
                "there is no point yet",
            )
        case VmState.SUSPENDED:
            status, message = ConditionStatus.FALSE, "the job is suspended"
        case _:
            status, message = ConditionStatus.FALSE, vm.why or "a point is owed"
    reason = Reason.IN_SYNC if vm.state is VmState.PROTECTED else Reason.POINT_MISSING
    if vm.state is VmState.SUSPENDED:
        reason = Reason.SUSPENDED
    return Condition(ConditionType.READY, status, reason_of(vm.reason, reason), message)


def _proof_fresh(vm: VmStanding) -> Condition:
    kind = ConditionType.PROOF_FRESH
    if vm.unproven_since is not None:
        message = f"a proof is due since {_time(vm.unproven_since)}"
        return Condition(kind, ConditionStatus.FALSE, Reason.PROOF_DUE, message)
    if vm.proofs_unseen:
        reason = Reason.WAITING_FOR_OBSERVATION
        return Condition(kind, ConditionStatus.UNKNOWN, reason, vm.proofs_unseen)
    if not vm.is_proven:
        message = "no restore point of it lies on a remote yet"
        return Condition(kind, ConditionStatus.UNKNOWN, Reason.WAITING_FOR_SLOT, message)
    message = "what lies of it on remotes was read in time, and can be restored"
    return Condition(kind, ConditionStatus.TRUE, Reason.IN_SYNC, message)


def _last_proof(vm: VmStanding) -> dict[str, Plain] | None:
    """The newest proof, wherever; None without any."""
    if not vm.proofs:
        return None
    remote, proof = max(vm.proofs, key=lambda each: (each[1].at, each[0]))
    return {
        "time": _time(proof.at),
        "level": proof.level.value,
        "point": proof.stamp,
        "destination": remote,
    }


def _held(
    report: Report, standing: JobStanding, vm: VmStanding
) -> Iterator[tuple[Spot, Holding | None]]:
    """What lies at each remote of the job, seen or not, and wherever else any of it lies."""
    job = standing.job
    spots = [Spot(remote=remote) for remote in job.remotes]
    elsewhere = report.holdings.by_job.get(job.id, {})
    spots += [spot for spot in sorted(elsewhere, key=_label) if spot not in spots]
    for spot in spots:
        held = report.holdings.at(job.id, spot, vm.vm)
        if spot.remote in job.remotes or (held is not None and held.whole + held.broken):
            yield spot, held


def _label(spot: Spot) -> str:
    return spot.remote or (f"SR {spot.sr}" if spot.sr else "pool")


def _chain(spot: Spot, held: Holding | None) -> dict[str, Plain]:
    if held is None:
        return {"destination": _label(spot), "state": "Unknown"}
    state = "Broken" if held.broken else "Ok" if held.whole else "Empty"
    chain: dict[str, Plain] = {
        "destination": _label(spot),
        "state": state,
        "points": held.whole + held.broken,
        "length": held.files,
    }
    if held.taken_at is not None:
        chain["newest"] = _time(held.taken_at)
    return chain


def _reference(report: Report, standing: JobStanding, vm: VmStanding) -> Plain:
    """The newest snapshot on the pool that the job's next delta can be taken to."""
    view = report.observed.pools.get(vm.pool)
    home = view.vms.get(vm.vm) if isinstance(view, PoolView) else None
    marked = [
        (snapshot.marks.stamp, snapshot.uuid)
        for snapshot in (home.snapshots if home is not None else ())
        if snapshot.marks is not None and snapshot.marks.job == standing.job.id
    ]
    if not marked:
        return None
    stamp, uuid = max(marked)
    return {"snapshot": uuid, "stamp": stamp}


def _time(at: datetime | None) -> str | None:
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
