"""One job's promise to one VM, and all that bears on it, at each of the job's destinations.

Every rule looks through the same glasses here: which snapshots are marked for the job, what each
destination holds of the VM, and why nothing can be made there just now. What could not be seen
stays unseen (`Target.history` is None); it never becomes empty.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.desired.state import Job, JobMode
from reconciler.ids import (
    DiskUuid,
    PoolName,
    ScheduleId,
    SnapshotUuid,
    Stamp,
    VmUuid,
    instant_of,
)
from reconciler.observed.chain import History, RestorePoint
from reconciler.observed.pool import (
    DiskSnapshot,
    GivenUp,
    Marks,
    PoolView,
    PowerState,
    Snapshot,
    Vm,
)
from reconciler.observed.progress import Mode, PlaceKind
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import Replica, ReplicaState
from reconciler.observed.unknown import Unknown
from reconciler.plan.reasons import Reason, reason_of
from reconciler.plan.sites import Site, pool_site, sites_of
from reconciler.plan.slots import Point, Slot
from reconciler.plan.world import Obstacle, World, obstacle_at


@dataclass(frozen=True, slots=True)
class MarkedSnapshot:
    """A snapshot of a VM that carries the marks of one job and of this very VM."""

    snapshot: Snapshot
    marks: Marks

    @property
    def uuid(self) -> SnapshotUuid:
        return self.snapshot.uuid

    @property
    def disks(self) -> tuple[DiskSnapshot, ...]:
        """Return the disks that its point has: a snapshot with memory keeps excluded ones too."""
        listed = self.marks.disks
        return tuple(
            disk
            for disk in self.snapshot.disks
            if not listed or disk.disk is None or disk.disk in listed
        )

    @property
    def stamp(self) -> Stamp:
        return self.marks.stamp

    @property
    def taken_at(self) -> datetime:
        return instant_of(self.marks.stamp)

    @property
    def schedules(self) -> tuple[ScheduleId, ...]:
        return self.marks.schedules


@dataclass(slots=True)
class Target:
    """One destination of a job, as it stands for one VM.

    history: what a remote holds of the VM, empty for an SR and a pool, which have no files; None
    if the destination or the VM's part of it was not seen. points: of this job, oldest first.
    replicas: of this job on an SR, interrupted ones included. obstacle: why nothing can be added.
    receiving: an action of ours is adding to it right now. owed, requested: the promises that are
    open here; exporting: a snapshot is there whose point is wanted here; stopped: one is there, and
    why its point is not wanted any more (`due`, `send` and `cancel` fill these in).
    """

    site: Site
    history: History | None
    points: Sequence[Point]
    obstacle: Obstacle | None
    receiving: bool = False
    replicas: Sequence[Replica] = ()
    owed: tuple[Slot, ...] = ()
    requested: datetime | None = None
    exporting: bool = False
    stopped: Reason | None = None

    @property
    def newest(self) -> Point | None:
        return self.points[-1] if self.points else None


@dataclass(slots=True)
class Scope:
    """One job and one VM. matched: the job's selector chooses it; else only leftovers count.

    snapshots: marked for the job, oldest first. rolled: where those of them are points that the
    job made in mode Snapshot, which it is not in any more: nothing is owed there, and what lies
    there leaves as points do; None if there are none. judged: the points that retention has judged
    last, by instants and schedules, and the positions of those that stay.
    """

    job: Job
    pool: PoolName
    vm: Vm
    matched: bool
    snapshots: tuple[MarkedSnapshot, ...]
    targets: tuple[Target, ...]
    rolled: Target | None = None
    judged: tuple[list[datetime], list[tuple[ScheduleId, ...]], Set[int]] | None = None
    _newest: MarkedSnapshot | None = None
    _newest_is_known: bool = field(default=False)

    @property
    def holders(self) -> tuple[Target, ...]:
        """All that holds restore points of the job: its destinations, and what was one."""
        return self.targets if self.rolled is None else (*self.targets, self.rolled)

    @property
    def given_up(self) -> GivenUp | None:
        """What of the job was given up last, if no snapshot tells of it any more."""
        return next((each for each in self.vm.given_up if each.job == self.job.id), None)

    @property
    def enrolled(self) -> bool:
        """Whether the job has ever backed this VM up, as far as can be seen."""
        return bool(self.snapshots) or any(target.points for target in self.targets)

    @property
    def newest_stamp(self) -> Stamp | None:
        """The newest stamp in use for the VM, whatever the job: the next one must be above it.

        Points of all jobs share one directory of a remote, and their files are named by stamp.
        """
        stamps = [target.points[-1].stamp for target in self.targets if target.points]
        stamps += [
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
            whole = (each for each in reversed(self.snapshots) if not self.lacks_a_disk(each))
            self._newest = next(whole, None)
            self._newest_is_known = True
        return self._newest

    def lacks_a_disk(self, snapshot: MarkedSnapshot) -> bool:
        """Say whether a snapshot has lost a disk that it was made of."""
        present = {disk.disk for disk in snapshot.snapshot.disks}
        if None in present:  # a snapshot of a disk that is gone: nobody knows where it belongs
            return True
        if snapshot.marks.disks:
            return not present.issuperset(snapshot.marks.disks)
        # Older marks do not say. A disk that the VM has, and that the last point has, was there.
        before: set[DiskUuid] = set()
        for target in self.targets:
            earlier = [point for point in target.points[-2:] if point.stamp < snapshot.stamp]
            if earlier and isinstance(earlier[-1], RestorePoint):
                before.update(disk.disk for disk in earlier[-1].disks)
        return any(disk.uuid in before and disk.uuid not in present for disk in self.vm.disks)


def scopes_of(world: World, job: Job) -> Iterable[Scope]:
    """Return the job's VMs: those it selects, and those that carry a snapshot of its making."""
    chosen: set[VmUuid] = set()
    for pool in job.pools:
        view = world.pool(pool)
        if isinstance(view, Obstacle):
            continue
        sites = sites_of(world, job, pool)
        for vm in world.roster(view).candidates(job):
            uuid = vm.uuid
            if uuid in chosen:
                continue
            snapshots = _marked(job, vm) if vm.snapshots else ()
            power = PowerState.RUNNING if vm.is_running else vm.power_state
            matched = job.selector.matches(vm.uuid, vm.name, vm.tags, power.value)
            if not matched and not snapshots:
                continue
            chosen.add(uuid)
            targets = tuple(_target(world, job, site, vm, snapshots) for site in sites)
            rolled = _rolled(world, job, pool, vm, snapshots)
            yield Scope(job, pool, vm, matched, snapshots, targets, rolled)


def is_point(marks: Marks, job: Job | None) -> bool:
    """Say whether a snapshot with these marks is a restore point. job: whose they are, if known."""
    return job is not None and (marks.rolling or job.mode is JobMode.SNAPSHOT)


def vm_at(vm_name: str, site: Site) -> str:
    """Name a VM's part of a destination for a person."""
    return f"VM {vm_name} on {site.label}"


def _target(
    world: World, job: Job, site: Site, vm: Vm, snapshots: tuple[MarkedSnapshot, ...]
) -> Target:
    match site.view:
        case Obstacle():
            return Target(site, None, (), site.view)
        case RemoteView():
            return _on_remote(world, job, site, site.view, vm)
        case PoolView() if site.kind is PlaceKind.SR:
            replicas = [
                each for each in world.replicas(site.view, site.sr, vm.uuid) if each.job == job.id
            ]
            return Target(
                site,
                History(vm.uuid, site.view.as_of),
                [each for each in replicas if each.state is ReplicaState.WHOLE],
                site.obstacle,
                world.mode_on_sr(site.pool, site.sr, vm.uuid) is Mode.APPEND,
                replicas,
            )
        case PoolView():
            return _on_pool(world, site, site.view, vm, snapshots)


def _rolled(
    world: World, job: Job, pool: PoolName, vm: Vm, snapshots: tuple[MarkedSnapshot, ...]
) -> Target | None:
    if job.mode is JobMode.SNAPSHOT or not any(each.marks.rolling for each in snapshots):
        return None
    site = pool_site(world, pool, frozenset())
    assert isinstance(site.view, PoolView), "its snapshots were seen"
    points = tuple(each for each in snapshots if each.marks.rolling)
    return _on_pool(world, site, site.view, vm, points)


def _on_pool(
    world: World, site: Site, view: PoolView, vm: Vm, points: tuple[MarkedSnapshot, ...]
) -> Target:
    busy = Obstacle(Reason.VM_BUSY, "an operation on the VM is under way")
    return Target(
        site,
        History(vm.uuid, view.as_of),
        points,
        busy if vm.busy else site.obstacle,
        world.mode_on_pool(site.pool, vm.uuid) is Mode.APPEND,
    )


def _on_remote(world: World, job: Job, site: Site, view: RemoteView, vm: Vm) -> Target:
    history = view.histories.get(vm.uuid)
    receiving = world.mode_on_remote(site.remote, vm.uuid) is Mode.APPEND
    match history:
        case None:
            return Target(site, History(vm.uuid, view.as_of), (), site.obstacle, receiving)
        case Unknown():
            reason = reason_of(history.reason, Reason.REMOTE_UNAVAILABLE)
            return Target(site, None, (), site.obstacle or Obstacle(reason, history.why))
        case History():
            return Target(
                site,
                history,
                [point for point in history.points if point.job == job.id],
                site.obstacle or obstacle_at(history),
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
