"""How each object of the desired state stands, as its own `status` says it: for files and clusters.

Conditions, and a few fields beside them that people and programs look for. Pure, and said so that
it stays as it is while nothing happens: instants instead of ages, sizes in two digits. What only
the place knows where the object stands (its generation, when a condition turned) is added there.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from reconciler.desired.document import Identity, Plain
from reconciler.desired.manifest import JOB, POOL, REMOTE, RESTORE, RUN
from reconciler.desired.problems import Problem
from reconciler.desired.state import Desired, Job
from reconciler.ids import JobName
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.plan.plan import Plan
from reconciler.plan.reasons import Reason
from reconciler.status.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    invalid_conditions,
    unseen_conditions,
)
from reconciler.status.report import Report
from reconciler.status.restores import restore_standings
from reconciler.status.runs import NotedRun
from reconciler.status.standing import JobStanding, VmStanding, VmState
from reconciler.status.worries import job_of

TOLD = (POOL, REMOTE, JOB, RESTORE)
"""Kinds whose status is told here."""

VMS_MAX = 10
"""VMs of a job that are told one by one: those that stand worst."""


COARSE = frozenset({"free"})
"""Fields of sizes that others move all the time: less than a tenth is no news."""


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """fields: beside the conditions; None: there is nothing to say any more.

    looked_at: False before everything that the object is about has been looked at once; then it
    says no more than that, and what was said before is better.
    """

    conditions: tuple[Condition, ...]
    fields: Mapping[str, Plain] = field(default_factory=dict)
    looked_at: bool = True


def object_statuses(
    report: Report,
    declared: Iterable[Identity],
    ended: Mapping[JobName, NotedRun] | None = None,
) -> dict[Identity, ObjectStatus]:
    """Say how each object stands. declared: all of them, also those that cannot be used.

    ended: the newest run of each job that has ended; of one that is not there nothing is known.
    """
    found = dict(_in_force(report, ended or {}))
    problems: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in report.desired.problems:
        problems[problem.object].append(problem)
    statuses = {}
    for identity in declared:
        mistakes = problems.get(str(identity))
        if identity.kind == RUN and mistakes:  # all else is told from what is noted of runs
            statuses[identity] = ObjectStatus(invalid_conditions(mistakes))
        if identity.kind not in TOLD:
            continue
        status = found.get(identity)
        if status is None:
            status = ObjectStatus(invalid_conditions(mistakes or ()))
        elif mistakes and identity.kind != JOB:  # a job's own conditions say so
            status = ObjectStatus(invalid_conditions(mistakes), status.fields)
        statuses[identity] = status
    return statuses


def _in_force(
    report: Report, ended: Mapping[JobName, NotedRun]
) -> Iterator[tuple[Identity, ObjectStatus]]:
    desired, observed = report.desired, report.observed
    for pool in desired.pools:
        yield Identity.named(POOL, pool), _pool(pool, observed)
    for remote in desired.remotes:
        yield Identity.named(REMOTE, remote), _remote(remote, observed)
    conditions = report.conditions()
    work = _work(report.plan)
    for standing in report.standings:
        name = standing.job.name
        status = _job(standing, conditions[name], work.get(name, _Work()), report)
        if name in ended:
            status = replace(status, fields={**status.fields, "lastRun": _run(ended[name])})
        yield Identity.named(JOB, name), status
    for restore in restore_standings(report):
        status = ObjectStatus(restore.conditions, restore.fields, restore.looked_at)
        yield Identity.named(RESTORE, restore.restore.name), status


# ── pools and remotes ─────────────────────────────────────────────────────────────────────────────


def _pool(name: str, observed: Observed) -> ObjectStatus:
    view = {str(key): view for key, view in observed.pools.items()}.get(name)
    if not isinstance(view, PoolView):
        return ObjectStatus(unseen_conditions("the pool", view), looked_at=view is not None)
    message = f"{view.label or name}: {_count(view.hosts, 'host')}, version {view.version}"
    if view.unreadable:
        message += f"; {_count(len(view.unreadable), 'object')} of it cannot be understood"
    fields: dict[str, Plain] = {
        "master": view.master,
        "version": view.version,
        "label": view.label,
        "uuid": view.uuid,
        "hostCount": view.hosts,
        "vmCount": len(view.vms),
    }
    return ObjectStatus(_ready(Reason.IN_SYNC, message), fields)


def _remote(name: str, observed: Observed) -> ObjectStatus:
    view = {str(key): view for key, view in observed.remotes.items()}.get(name)
    if not isinstance(view, RemoteView):
        return ObjectStatus(unseen_conditions("the remote", view), looked_at=view is not None)
    whole = [each for each in view.histories.values() if isinstance(each, History)]
    points = sum(len(each.points) for each in whole)
    message = f"{_count(points, 'restore point')} of {_count(len(view.histories), 'VM')}"
    unreadable = len(view.histories) - len(whole)
    if unreadable:
        message += f"; those of {_count(unreadable, 'VM')} cannot be read"
    fields: dict[str, Plain] = {
        "free": None if view.free_bytes is None else coarse_size(view.free_bytes),
        "capacity": None if view.total_bytes is None else coarse_size(view.total_bytes),
        "pointCount": points,
        "vmCount": len(view.histories),
        "identity": view.identity,
    }
    return ObjectStatus(_ready(Reason.IN_SYNC, message), fields)


def _ready(reason: Reason, message: str) -> tuple[Condition, ...]:
    return (Condition(ConditionType.READY, ConditionStatus.TRUE, reason, message),)


def coarse_size(size_bytes: int) -> str:
    """Render bytes as Kubernetes does, rounded down to two digits: "4.1Gi", "47Gi", "470Gi"."""
    value = float(size_bytes)
    units = ["", "Ki", "Mi", "Gi", "Ti", "Pi"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    if value < 10 and units[0]:
        return f"{int(value * 10) / 10:.1f}{units[0]}"
    step = 10 ** max(0, len(str(int(value))) - 2)
    return f"{int(value) // step * step}{units[0]}"


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Work:
    """What the plan wants for one job. approvals: what would let held deletions go ahead."""

    counts: Counter[str] = field(default_factory=Counter)
    destructive: int = 0
    approvals: set[str] = field(default_factory=set)


def _work(plan: Plan) -> dict[JobName, _Work]:
    work: defaultdict[JobName, _Work] = defaultdict(_Work)
    for action in plan.actions:
        if (job := job_of(action)) is not None:
            work[job].counts[action.verb] += 1
            work[job].destructive += action.destructive
    for held in plan.held:
        if held.approval and held.action is not None and (job := job_of(held.action)) is not None:
            work[job].approvals.add(held.approval)
    return work


def _job(
    standing: JobStanding, conditions: tuple[Condition, ...], work: _Work, report: Report
) -> ObjectStatus:
    if not _is_looked_at(standing, report.desired, report.observed):
        waiting = unseen_conditions("a pool or remote of the job", None)
        stalled = [each for each in conditions if each.type is ConditionType.STALLED]
        return ObjectStatus(tuple(conditions) if stalled else waiting, looked_at=bool(stalled))
    vms = standing.vms
    kept = standing.count(VmState.PROTECTED)
    taken = [vm.last_taken_at for vm in vms]
    oldest = min((at for at in taken if at is not None), default=None)
    fields: dict[str, Plain] = {
        "protectedVMs": {
            "summary": f"{kept}/{len(vms)}",
            "matched": len(vms),
            **{
                state.value[:1].lower() + state.value[1:]: standing.count(state)
                for state in VmState
            },
        },
        "targets": _targets(standing.job),
        "lastSuccessTime": _time(standing.last_taken_at),
        # The last good point of the VM that is worst off: what it wrote since then could be lost.
        "exposedSince": None if None in taken else _time(oldest),
        "nextRunTime": _time(standing.next_slot),
        "proofs": _proofs(standing),
        "plan": {
            "summary": ", ".join(f"{count} {verb}" for verb, count in sorted(work.counts.items()))
            or "nothing to do",
            "actions": dict(sorted(work.counts.items())),
            "destructive": work.destructive,
            "hash": "+".join(sorted(work.approvals)) or None,
        },
        "vms": [_vm(vm) for vm in sorted(vms, key=_how_bad)[:VMS_MAX]],
    }
    return ObjectStatus(conditions, fields)


def _proofs(standing: JobStanding) -> dict[str, Plain] | None:
    """How many VMs are proven in time, of those that have points on remotes, if that is asked."""
    if standing.job.verification is None:
        return None
    lacking = sum(vm.unproven_since is not None for vm in standing.vms)
    fresh = sum(vm.is_proven for vm in standing.vms)
    return {"summary": f"{fresh}/{fresh + lacking}", "fresh": fresh, "due": lacking}


def _targets(job: Job) -> dict[str, Plain]:
    names = [*job.remotes, *(f"SR {sr.sr}" for sr in job.srs)]
    return {"summary": ", ".join(names), "count": len(names)}


def _is_looked_at(standing: JobStanding, desired: Desired, observed: Observed) -> bool:
    job = standing.job
    pools = {*job.pools, *(sr.pool for sr in job.srs if sr.pool is not None)}
    return pools <= observed.pools.keys() and observed.remotes.keys() >= set(job.remotes)


_ORDER = (
    VmState.HELD,
    VmState.UNKNOWN,
    VmState.DUE,
    VmState.NEW,
    VmState.SUSPENDED,
    VmState.PROTECTED,
)


def _how_bad(vm: VmStanding) -> tuple[int, datetime, str, str]:
    """Sorts the worst first: by state, then the one without a good point for longest."""
    oldest = datetime.min.replace(tzinfo=UTC)
    return _ORDER.index(vm.state), vm.last_taken_at or oldest, vm.name, vm.vm


def _vm(vm: VmStanding) -> dict[str, Plain]:
    said: dict[str, Plain] = {"name": vm.name, "uuid": vm.vm, "state": vm.state.value}
    if vm.last_taken_at is not None:
        said["lastSuccessTime"] = _time(vm.last_taken_at)
    if vm.reason:
        said["reason"] = str(vm.reason)
    if vm.why:
        said["message"] = vm.why
    return said


def _run(run: NotedRun) -> dict[str, Plain]:
    return {
        "name": run.id,
        "state": run.state.value,
        "trigger": run.cause.value,
        "dueTime": _time(run.due),
        "startTime": _time(run.opened_at),
        "completionTime": _time(run.closed_at),
        "message": run.why or None,
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
