"""What is taken, what is kept free for an older debt, and what waits for what.

The working memory of one call of `admit`: it is filled with what runs and with what is let in, in
the order of debts.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from reconciler.desired.state import Desired
from reconciler.ids import JobName, PoolName
from reconciler.observed.progress import Claims, Mode, Place, SlotKind, Slots
from reconciler.plan.actions import Action, Archive, Export, Sending, Snapshot
from reconciler.plan.claims import limit_of, readings_of, sr_place
from reconciler.plan.plan import Plan
from reconciler.plan.reasons import Reason

Refusal = tuple[Reason, str, datetime | None]
"""Why an action does not start now, and when it may by itself."""

_QUEUES = 2  # times as many disks as may be exported at once: the next are ready when one ends
_Key = tuple[SlotKind, str]


class Occupancy:
    """Slots that are counted, and places that are held."""

    def __init__(self, desired: Desired) -> None:
        self._desired = desired
        self._used: dict[_Key, int] = {}
        self._shared: dict[tuple[SlotKind, str, str], int] = {}
        self._kept: dict[_Key, int] = {}
        self._full: dict[_Key, Refusal] = {}
        self._modes: dict[Place, list[Mode]] = {}
        self._awaited: dict[Place, list[Mode]] = {}

    def take(self, claims: Claims) -> None:
        for slots in claims.slots:
            key = slots.kind, slots.name
            self._used[key] = self._used.get(key, 0) + self._more(slots)
            if slots.shared:
                word = slots.kind, slots.name, slots.shared
                self._shared[word] = max(slots.count, self._shared.get(word, 0))
        for place, mode in claims.places:
            self._modes.setdefault(place, []).append(mode)

    def refuse_queued(self, together: Iterable[Claims]) -> Refusal | None:
        """Say which slot others queue for already; who waits for that holds up nobody else."""
        for claims in together:
            for slots in claims.slots:
                if self._more(slots) and (slots.kind, slots.name) in self._full:
                    return self._full[slots.kind, slots.name]
        return None

    def refuse_places(self, claims: Claims) -> Refusal | None:
        """Say why an action cannot have its places, whatever starts with it; None if it can.

        Where it waits for a place, no younger one may come between.
        """
        for place, mode in claims.places:
            if not self._is_free(place, mode):
                self._awaited.setdefault(place, []).append(mode)
                why = f"another action is at work on the VM's part of {place.name}, or waits for it"
                return Reason.WAITING_FOR_LIMIT, why, None
        return None

    def refuse_slots(self, together: Sequence[Claims]) -> Refusal | None:
        """Say why there is no room for what starts together; None if there is."""
        needed = self._needed(together)
        lacking = [key for key, count in needed.items() if not self._has_room(key, count)]
        if not lacking:
            return None
        for key, count in needed.items():
            if key in lacking:
                self._full[key] = self._limit_reached(*key)
            else:
                self._kept[key] = self._kept.get(key, 0) + count
        for claims in together:
            for place, mode in claims.places:
                self._awaited.setdefault(place, []).append(mode)
        return self._full[lacking[0]]

    def _needed(self, together: Sequence[Claims]) -> dict[_Key, int]:
        """Count the slots that are wanted and not taken yet, shared ones once."""
        needed: dict[_Key, int] = {}
        counted: dict[tuple[SlotKind, str, str], int] = {}
        for claims in together:
            for slots in claims.slots:
                more = self._more(slots)
                if slots.shared:
                    word = slots.kind, slots.name, slots.shared
                    known = counted.get(word, 0)
                    counted[word] = max(known, more)
                    more = counted[word] - known
                if more:
                    key = slots.kind, slots.name
                    needed[key] = needed.get(key, 0) + more
        return needed

    def _more(self, slots: Slots) -> int:
        if not slots.shared:
            return slots.count
        taken = self._shared.get((slots.kind, slots.name, slots.shared), 0)
        return max(0, slots.count - taken)

    def _is_free(self, place: Place, mode: Mode) -> bool:
        return all(
            mode.together_with(other)
            for others in (self._modes, self._awaited)
            for other in others.get(place, ())
        )

    def _has_room(self, key: _Key, count: int) -> bool:
        taken = self._used.get(key, 0) + self._kept.get(key, 0)
        return taken == 0 or taken + count <= limit_of(*key, self._desired)

    def _limit_reached(self, kind: SlotKind, name: str) -> Refusal:
        limit = limit_of(kind, name, self._desired)
        pool, _, sr = name.rpartition("/")
        what = {
            SlotKind.SNAPSHOTS: f"snapshots at once on pool {name}",
            SlotKind.EXPORTS: f"disks exported at once from pool {name}",
            SlotKind.ACTIONS: f"actions at once on remote {name}",
            SlotKind.PROOFS: f"points verified at once on remote {name}",
            SlotKind.REPLICAS: f"replications at once to SR {sr[:8]} of pool {pool}",
            SlotKind.VMS: f"VMs of job {name} at once",
        }[kind]
        return Reason.WAITING_FOR_LIMIT, f"the limit is {limit} {what}", None


class Backlog:
    """How many streams run or wait to be sent from each pool, by destination.

    What fails and backs off is no reason to leave other VMs without their snapshots.
    """

    def __init__(self, plan: Plan, by_history: Iterable[Refusal | None]) -> None:
        self._queued: dict[tuple[PoolName, str], int] = {}
        self._srs: dict[JobName, set[str]] = {}
        for action, refusal in zip(plan.actions, by_history, strict=True):
            if not isinstance(action, Sending):
                continue
            name = _destination_of(action)
            if not isinstance(action, Export | Archive):
                self._srs.setdefault(action.job, set()).add(name)
            if refusal is None or refusal[0] is Reason.ALREADY_RUNNING:
                key = action.pool, name
                self._queued[key] = self._queued.get(key, 0) + len(readings_of(action))

    def refuse(self, action: Action, desired: Desired) -> Refusal | None:
        """Refuse a snapshot that could not be sent for a while, wherever it goes."""
        if not isinstance(action, Snapshot) or not self._queued:
            return None
        job, pool = desired.jobs.get(action.job), desired.pools.get(action.pool)
        if job is None or pool is None or not job.destinations:
            return None
        srs = self._srs.get(job.name, set())
        if len(srs) < len(job.srs):
            return None  # one of them has nothing to do
        names = (*job.remotes, *srs)
        queued = min(self._queued.get((action.pool, name), 0) for name in names)
        if queued < _QUEUES * pool.exports_max:
            return None
        why = f"{queued} disks of pool {pool.name} are being sent, or wait for it"
        return Reason.WAITING_FOR_LIMIT, why, None


def _destination_of(action: Sending) -> str:
    match action:
        case Export() | Archive():
            return action.remote
        case _:
            return sr_place(action.target_pool, action.sr, action.vm).name
