"""How far a run that was asked for has come: one part for each VM on each remote.

Looks at the world and the plan, as everyone else does: a part is done when its restore point is
seen on the remote. Pure. What keeps failing is called failed here although the reconciler would
go on trying: somebody is waiting for an answer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from reconciler.desired.state import Desired, Job
from reconciler.ids import RemoteName, VmUuid
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView, Vm
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.actions import Export, Snapshot, id_of
from reconciler.plan.plan import Held, Plan
from reconciler.plan.reasons import Reason

FAILURES_MAX = 3
"""Tries of one action after which a person is told; the first waits are half a minute, a minute."""

UNSEEN_MAX = timedelta(seconds=60)
"""How long a pool or remote may be out of sight before a person is told."""

_HOPELESS = frozenset(
    {
        Reason.NO_DISKS,
        Reason.REMOTE_READ_ONLY,
        Reason.INVALID_SPEC,
        Reason.SUSPENDED,
        Reason.CREDENTIALS_INVALID,
    }
)


class PartState(StrEnum):
    PENDING = "Pending"
    DONE = "Done"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that was asked for. subject: "VM web on remote nas1". point: its name, if done."""

    subject: str
    state: PartState
    point: str = ""
    size_bytes: int = 0
    reason: str = ""
    why: str = ""


def parts_of(
    desired: Desired, observed: Observed, plan: Plan, job: Job, asked_at: datetime, now: datetime
) -> list[Part]:
    """Say how each part of a run stands. asked_at: points taken at it or later count.

    A pool or remote that is out of sight is a part of its own: what it holds is not known.
    """
    parts = list(_unseen(observed, job, now))
    blocked = _blocked(plan)
    for vm in _chosen(observed, job):
        for remote in job.remotes:
            view = observed.remotes.get(remote)
            if isinstance(view, RemoteView):
                parts.append(_part(vm, view, job, asked_at, observed, plan, blocked))
    return parts


def part_dict(part: Part) -> dict[str, Any]:
    """Render a part for a program."""
    return {
        "subject": part.subject,
        "state": part.state.value,
        "point": part.point or None,
        "sizeBytes": part.size_bytes,
        "reason": part.reason or None,
        "why": part.why or None,
    }


def is_settled(parts: list[Part]) -> bool:
    """Say whether waiting longer would change nothing."""
    return all(part.state is not PartState.PENDING for part in parts)


def _unseen(observed: Observed, job: Job, now: datetime) -> Iterator[Part]:
    places: list[tuple[str, PoolView | RemoteView | Unknown | None]] = [
        *((f"pool {name}", observed.pools.get(name)) for name in job.pools),
        *((f"remote {name}", observed.remotes.get(name)) for name in job.remotes),
    ]
    for subject, view in places:
        match view:
            case None:
                yield Part(subject, PartState.PENDING, why="it has not been looked at yet")
            case Unknown():
                final = view.reason in _HOPELESS or now - view.since >= UNSEEN_MAX
                state = PartState.FAILED if final else PartState.PENDING
                yield Part(subject, state, reason=view.reason, why=view.why)
            case _:
                continue


def _chosen(observed: Observed, job: Job) -> Iterator[Vm]:
    seen: set[VmUuid] = set()
    for pool in job.pools:
        view = observed.pools.get(pool)
        if isinstance(view, PoolView):
            for uuid, vm in sorted(view.vms.items()):
                matched = job.selector.matches(uuid, vm.name, vm.tags, vm.power_state.value)
                if matched and uuid not in seen:
                    seen.add(uuid)
                    yield vm


def _part(
    vm: Vm,
    remote: RemoteView,
    job: Job,
    asked_at: datetime,
    observed: Observed,
    plan: Plan,
    blocked: Mapping[tuple[VmUuid, RemoteName | None], Held],
) -> Part:
    subject = f"VM {vm.name} on remote {remote.name}"
    history = remote.histories.get(vm.uuid)
    if isinstance(history, Unknown):
        return Part(subject, PartState.FAILED, reason=history.reason, why=history.why)
    if isinstance(history, History):
        since = asked_at.replace(microsecond=0)  # points are named to the second
        for point in reversed(history.points):
            if point.job == job.id and point.taken_at >= since:
                name = f"{point.vm}/{point.stamp}@{remote.name}"
                return Part(subject, PartState.DONE, name, point.size_bytes)
    held = blocked.get((vm.uuid, remote.name)) or blocked.get((vm.uuid, None))
    if held is not None and held.reason in _HOPELESS:
        return Part(subject, PartState.FAILED, reason=held.reason, why=held.why)
    return _tried(subject, vm, remote.name, observed, plan)


def _tried(subject: str, vm: Vm, remote: RemoteName, observed: Observed, plan: Plan) -> Part:
    """Judge by how the tries of what is still planned for this part have ended."""
    wanted = [*plan.actions, *(held.action for held in plan.held if held.action is not None)]
    for action in wanted:
        ours = (isinstance(action, Snapshot) and action.vm == vm.uuid) or (
            isinstance(action, Export) and (action.vm, action.remote) == (vm.uuid, remote)
        )
        attempt = observed.progress.ended.get(id_of(action)) if ours else None
        if attempt is None or attempt.succeeded:
            continue
        if attempt.not_before is None or attempt.count >= FAILURES_MAX:
            return Part(subject, PartState.FAILED, reason=attempt.reason, why=attempt.why)
        return Part(subject, PartState.PENDING, reason=attempt.reason, why=attempt.why)
    return Part(subject, PartState.PENDING)


def _blocked(plan: Plan) -> dict[tuple[VmUuid, RemoteName | None], Held]:
    """Index what is held of backups: by VM and remote, or by VM alone for its snapshot."""
    blocked: dict[tuple[VmUuid, RemoteName | None], Held] = {}
    for held in plan.held:
        match held.action:
            case Snapshot(vm=vm):
                blocked[vm, None] = held
            case Export(vm=vm, remote=remote):
                blocked[vm, remote] = held
            case _:
                continue
    return blocked
