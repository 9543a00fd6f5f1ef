"""Conditions of a job, as kstatus and its kin read them: a list keyed by type.

| type          | True                        | False                       | Unknown      |
|---------------|-----------------------------|-----------------------------|--------------|
| Ready         | nothing is in the way       | something is                | -            |
| Reconciling   | something is; we keep trying | (left out)                 | -            |
| Stalled       | something is; a person must act | (left out)              | -            |
| RPOMet        | no backup is overdue        | one is, past its deadline   | not all seen |
| ChainsHealthy | every point can be followed | some cannot                 | not all seen |
| ProofFresh    | each VM is proven in time   | one is not                  | not all seen |

ProofFresh is there where the job says how old proofs may be, and Unknown as long as no point lies
on a remote.

Work under way is no trouble, and a late backup alone is not, either: a Git sync must not fail
because it is three in the morning. Reasons are those of `plan/reasons.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from reconciler.desired.problems import Problem
from reconciler.desired.state import Desired, Job
from reconciler.ids import PoolName
from reconciler.observed.pool import PoolView
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.reasons import Reason, reason_of
from reconciler.status.holdings import Holdings, Spot
from reconciler.status.standing import JobStanding, VmStanding, VmState
from reconciler.status.worries import Worries, needs_a_person


class ConditionType(StrEnum):
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    RPO_MET = "RPOMet"
    CHAINS_HEALTHY = "ChainsHealthy"
    PROOF_FRESH = "ProofFresh"
    COMPLETE = "Complete"  # of what is done once
    FAILED = "Failed"


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """message: one sentence for a person."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str


SAID_MAX = 2000
"""Characters of a message; the server refuses more than 32,768."""


def conditions_of(
    standing: JobStanding,
    desired: Desired,
    observed: Observed,
    worries: Worries,
    at: datetime,
    holdings: Holdings,
) -> tuple[Condition, ...]:
    """Return the conditions of one job; Reconciling and Stalled only where they are true."""
    troubles = list(_troubles(standing, desired, observed, worries))
    stalled = [trouble for trouble in troubles if trouble.needs_a_person]
    retried = [trouble for trouble in troubles if not trouble.needs_a_person]
    conditions = [_ready(standing, stalled or retried)]
    if stalled:
        conditions.append(_true(ConditionType.STALLED, stalled))
    elif retried:
        conditions.append(_true(ConditionType.RECONCILING, retried))
    conditions += [_rpo_met(standing, at), _chains_healthy(standing, observed, holdings)]
    if standing.job.verification is not None:
        conditions.append(_proof_fresh(standing))
    return tuple(conditions)


def unseen_conditions(what: str, view: Unknown | None) -> tuple[Condition, ...]:
    """Return the conditions of a pool or remote that is not seen. None: not looked at yet."""
    if view is None:
        reason, message = Reason.WAITING_FOR_OBSERVATION, f"{what} has not been looked at yet"
        return (
            Condition(ConditionType.READY, ConditionStatus.UNKNOWN, reason, message),
            Condition(ConditionType.RECONCILING, ConditionStatus.TRUE, reason, message),
        )
    trouble = _unseen_trouble(what, view)
    kind = ConditionType.STALLED if trouble.needs_a_person else ConditionType.RECONCILING
    ready = Condition(ConditionType.READY, ConditionStatus.FALSE, trouble.reason, trouble.message)
    return ready, _true(kind, [trouble])


def invalid_conditions(problems: Sequence[Problem]) -> tuple[Condition, ...]:
    """Return the conditions of an object that cannot be used as it is written.

    problems: its own. If there are none, or all of them wait for what it names, nobody has to act
    on it: objects come in any order.
    """
    waits = all(problem.waits for problem in problems)
    kind = ConditionType.RECONCILING if waits else ConditionType.STALLED
    message = words_of(problems) or "what it names has problems: it is not in force"
    return (
        Condition(ConditionType.READY, ConditionStatus.FALSE, Reason.INVALID_SPEC, message),
        Condition(kind, ConditionStatus.TRUE, Reason.INVALID_SPEC, message),
    )


def words_of(problems: Iterable[Problem]) -> str:
    """Say all mistakes of one object in one message, each with what to do about it."""
    said = "; ".join(f"{one.message} ({one.hint})" if one.hint else one.message for one in problems)
    return said if len(said) <= SAID_MAX else f"{said[: SAID_MAX - 2]} …"


def chains_by_state(job: Job, observed: Observed, holdings: Holdings) -> tuple[int, int, bool]:
    """Count a job's whole and broken points at its destinations, and say whether all were seen."""
    whole = broken = 0
    all_seen = True
    pools = set(_pools_of_srs(job))
    for pool in pools:
        all_seen = all_seen and isinstance(observed.pools.get(pool), PoolView)
    for remote in job.remotes:
        unread = holdings.seen.get(Spot(remote=remote))
        all_seen = all_seen and unread is not None and not unread
    for spot, by_vm in holdings.by_job.get(job.id, {}).items():
        if spot.remote in job.remotes or spot.sr.partition("/")[0] in pools:
            whole += sum(each.whole for each in by_vm.values())
            broken += sum(each.broken for each in by_vm.values())
    return whole, broken, all_seen


def _pools_of_srs(job: Job) -> list[PoolName]:
    """Return the pools on which replicas of a job lie."""
    named = {target.pool for target in job.srs if target.pool is not None}
    if any(target.pool is None for target in job.srs):
        named.update(job.pools)
    return sorted(named)


# ── troubles ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Trouble:
    reason: Reason
    message: str
    needs_a_person: bool


def _troubles(
    standing: JobStanding, desired: Desired, observed: Observed, worries: Worries
) -> Iterable[_Trouble]:
    job = standing.job
    if job.id in desired.protected_jobs:
        mistakes = worries.mistakes(job)
        message = words_of(mistakes) or "its manifest, or one it names, has problems"
        waits = bool(mistakes) and all(problem.waits for problem in mistakes)
        yield _Trouble(Reason.INVALID_SPEC, message, needs_a_person=not waits)
    for held in worries.held(standing):
        stuck = needs_a_person(held.reason)
        yield _Trouble(held.reason, f"{held.subject}: {held.why}", needs_a_person=stuck)
    pools = dict.fromkeys((*job.pools, *_pools_of_srs(job)))
    for name, view in (
        *((f"pool {pool}", observed.pools.get(pool)) for pool in pools),
        *((f"remote {remote}", observed.remotes.get(remote)) for remote in job.remotes),
    ):
        if isinstance(view, Unknown):
            yield _unseen_trouble(name, view)
    for action, attempt in worries.failed(job):
        reason = reason_of(attempt.reason, Reason.INTERNAL_ERROR)
        message = f"{action.verb} of {action.vm_name} failed: {attempt.why}"
        stuck = attempt.not_before is None or needs_a_person(reason)
        yield _Trouble(reason, message, needs_a_person=stuck)


def _unseen_trouble(what: str, view: Unknown) -> _Trouble:
    reason = reason_of(view.reason, Reason.REMOTE_UNAVAILABLE)
    stuck = reason in (Reason.CREDENTIALS_INVALID, Reason.WRONG_KEY)
    return _Trouble(reason, f"{what}: {view.why}", needs_a_person=stuck)


# ── conditions ────────────────────────────────────────────────────────────────────────────────────


def _ready(standing: JobStanding, troubles: Sequence[_Trouble]) -> Condition:
    if troubles:
        first = troubles[0]
        return Condition(ConditionType.READY, ConditionStatus.FALSE, first.reason, _said(troubles))
    if standing.job.suspend:
        message = "the job is suspended: nothing is started, nothing is deleted"
        return Condition(ConditionType.READY, ConditionStatus.TRUE, Reason.SUSPENDED, message)
    kept = standing.count(VmState.PROTECTED)
    message = f"{kept}/{len(standing.vms)} VMs protected on {_destinations(standing.job)}"
    return Condition(ConditionType.READY, ConditionStatus.TRUE, Reason.IN_SYNC, message)


def _true(kind: ConditionType, troubles: Sequence[_Trouble]) -> Condition:
    return Condition(kind, ConditionStatus.TRUE, troubles[0].reason, _said(troubles))


def _said(troubles: Sequence[_Trouble]) -> str:
    more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
    return f"{troubles[0].message}{more}"


def _destinations(job: Job) -> str:
    counts = ((len(job.remotes), "remote"), (len(job.srs), "SR"))
    words = [f"{count} {noun}" + ("" if count == 1 else "s") for count, noun in counts if count]
    return " and ".join(words) or "the pool alone"


def _rpo_met(standing: JobStanding, at: datetime) -> Condition:
    late = [vm for vm in standing.vms if is_late(standing.job, vm, at)]
    if late:
        worst = min(late, key=lambda vm: (vm.behind_since or at, vm.name))
        assert worst.behind_since is not None
        # An instant, not a span: what is true stays written as it is.
        since = worst.behind_since.astimezone(UTC)
        message = f"{worst.name}: a backup is overdue since {since:%Y-%m-%d %H:%M} UTC"
        if len(late) > 1:
            message += f" (and {len(late) - 1} more VMs)"
        reason = Reason.BACKUP_OVERDUE
        return Condition(ConditionType.RPO_MET, ConditionStatus.FALSE, reason, message)
    if standing.unseen or standing.count(VmState.UNKNOWN):
        message = standing.unseen[0] if standing.unseen else "not all of its VMs' points were seen"
        reason = Reason.WAITING_FOR_OBSERVATION
        return Condition(ConditionType.RPO_MET, ConditionStatus.UNKNOWN, reason, message)
    message = "no backup is overdue"
    return Condition(ConditionType.RPO_MET, ConditionStatus.TRUE, Reason.IN_SYNC, message)


def _proof_fresh(standing: JobStanding) -> Condition:
    kind = ConditionType.PROOF_FRESH
    unproven = [(vm.unproven_since, vm.name) for vm in standing.vms if vm.unproven_since]
    if unproven:
        since, name = min(unproven)
        message = f"{name}: a proof is due since {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        if len(unproven) > 1:
            message += f" (and {len(unproven) - 1} more VMs)"
        return Condition(kind, ConditionStatus.FALSE, Reason.PROOF_DUE, message)
    if standing.unseen or any(vm.proofs_unseen for vm in standing.vms):
        message = standing.unseen[0] if standing.unseen else "not all of its VMs' points were seen"
        return Condition(kind, ConditionStatus.UNKNOWN, Reason.WAITING_FOR_OBSERVATION, message)
    if not any(vm.is_proven for vm in standing.vms):
        message = "no restore point lies on a remote yet"
        return Condition(kind, ConditionStatus.UNKNOWN, Reason.WAITING_FOR_SLOT, message)
    message = "what lies on remotes was read in time, and can be restored"
    return Condition(kind, ConditionStatus.TRUE, Reason.IN_SYNC, message)


def is_late(job: Job, vm: VmStanding, at: datetime) -> bool:
    """Say whether a VM's oldest debt is older than the deadline that its schedules allow."""
    grace = max((each.deadline for each in job.schedules), default=timedelta(hours=1))
    return vm.behind_since is not None and at - vm.behind_since > grace


def _chains_healthy(standing: JobStanding, observed: Observed, holdings: Holdings) -> Condition:
    whole, broken, all_seen = chains_by_state(standing.job, observed, holdings)
    kind = ConditionType.CHAINS_HEALTHY
    if broken:
        message = f"{broken} of {whole + broken} points cannot be restored"
        return Condition(kind, ConditionStatus.FALSE, Reason.CHAIN_BROKEN, message)
    if not all_seen:
        reason = Reason.WAITING_FOR_OBSERVATION
        return Condition(kind, ConditionStatus.UNKNOWN, reason, "not all of its points were seen")
    return Condition(kind, ConditionStatus.TRUE, Reason.IN_SYNC, f"{whole} points, all whole")
