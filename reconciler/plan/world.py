"""The two inputs of the planner joined: one job's promise to one VM, and all that bears on it.

Every rule looks through the same glasses here: which snapshots are marked for the job, what each
of its remotes holds of the VM, and why nothing can be written there just now. What could not be
seen stays unseen (`Target.history` is None); it never becomes empty.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from reconciler.desired.schedule import Schedule
from reconciler.desired.state import Desired, Job, JobSchedule
from reconciler.ids import (
    DiskUuid,
    JobId,
    PoolName,
    RemoteName,
    ScheduleId,
    SnapshotUuid,
    Stamp,
    VmUuid,
    instant_of,
    stamp_of,
)
from reconciler.observed.chain import Chains, History, RestorePoint
from reconciler.observed.pool import Marks, PoolView, Snapshot, Vm
from reconciler.observed.progress import Mode, Place
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.claims import pool_place, remote_place
from reconciler.plan.reasons import Reason, reason_of
from reconciler.plan.shelf import Files

CLOCK_TOLERANCE = timedelta(hours=1)
"""How far clocks may differ before a point counts as one from the future."""

View = TypeVar("View", PoolView, RemoteView)


@dataclass(frozen=True, slots=True)
class Slot:
    """The last slot of a schedule. before, next: the slots around it, None where there is none.

    late: the slot is older than the schedule's deadline, which it is from `late_at` on.
    """

    schedule: JobSchedule
    at: datetime
    stamp: Stamp
    before: datetime | None
    next: datetime | None
    late_at: datetime
    late: bool


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why nothing is done at a place just now."""

    reason: Reason
    why: str


@dataclass(frozen=True, slots=True)
class MarkedSnapshot:
    """A snapshot of a VM that carries the marks of one job and of this very VM."""

    snapshot: Snapshot
    marks: Marks

    @property
    def uuid(self) -> SnapshotUuid:
        return self.snapshot.uuid

    @property
    def stamp(self) -> Stamp:
        return self.marks.stamp


@dataclass(slots=True)
class Target:
    """One remote of a job, as it stands for one VM.

    history: None if the remote or the VM's part of it was not seen; empty if there is none.
    points: of this job, oldest first. obstacle: why nothing can be added. receiving: an action of
    ours is adding to it right now. owed, requested: the promises that are open here; exporting:
    a snapshot is there whose point is wanted here (`due` and `lineage` fill these in).
    """

    remote: RemoteName
    history: History | None
    points: Sequence[RestorePoint]
    obstacle: Obstacle | None
    receiving: bool = False
    owed: tuple[Slot, ...] = ()
    requested: datetime | None = None
    exporting: bool = False

    @property
    def newest(self) -> RestorePoint | None:
        return self.points[-1] if self.points else None


@dataclass(slots=True)
class Scope:
    """One job and one VM. matched: the job's selector chooses it; else only leftovers count.

    snapshots: marked for the job, oldest first.
    """

    job: Job
    pool: PoolName
    vm: Vm
    matched: bool
    snapshots: tuple[MarkedSnapshot, ...]
    targets: tuple[Target, ...]
    _newest: MarkedSnapshot | None = None
    _newest_is_known: bool = field(default=False)

    @property
    def enrolled(self) -> bool:
        """Whether the job has ever backed this VM up, as far as can be seen."""
        return bool(self.snapshots) or any(target.points for target in self.targets)

    @property
    def newest_stamp(self) -> Stamp | None:
        """The newest stamp in use for the VM, whatever the job: the next one must be above it.

        Points of all jobs share one directory, and their files are named by stamp.
        """
        stamps = [
            target.history.points[-1].stamp
            for target in self.targets
            if target.history is not None and target.history.points
        ]
        stamps += [
            snapshot.marks.stamp
            for snapshot in self.vm.snapshots
            if snapshot.marks is not None and snapshot.marks.vm == self.vm.uuid
        ]
        return max(stamps, default=None)

    def newest_snapshot(self) -> MarkedSnapshot | None:
        """Return the newest snapshot that still has all its disks: the one to export from.

        One that lost a disk makes no point: a point that silently lacks a disk is worse than
        none. It may still be the base of its other disks.
        """
        if not self._newest_is_known:
            whole = (each for each in reversed(self.snapshots) if not self._lacks_a_disk(each))
            self._newest = next(whole, None)
            self._newest_is_known = True
        return self._newest

    def _lacks_a_disk(self, snapshot: MarkedSnapshot) -> bool:
        present = {disk.disk for disk in snapshot.snapshot.disks}
        if None in present:  # a snapshot of a disk that is gone: nobody knows where it belongs
            return True
        if snapshot.marks.disks:
            return not present.issuperset(snapshot.marks.disks)
        # Older marks do not say. A disk that the VM has, and that the last point has, was there.
        before: set[DiskUuid] = set()
        for target in self.targets:
            earlier = [point for point in target.points[-2:] if point.stamp < snapshot.stamp]
            if earlier:
                before.update(disk.disk for disk in earlier[-1].disks)
        return any(disk.uuid in before and disk.uuid not in present for disk in self.vm.disks)


class World:
    """The inputs of one call of the planner, with look-ups that are worked out once."""

    def __init__(self, desired: Desired, observed: Observed, now: datetime) -> None:
        self.desired = desired
        self.observed = observed
        self.now = now
        self.jobs_by_id: Mapping[JobId, Job] = {job.id: job for job in desired.jobs.values()}
        self.files: dict[tuple[RemoteName, VmUuid], Files] = {}  # filled in by files.py
        self._chains: dict[tuple[RemoteName, VmUuid], Chains] = {}
        self._held_places: dict[Place, Mode] = {
            place: mode
            for action in observed.progress.running
            if action in observed.progress.claims
            for place, mode in observed.progress.claims[action].places
        }
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

    def chains(self, remote: RemoteName, history: History) -> Chains:
        key = remote, history.vm
        chains = self._chains.get(key)
        if chains is None:
            chains = self._chains[key] = Chains(history.files)
        return chains

    def mode_on_pool(self, pool: PoolName, vm: VmUuid) -> Mode | None:
        """Say what a running action of ours does to the VM's snapshots."""
        return self._held_places.get(pool_place(pool, vm)) if self._held_places else None

    def mode_on_remote(self, remote: RemoteName, vm: VmUuid) -> Mode | None:
        """Say what a running action of ours does to the VM's files."""
        return self._held_places.get(remote_place(remote, vm)) if self._held_places else None


def slots_of(job: Job, now: datetime) -> dict[ScheduleId, Slot]:
    """Work out the last slot of each schedule that has had one, suspended ones included."""
    slots = {}
    for schedule in job.schedules:
        at = schedule.schedule.last_due(now)
        if at is None:
            continue
        following = schedule.schedule.next_due(now)
        late_at = at + schedule.deadline + timedelta.resolution
        slots[schedule.id] = Slot(
            schedule=schedule,
            at=at,
            stamp=stamp_of(at),
            before=_slot_before(schedule.schedule, at),
            next=following if following.year < datetime.max.year else None,
            late_at=late_at,
            late=now >= late_at,
        )
    return slots


@lru_cache(maxsize=4096)
def _slot_before(schedule: Schedule, slot: datetime) -> datetime | None:
    return schedule.last_due(slot - timedelta.resolution)


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


def scopes_of(world: World, job: Job) -> Iterable[Scope]:
    """Return the job's VMs: those it selects, and those that carry a snapshot of its making."""
    views = {remote: world.remote(remote) for remote in job.remotes}
    obstacles = {remote: obstacle_of(world, remote) for remote in job.remotes}
    chosen: set[VmUuid] = set()
    for pool in job.pools:
        view = world.pool(pool)
        if isinstance(view, Obstacle):
            continue
        for uuid in sorted(view.vms):
            vm = view.vms[uuid]
            if uuid in chosen:
                continue
            snapshots = _marked(job, vm) if vm.snapshots else ()
            matched = job.selector.matches(vm.uuid, vm.name, vm.tags, vm.power_state.value)
            if not matched and not snapshots:
                continue
            chosen.add(uuid)
            targets = tuple(
                _target(world, job, remote, views[remote], obstacles[remote], vm)
                for remote in job.remotes
            )
            yield Scope(job, pool, vm, matched, snapshots, targets)


def slot_at(slots: Mapping[ScheduleId, Slot], schedule: ScheduleId, stamp: Stamp) -> datetime:
    """Return the slot that a snapshot with this stamp answers for a schedule of the job."""
    slot = slots[schedule]
    if stamp >= slot.stamp:
        return slot.at
    taken_at = instant_of(stamp)
    return slot.schedule.schedule.last_due(taken_at) or taken_at


def answered(points: Sequence[RestorePoint], schedule: ScheduleId, since: datetime) -> bool:
    """Say whether one of the points, oldest first, answers a schedule's slot at `since`."""
    for point in reversed(points):
        if point.taken_at < since:
            return False
        if schedule in point.schedules:
            return True
    return False


def vm_on_remote(vm_name: str, remote: RemoteName) -> str:
    """Name a VM's part of a remote for a person."""
    return f"VM {vm_name} on remote {remote}"


def _target(
    world: World,
    job: Job,
    remote: RemoteName,
    view: RemoteView | Obstacle,
    obstacle: Obstacle | None,
    vm: Vm,
) -> Target:
    if isinstance(view, Obstacle):
        return Target(remote, None, (), view)
    history = view.histories.get(vm.uuid)
    receiving = world.mode_on_remote(remote, vm.uuid) is Mode.APPEND
    match history:
        case None:
            return Target(remote, History(vm.uuid, view.as_of), (), obstacle, receiving)
        case Unknown():
            reason = reason_of(history.reason, Reason.REMOTE_UNAVAILABLE)
            return Target(remote, None, (), obstacle or Obstacle(reason, history.why))
        case History():
            return Target(
                remote,
                history,
                [point for point in history.points if point.job == job.id],
                obstacle or obstacle_at(history),
                receiving,
            )


def _marked(job: Job, vm: Vm) -> tuple[MarkedSnapshot, ...]:
    """Return the VM's snapshots with the job's marks, oldest first.

    Marks that name another VM came along with a clone: such a snapshot is nobody's.
    """
    found = [
        MarkedSnapshot(snapshot, snapshot.marks)
        for snapshot in vm.snapshots
        if snapshot.marks is not None
        and snapshot.marks.job == job.id
        and snapshot.marks.vm == vm.uuid
    ]
    if len(found) > 1:
        found.sort(key=lambda each: (each.stamp, each.uuid))
    return tuple(found)


def _seen(view: View | Unknown | None, reason: Reason) -> View | Obstacle:
    match view:
        case None:
            return Obstacle(reason, "it has not been looked at yet")
        case Unknown():
            since = f"{view.since:%Y-%m-%d %H:%M} UTC"
            return Obstacle(reason, f"{view.why} (not seen since {since})")
        case _:
            return view
