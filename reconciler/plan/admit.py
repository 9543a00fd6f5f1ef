"""What may start now: the plan in its order, against what is running, limits, and what we last saw.

An action starts unless

- it is running already, or its last try failed and it backs off, or it is stuck;
- what it touches was touched by us after it was last seen: the plan was made from an old picture;
- a slot or a place that it needs is taken, or an older debt waits for it;
- it is a snapshot, and enough of the pool's disks wait to be exported already, to each remote of
  its job: a snapshot costs space for as long as its export takes to begin.

The oldest debt always gets its turn: what it waits for, no younger one may take, and what else it
will need is kept free for it. Only the first in each queue keeps things free, so one slow remote
does not stop the others. An action that needs more than a whole limit starts alone.

Pure and synchronous: between this answer and noting what was started there must be no `await`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from reconciler.desired.state import Desired
from reconciler.ids import ActionId, PoolName, RemoteName
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import (
    Attempt,
    Claims,
    Mode,
    Place,
    PlaceKind,
    SlotKind,
    Slots,
)
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.plan.actions import (
    Action,
    CleanReplica,
    CleanSnapshot,
    CopyVm,
    Export,
    PruneReplica,
    Replicate,
    Snapshot,
    id_of,
)
from reconciler.plan.claims import claims_of, limit_of, sr_name
from reconciler.plan.plan import Held, Plan
from reconciler.plan.reasons import Reason, reason_of

_AFTER_SUCCESS = timedelta(minutes=1)
"""What succeeded and is wanted again at once did not do what it said: not in a tight loop."""


_QUEUES = 2  # times as many disks as may be exported at once: the next are ready when one ends


@dataclass(frozen=True, slots=True)
class Admission:
    """actions: to start now. waiting: the rest of the plan, and why. wake_at: ask again then.

    wake_at is for the clock alone; an action that ends, or a new observation, is its own reason.
    """

    actions: tuple[Action, ...] = ()
    waiting: tuple[Held, ...] = ()
    wake_at: datetime | None = None


def admit(plan: Plan, desired: Desired, observed: Observed, now: datetime) -> tuple[Action, ...]:
    """Return the actions that may start now, oldest debt first."""
    return decide(plan, desired, observed, now).actions


def waiting(plan: Plan, desired: Desired, observed: Observed, now: datetime) -> tuple[Held, ...]:
    """Return what is planned but may not start now, and why."""
    return decide(plan, desired, observed, now).waiting


def decide(plan: Plan, desired: Desired, observed: Observed, now: datetime) -> Admission:
    """Sort the plan into what starts and what waits."""
    occupancy = _Occupancy(desired)
    claims_by_id = _running_claims(plan, observed)
    for claims in claims_by_id.values():
        occupancy.take(claims)
    has_history = bool(observed.progress.running or observed.progress.ended)
    by_history = [
        _by_history(id_of(action), observed, now) if has_history else None
        for action in plan.actions
    ]
    backlog = _backlog(plan, by_history)
    started: list[Action] = []
    held: list[Held] = []
    for action, before in zip(plan.actions, by_history, strict=True):
        claims = claims_of(action)
        refusal = (
            before
            or _by_age_of_view(claims, observed)
            or _by_backlog(action, backlog, desired)
            or occupancy.refuse(claims)
        )
        if refusal is None:
            occupancy.take(claims)
            started.append(action)
        else:
            reason, why, until = refusal
            held.append(Held(subject_of(action), reason, why, action, until))
    wakes = [each.until for each in held if each.until is not None]
    return Admission(tuple(started), tuple(held), min(wakes, default=None))


def subject_of(action: Action) -> str:
    """Name what an action is about, for a person."""
    name = action.vm_name or action.vm or "(no VM)"
    match action:
        case Snapshot() | CleanSnapshot():
            return f"VM {name} on pool {action.pool}"
        case Replicate() | CopyVm() | PruneReplica() | CleanReplica():
            return f"VM {name} on {sr_name(action.target_pool, action.sr)}"
        case _:
            return f"VM {name} on remote {action.remote}"


_Refusal = tuple[Reason, str, datetime | None]


def _running_claims(plan: Plan, observed: Observed) -> Mapping[ActionId, Claims]:
    """Return what each running action occupies, as noted, or as the plan still tells."""
    progress = observed.progress
    unknown = progress.running.keys() - progress.claims.keys()
    planned = {}
    if unknown:
        planned = {id_of(action): action for action in plan.actions}
    return {
        **{each: progress.claims[each] for each in progress.running if each in progress.claims},
        **{each: claims_of(planned[each]) for each in unknown if each in planned},
    }


def _by_history(identity: ActionId, observed: Observed, now: datetime) -> _Refusal | None:
    """Refuse what is running, backs off or is stuck."""
    if identity in observed.progress.running:
        return Reason.ALREADY_RUNNING, "it is running", None
    attempt = observed.progress.ended.get(identity)
    if attempt is None:
        return None
    if attempt.succeeded:
        again_at = attempt.ended_at + _AFTER_SUCCESS
        why = "it was done a moment ago, and what was seen since still asks for it"
        return (Reason.WAITING_FOR_OBSERVATION, why, again_at) if now < again_at else None
    return _by_failure(attempt, now)


def _by_failure(attempt: Attempt, now: datetime) -> _Refusal | None:
    if attempt.not_before is None:
        reason = reason_of(attempt.reason, Reason.INTERNAL_ERROR)
        return reason, f"it needs a person: {attempt.why}", None
    if now < attempt.not_before:
        tries = "try" if attempt.count == 1 else "tries"
        why = f"{attempt.count} {tries} failed, the last with {attempt.reason}: {attempt.why}"
        return Reason.WAITING_FOR_BACKOFF, why, attempt.not_before
    return None


def _backlog(
    plan: Plan, by_history: Sequence[_Refusal | None]
) -> Mapping[tuple[PoolName, RemoteName], int]:
    """Count the disks that run or queue to be exported, by pool and remote.

    An export that fails and backs off is no reason to leave other VMs without their snapshots.
    """
    backlog: dict[tuple[PoolName, RemoteName], int] = {}
    for action, refusal in zip(plan.actions, by_history, strict=True):
        if isinstance(action, Export) and (refusal is None or refusal[0] is Reason.ALREADY_RUNNING):
            key = action.pool, action.remote
            backlog[key] = backlog.get(key, 0) + len(action.disks_to_send)
    return backlog


def _by_backlog(
    action: Action, backlog: Mapping[tuple[PoolName, RemoteName], int], desired: Desired
) -> _Refusal | None:
    """Refuse a snapshot whose export could not begin for a while, wherever it goes."""
    if not isinstance(action, Snapshot) or not backlog:
        return None
    job, pool = desired.jobs.get(action.job), desired.pools.get(action.pool)
    if job is None or pool is None or not job.remotes:
        return None
    queued = min(backlog.get((action.pool, remote), 0) for remote in job.remotes)
    if queued < _QUEUES * pool.exports_max:
        return None
    why = f"{queued} disks of pool {pool.name} are being exported, or wait for it"
    return Reason.WAITING_FOR_LIMIT, why, None


def _by_age_of_view(claims: Claims, observed: Observed) -> _Refusal | None:
    """Refuse what was planned on a picture older than our own last change to it."""
    if not observed.progress.touched:
        return None
    for place, _ in claims.places:
        touched_at = observed.progress.touched.get(place)
        if touched_at is None:
            continue
        as_of = as_of_place(place, observed)
        if as_of is None or as_of <= touched_at:
            why = f"what was done on {place.kind.lower()} {place.name} is not seen yet"
            return Reason.WAITING_FOR_OBSERVATION, why, None
    return None


def as_of_place(place: Place, observed: Observed) -> datetime | None:
    """Return up to when a place was seen; None if it was not."""
    match place.kind:
        case PlaceKind.POOL:
            pool = observed.pools.get(PoolName(place.name))
            return pool.as_of if isinstance(pool, PoolView) else None
        case PlaceKind.SR:
            pool = observed.pools.get(PoolName(place.name.rpartition("/")[0]))
            return pool.as_of if isinstance(pool, PoolView) else None
        case PlaceKind.REMOTE:
            remote = observed.remotes.get(RemoteName(place.name))
            if not isinstance(remote, RemoteView):
                return None
            history = remote.histories.get(place.vm)
            if history is None:
                return remote.as_of
            return history.as_of if isinstance(history, History) else None
        case _:
            assert_never(place.kind)


class _Occupancy:
    """What is taken, what is kept free for an older debt, and what it waits for."""

    def __init__(self, desired: Desired) -> None:
        self._desired = desired
        self._used: dict[tuple[SlotKind, str], int] = {}
        self._kept: dict[tuple[SlotKind, str], int] = {}
        self._full: dict[tuple[SlotKind, str], _Refusal] = {}
        self._modes: dict[Place, list[Mode]] = {}
        self._awaited: dict[Place, list[Mode]] = {}

    def take(self, claims: Claims) -> None:
        for slots in claims.slots:
            key = slots.kind, slots.name
            self._used[key] = self._used.get(key, 0) + slots.count
        for place, mode in claims.places:
            self._modes.setdefault(place, []).append(mode)

    def refuse(self, claims: Claims) -> _Refusal | None:
        """Say why there is no room; None if there is."""
        for slots in claims.slots:
            if slots.count and (slots.kind, slots.name) in self._full:
                return self._full[slots.kind, slots.name]
        for place, mode in claims.places:
            if not self._is_free(place, mode):
                self._awaited.setdefault(place, []).append(mode)
                why = f"another action is at work on the VM's part of {place.name}, or waits for it"
                return Reason.WAITING_FOR_LIMIT, why, None
        lacking = [slots for slots in claims.slots if not self._has_room(slots)]
        if not lacking:
            return None
        for slots in claims.slots:
            key = slots.kind, slots.name
            if slots in lacking:
                self._full[key] = self._limit_reached(slots)
            else:
                self._kept[key] = self._kept.get(key, 0) + slots.count
        for place, mode in claims.places:
            self._awaited.setdefault(place, []).append(mode)
        return self._full[lacking[0].kind, lacking[0].name]

    def _is_free(self, place: Place, mode: Mode) -> bool:
        return all(
            mode.together_with(other)
            for others in (self._modes, self._awaited)
            for other in others.get(place, ())
        )

    def _has_room(self, slots: Slots) -> bool:
        key = slots.kind, slots.name
        taken = self._used.get(key, 0) + self._kept.get(key, 0)
        limit = limit_of(slots.kind, slots.name, self._desired)
        return slots.count == 0 or taken == 0 or taken + slots.count <= limit

    def _limit_reached(self, slots: Slots) -> _Refusal:
        limit = limit_of(slots.kind, slots.name, self._desired)
        what = {
            SlotKind.SNAPSHOTS: f"snapshots at once on pool {slots.name}",
            SlotKind.EXPORTS: f"disks exported at once from pool {slots.name}",
            SlotKind.ACTIONS: f"actions at once on remote {slots.name}",
            SlotKind.REPLICAS: f"replications at once to SR {slots.name}",
        }[slots.kind]
        return Reason.WAITING_FOR_LIMIT, f"the limit is {limit} {what}", None
