"""The two inputs of the planner, with look-ups that are worked out once.

What could not be seen is an `Obstacle` here, with why; it never becomes empty. How one job stands
towards one VM, on each of its destinations, is `scope.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from reconciler.desired.state import Desired, Job
from reconciler.ids import (
    STAMP,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    RunId,
    SrUuid,
    Stamp,
    VmUuid,
    instant_of,
    run_id,
)
from reconciler.observed.chain import Chains, History
from reconciler.observed.pool import PoolView, Vm
from reconciler.observed.progress import Mode, Place
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import Replica
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.claims import pool_place, remote_place, sr_place
from reconciler.plan.reasons import Reason
from reconciler.plan.roster import Roster
from reconciler.plan.shelf import Files

CLOCK_TOLERANCE = timedelta(hours=1)
"""How far clocks may differ before a point counts as one from the future."""

View = TypeVar("View", PoolView, RemoteView)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why nothing is done at a place just now."""

    reason: Reason
    why: str


class World:
    """The inputs of one call of the planner, with look-ups that are worked out once."""

    def __init__(self, desired: Desired, observed: Observed, now: datetime) -> None:
        self.desired = desired
        self.observed = observed
        self.now = now
        self.jobs_by_id: Mapping[JobId, Job] = {job.id: job for job in desired.jobs.values()}
        self.files: dict[tuple[RemoteName, VmUuid], Files] = {}  # filled in by files.py
        self._chains: dict[tuple[RemoteName, VmUuid], Chains] = {}
        self.discarded: set[tuple[RemoteName, VmUuid, Stamp]] = set()  # filled in by send.py
        self._cancelled: frozenset[RunId] = frozenset(each.run for each in desired.cancellations)
        self._cancellations: dict[JobName, list[tuple[datetime, datetime]]] = {}
        for cancellation in desired.cancellations:
            name, _, stamp = cancellation.run.rpartition("/")
            if STAMP.fullmatch(stamp):
                due = instant_of(Stamp(stamp))
                said = due if cancellation.at is None else cancellation.at
                self._cancellations.setdefault(JobName(name), []).append((due, said))
        self._replicas: dict[PoolName, dict[tuple[SrUuid, VmUuid], list[Replica]]] = {}
        self._rosters: dict[PoolName, Roster] = {}
        self._held_places: dict[Place, Mode] = _held_places(observed)
        self._homes: dict[VmUuid, list[tuple[PoolName, Vm]]] = {}
        for pool, view in self.pools():
            for vm in view.vms.values():
                self._homes.setdefault(vm.uuid, []).append((pool, vm))

    def pools(self) -> Iterable[tuple[PoolName, PoolView]]:
        """Return the pools that are wanted and seen, in order of name."""
        for name in sorted(self.desired.pools):
            view = self.observed.pools.get(name)
            if isinstance(view, PoolView):
                yield name, view

    def pool(self, name: PoolName) -> PoolView | Obstacle:
        """Return a pool as seen, or why it is not."""
        if name not in self.desired.pools:
            return Obstacle(Reason.INVALID_SPEC, f"no usable manifest describes pool {name}")
        return _seen(self.observed.pools.get(name), Reason.POOL_UNREACHABLE)

    def remote(self, name: RemoteName) -> RemoteView | Obstacle:
        """Return a remote as seen, or why it is not."""
        if name not in self.desired.remotes:
            return Obstacle(Reason.INVALID_SPEC, f"no usable manifest describes remote {name}")
        return _seen(self.observed.remotes.get(name), Reason.REMOTE_UNAVAILABLE)

    def homes(self, vm: VmUuid) -> Sequence[tuple[PoolName, Vm]]:
        """Return the pools on which a VM was seen."""
        return self._homes.get(vm, ())

    def roster(self, view: PoolView) -> Roster:
        """Return a pool's VMs by what chooses them."""
        roster = self._rosters.get(view.name)
        if roster is None:
            roster = self._rosters[view.name] = Roster(view)
        return roster

    def chains(self, remote: RemoteName, history: History) -> Chains:
        key = remote, history.vm
        chains = self._chains.get(key)
        if chains is None:
            chains = self._chains[key] = Chains(history.files)
        return chains

    def replicas(self, view: PoolView, sr: SrUuid, vm: VmUuid) -> Sequence[Replica]:
        """Return what an SR of a pool holds of a VM, oldest first, interrupted ones included."""
        by_place = self._replicas.get(view.name)
        if by_place is None:
            by_place = self._replicas[view.name] = {}
            for replica in view.replicas:
                by_place.setdefault((replica.sr, replica.vm), []).append(replica)
        return by_place.get((sr, vm), ())

    def is_cancelled(self, job: JobName, due: datetime) -> bool:
        """Say whether somebody cancelled the run that answers this slot or request."""
        return bool(self._cancelled) and run_id(job, due) in self._cancelled

    def cancellations_of(self, job: JobName) -> Iterable[tuple[datetime, datetime]]:
        """Return the runs of a job that were cancelled: of which moment each is, and when that was
        said (where that is not known, the same moment).
        """
        return self._cancellations.get(job, ())

    def mode_on_pool(self, pool: PoolName, vm: VmUuid) -> Mode | None:
        """Say what a running action of ours does to the VM's snapshots."""
        return self._held_places.get(pool_place(pool, vm)) if self._held_places else None

    def mode_on_remote(self, remote: RemoteName, vm: VmUuid) -> Mode | None:
        """Say what a running action of ours does to the VM's files."""
        return self._held_places.get(remote_place(remote, vm)) if self._held_places else None

    def mode_at(self, place: Place) -> Mode | None:
        """Say what a running action of ours does to a place."""
        return self._held_places.get(place)

    def mode_on_sr(self, pool: PoolName, sr: SrUuid, vm: VmUuid) -> Mode | None:
        """Say what a running action of ours does to the VM's replicas."""
        return self._held_places.get(sr_place(pool, sr, vm)) if self._held_places else None


def _held_places(observed: Observed) -> dict[Place, Mode]:
    """Return what our running actions do where; of two at one place, what changes it more."""
    held: dict[Place, Mode] = {}
    progress = observed.progress
    for action in progress.running:
        claims = progress.claims.get(action)
        for place, mode in () if claims is None else claims.places:
            if place not in held or mode.changes_more_than(held[place]):
                held[place] = mode
    return held


def obstacle_of(world: World, remote: RemoteName) -> Obstacle | None:
    """Say why nothing is written to a remote just now, whatever the VM."""
    view = world.remote(remote)
    if isinstance(view, Obstacle):
        return view
    if world.desired.remotes[remote].suspend:
        return Obstacle(Reason.SUSPENDED, "the remote is suspended")
    if world.desired.remotes[remote].read_only:
        return Obstacle(Reason.REMOTE_READ_ONLY, "the remote is declared read-only")
    return None


def obstacle_at(history: History) -> Obstacle | None:
    """Say why nothing is written to a VM's part of a remote that as such could be written to."""
    if history.locked_by_others:
        return Obstacle(Reason.FOREIGN_WRITER, "somebody else holds the lock of the VM's directory")
    return None


def _seen(view: View | Unknown | None, reason: Reason) -> View | Obstacle:
    match view:
        case None:
            return Obstacle(reason, "it has not been looked at yet")
        case Unknown():
            since = f"{view.since:%Y-%m-%d %H:%M} UTC"
            return Obstacle(reason, f"{view.why} (not seen since {since})")
        case _:
            return view


def vm_on_remote(vm_name: str, remote: RemoteName) -> str:
    """Name a VM's part of a remote for a person."""
    return f"VM {vm_name} on remote {remote}"
