"""How far a run that was asked for has come: one part for each VM at each destination.

Looks at the world and the plan, as everyone else does: a part is done when its restore point is
seen on the remote. Pure. What keeps failing is called failed here although the reconciler would
go on trying: somebody is waiting for an answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from reconciler.desired.state import Desired, Job
from reconciler.ids import VmUuid
from reconciler.observed.chain import RestorePoint
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Mode, PlaceKind
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.actions import Action, Sending, Snapshot, id_of
from reconciler.plan.claims import claims_of
from reconciler.plan.plan import Held, Plan
from reconciler.plan.points import point_name
from reconciler.plan.reasons import Reason
from reconciler.plan.scope import Scope, Target, scopes_of, vm_at
from reconciler.plan.sites import all_sites
from reconciler.plan.world import Obstacle, World

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
        Reason.RUN_CANCELLED,
        Reason.TIMED_OUT,
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

    A pool or destination that is out of sight is a part of its own: what it holds is not known.
    """
    world = World(desired, observed, now)
    judge = _Judge(observed, plan, asked_at.replace(microsecond=0))  # points are named to it
    parts = list(_unseen(world, job, now))
    for scope in scopes_of(world, job):
        if scope.matched:
            parts += [
                judge.part(scope, target)
                for target in scope.targets
                if not isinstance(target.site.view, Obstacle)
            ]
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


def _unseen(world: World, job: Job, now: datetime) -> Iterator[Part]:
    observed = world.observed
    places: dict[str, PoolView | RemoteView | Unknown | None] = {
        f"pool {name}": observed.pools.get(name) for name in job.pools
    }
    for site in all_sites(world, job):
        if site.kind is PlaceKind.REMOTE:
            places[site.label] = observed.remotes.get(site.remote)
        elif site.kind is PlaceKind.SR:
            places.setdefault(f"pool {site.pool}", observed.pools.get(site.pool))
            if site.obstacle is not None and site.obstacle.reason is Reason.SR_UNKNOWN:
                yield Part(
                    site.label, PartState.FAILED, reason=site.obstacle.reason, why=site.obstacle.why
                )
    for subject, view in places.items():
        match view:
            case None:
                yield Part(subject, PartState.PENDING, why="it has not been looked at yet")
            case Unknown():
                final = view.reason in _HOPELESS or now - view.since >= UNSEEN_MAX
                state = PartState.FAILED if final else PartState.PENDING
                yield Part(subject, state, reason=view.reason, why=view.why)
            case _:
                continue


_Destination = tuple[PlaceKind, str]


class _Judge:
    """What plan and progress say about the parts of one run. since: of points that count."""

    def __init__(self, observed: Observed, plan: Plan, since: datetime) -> None:
        self._ended = observed.progress.ended
        self._since = since
        self._blocked: dict[tuple[VmUuid, _Destination | None], Held] = {}
        self._wanted: dict[tuple[VmUuid, _Destination | None], list[Action]] = {}
        for held in plan.held:
            if isinstance(held.action, Snapshot | Sending):
                self._blocked[_key_of(held.action)] = held
        for action in (*plan.actions, *(held.action for held in plan.held)):
            if isinstance(action, Snapshot | Sending):
                self._wanted.setdefault(_key_of(action), []).append(action)

    def part(self, scope: Scope, target: Target) -> Part:
        """Say how one VM stands at one destination."""
        vm, site = scope.vm, target.site
        subject = vm_at(vm.name, site)
        if target.history is None:
            assert target.obstacle is not None, "what is not seen has a reason"
            obstacle = target.obstacle
            return Part(subject, PartState.FAILED, reason=obstacle.reason, why=obstacle.why)
        for point in reversed(target.points):
            if point.taken_at >= self._since:
                size_bytes = point.size_bytes if isinstance(point, RestorePoint) else 0
                name = point_name(vm.uuid, point.stamp, site.place)
                return Part(subject, PartState.DONE, name, size_bytes)
        here = (vm.uuid, (site.kind, site.name))
        held = self._blocked.get(here) or self._blocked.get((vm.uuid, None))
        if held is not None and held.reason in _HOPELESS:
            return Part(subject, PartState.FAILED, reason=held.reason, why=held.why)
        for key in (here, (vm.uuid, None)):
            for action in self._wanted.get(key, ()):
                if (part := self._tried(subject, action)) is not None:
                    return part
        return Part(subject, PartState.PENDING)

    def _tried(self, subject: str, action: Action) -> Part | None:
        """Judge by how the last try of something still wanted has ended, if it failed."""
        attempt = self._ended.get(id_of(action))
        if attempt is None or attempt.succeeded:
            return None
        hopeless = attempt.not_before is None or attempt.count >= FAILURES_MAX
        state = PartState.FAILED if hopeless else PartState.PENDING
        return Part(subject, state, reason=attempt.reason, why=attempt.why)


def _key_of(action: Snapshot | Sending) -> tuple[VmUuid, _Destination | None]:
    """The VM, and where to; None for its snapshot, which is for every destination."""
    if isinstance(action, Snapshot):
        return action.vm, None
    appended = (place for place, mode in claims_of(action).places if mode is Mode.APPEND)
    place = next(appended)
    return action.vm, (place.kind, place.name)
