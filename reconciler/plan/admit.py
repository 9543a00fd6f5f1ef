"""What may start now: the plan in its order, against what is running, limits, and what we last saw.

An action starts unless

- it is running already, or its last try failed and it backs off, or it is stuck;
- what it touches was touched by us after it was last seen: the plan was made from an old picture;
- a slot or a place that it needs is taken, or an older debt waits for it;
- it is a snapshot, and enough of the pool's disks wait to be sent already, to each destination of
  its job: a snapshot costs space for as long as its export takes to begin.

What sends one snapshot to its destinations is a *party*: it starts together, because its disks are
read once for all. Those of it that may not start now, or whose place is busy, are left out, and
come later by themselves; the others wait for their slots as one. Where only the picture of one
place is older than what we did there, all of them wait for it, for a while: a quiet pool is looked
at again within seconds, and to read its disks once more takes hours.

The oldest debt always gets its turn: what it waits for, no younger one may take, and what else it
will need is kept free for it. Only the first in each queue keeps things free, so one slow remote
does not stop the others. An action that needs more than a whole limit starts alone.

Pure and synchronous: between this answer and noting what was started there must be no `await`.
"""

from collections.abc import Iterable, Mapping, Sequence
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
    Place,
    PlaceKind,
)
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.plan.actions import (
    Action,
    CleanReplica,
    CleanSnapshot,
    CopyVm,
    PruneReplica,
    Replicate,
    Sending,
    Snapshot,
    id_of,
)
from reconciler.plan.claims import claims_of, claims_of_party, sr_name
from reconciler.plan.occupancy import Backlog, Occupancy, Refusal
from reconciler.plan.plan import Held, Plan
from reconciler.plan.power_on import PowerOn
from reconciler.plan.reasons import Reason, reason_of
from reconciler.plan.restore_actions import CleanRestore

_PICTURE_MAX = timedelta(minutes=1)
"""How long a party waits for the picture of a place to catch up with what we did there."""

_AFTER_SUCCESS = timedelta(minutes=1)
"""What succeeded and is wanted again at once did not do what it said: not in a tight loop."""


@dataclass(frozen=True, slots=True)
class Admission:
    """starts: to start now; those in one tuple together, as a party. waiting: the rest of the
    plan, and why. wake_at: ask again then.

    wake_at is for the clock alone; an action that ends, or a new observation, is its own reason.
    """

    starts: tuple[tuple[Action, ...], ...] = ()
    waiting: tuple[Held, ...] = ()
    wake_at: datetime | None = None

    @property
    def actions(self) -> tuple[Action, ...]:
        """All that starts now, in order."""
        return tuple(action for party in self.starts for action in party)


def admit(plan: Plan, desired: Desired, observed: Observed, now: datetime) -> tuple[Action, ...]:
    """Return the actions that may start now, oldest debt first."""
    return decide(plan, desired, observed, now).actions


def waiting(plan: Plan, desired: Desired, observed: Observed, now: datetime) -> tuple[Held, ...]:
    """Return what is planned but may not start now, and why."""
    return decide(plan, desired, observed, now).waiting


def decide(plan: Plan, desired: Desired, observed: Observed, now: datetime) -> Admission:
    """Sort the plan into what starts and what waits."""
    occupancy = Occupancy(desired)
    for claims in _running_claims(plan, observed).values():
        occupancy.take(claims)
    has_history = bool(observed.progress.running or observed.progress.ended)
    by_history = [
        _by_history(id_of(action), observed, now) if has_history else None
        for action in plan.actions
    ]
    backlog = Backlog(plan, by_history)
    refused: dict[int, Refusal] = {}
    starts: list[tuple[Action, ...]] = []
    for party in _parties(plan.actions):
        may: dict[int, Claims] = {}
        late: Refusal | None = None
        for index in party:
            action, claims = plan.actions[index], claims_of(plan.actions[index])
            by_view = by_history[index] is None and _by_age_of_view(claims, observed, now)
            refusal = by_history[index] or by_view or backlog.refuse(action, desired)
            if not refusal:
                may[index] = claims
                continue
            refused[index] = refusal
            if by_view and by_view[2] is not None:
                late = by_view
        if late is not None:
            refused.update(dict.fromkeys(may, late))
            continue
        queued = occupancy.refuse_queued(may.values())
        if queued is not None:
            refused.update(dict.fromkeys(may, queued))
            continue
        busy = {index: occupancy.refuse_places(claims) for index, claims in may.items()}
        refused.update({index: why for index, why in busy.items() if why is not None})
        members = [index for index, why in busy.items() if why is None]
        together = claims_of_party([plan.actions[index] for index in members], desired, now)
        refusal = occupancy.refuse_slots(together)
        if refusal is not None:
            refused.update(dict.fromkeys(members, refusal))
        elif members:
            for claims in together:
                occupancy.take(claims)
            starts.append(tuple(plan.actions[index] for index in members))
    held = tuple(
        Held(subject_of(plan.actions[index]), reason, why, plan.actions[index], until)
        for index, (reason, why, until) in sorted(refused.items())
    )
    wakes = [each.until for each in held if each.until is not None]
    return Admission(tuple(starts), held, min(wakes, default=None))


def _parties(actions: Sequence[Action]) -> Iterable[list[int]]:
    """Put together, by their positions, what sends one snapshot; all else is alone.

    In the order of the first of each: it is their oldest debt.
    """
    found: dict[object, list[int]] = {}
    for index, action in enumerate(actions):
        key = (action.pool, action.snapshot) if isinstance(action, Sending) else index
        found.setdefault(key, []).append(index)
    return found.values()


def subject_of(action: Action) -> str:
    """Name what an action is about, for a person."""
    name = action.vm_name or action.vm or "(no VM)"
    match action:
        case Snapshot() | CleanSnapshot() | CleanRestore() | PowerOn():
            return f"VM {name} on pool {action.pool}"
        case Replicate() | CopyVm() | PruneReplica() | CleanReplica():
            return f"VM {name} on {sr_name(action.target_pool, action.sr, action.sr_name)}"
        case _:
            return f"VM {name} on remote {action.remote}"


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


def _by_history(identity: ActionId, observed: Observed, now: datetime) -> Refusal | None:
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


def _by_failure(attempt: Attempt, now: datetime) -> Refusal | None:
    if attempt.not_before is None:
        reason = reason_of(attempt.reason, Reason.INTERNAL_ERROR)
        return reason, f"it needs a person: {attempt.why}", None
    if now < attempt.not_before:
        tries = "try" if attempt.count == 1 else "tries"
        why = f"{attempt.count} {tries} failed, the last with {attempt.reason}: {attempt.why}"
        return Reason.WAITING_FOR_BACKOFF, why, attempt.not_before
    return None


def _by_age_of_view(claims: Claims, observed: Observed, now: datetime) -> Refusal | None:
    """Refuse what was planned on a picture older than our own last change to it.

    until: for how long others wait for it; None if there is no picture, or it is late by too much.
    """
    if not observed.progress.touched:
        return None
    for place, _ in claims.places:
        touched_at = observed.progress.touched.get(place)
        if touched_at is None:
            continue
        as_of = as_of_place(place, observed)
        if as_of is None or as_of <= touched_at:
            why = f"what was done on {place.kind.lower()} {place.name} is not seen yet"
            until = touched_at + _PICTURE_MAX
            in_time = as_of is not None and now < until
            return Reason.WAITING_FOR_OBSERVATION, why, until if in_time else None
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
