"""Which restore points there are, and which rules keep each: the answer to "why is it here?".

The rules are those of `retention.py`, and what becomes of a point that none of them keeps is what
the plan says of it. Asked for by people, so it may take its time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reconciler.desired.state import Desired, Job
from reconciler.ids import JobName, Stamp, VmUuid
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import PlaceKind
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import Replica, ReplicaState
from reconciler.observed.state import Observed
from reconciler.plan.actions import CleanSnapshot, Prune, PruneReplica
from reconciler.plan.claims import sr_place
from reconciler.plan.plan import Plan
from reconciler.plan.retention import Deletion, good_points
from reconciler.plan.scope import MarkedSnapshot, Scope, Target, scopes_of
from reconciler.plan.sites import Site, all_sites
from reconciler.plan.slots import Point
from reconciler.plan.world import World


@dataclass(frozen=True, slots=True)
class Kept:
    """One restore point of a job at one destination.

    because: what keeps it: "night: daily 2026-08-20"; empty if it is to go. place: for people.
    """

    job: JobName
    vm: VmUuid
    vm_name: str
    place: str
    stamp: Stamp
    taken_at: datetime
    because: tuple[str, ...]


def keeping(desired: Desired, observed: Observed, plan: Plan, now: datetime) -> tuple[Kept, ...]:
    """Say of each point of each job that was seen why it stays, in order of job, VM and place.

    plan: made of the same, at `now`.
    """
    world = World(desired, observed, now)
    fates = _fates(plan)
    found: list[Kept] = []
    for name in sorted(desired.jobs):
        job = desired.jobs[name]
        chosen: set[VmUuid] = set()
        for scope in scopes_of(world, job):
            if scope.matched:
                chosen.add(scope.vm.uuid)
                for target in scope.holders:
                    found += _at(world, scope, target, fates)
        found += _of_no_vm(world, job, chosen)
    return tuple(sorted(found, key=lambda each: (each.job, each.vm_name, each.place, each.stamp)))


def text_of(kept: Sequence[Kept]) -> str:
    """Render for a terminal: a section for each VM at each place, a line for each point."""
    lines: list[str] = []
    last = None
    for each in kept:
        heading = f"{each.vm_name or each.vm} on {each.place} (job {each.job})"
        if heading != last:
            lines += [*([""] if lines else []), heading]
            last = heading
        taken_at = each.taken_at.astimezone(UTC)
        why = "; ".join(each.because) or "nothing keeps it"
        lines.append(f"  {'=' if each.because else '-'} {taken_at:%Y-%m-%d %H:%M:%S}  {why}")
    return "".join(f"{line}\n" for line in lines)


def documents_of(kept: Sequence[Kept]) -> list[dict[str, Any]]:
    """Return the same as JSON-ready values."""
    return [
        {
            "job": each.job,
            "vm": each.vm,
            "vmName": each.vm_name,
            "place": each.place,
            "stamp": each.stamp,
            "takenAt": each.taken_at.isoformat(),
            "keptBecause": list(each.because),
        }
        for each in kept
    ]


_Name = tuple[str, VmUuid | None, str]
"""A place, a VM, and what tells its points apart there."""


def _fates(plan: Plan) -> Mapping[_Name, tuple[str, ...]]:
    """Say of what retention lets go why it stays nevertheless; nothing if it goes."""
    fates: dict[_Name, tuple[str, ...]] = {
        _name_of(action): () for action in plan.actions if isinstance(action, Deletion)
    }
    for held in plan.held:
        if isinstance(held.action, Deletion):
            fates[_name_of(held.action)] = (f"held: {held.reason}: {held.why}",)
    return fates


def _name_of(action: Deletion) -> _Name:
    match action:
        case Prune():
            return action.remote, action.vm, action.stamp
        case PruneReplica():
            place = sr_place(action.target_pool, action.sr, action.vm).name
            return place, action.vm, action.snapshot or action.replica
        case CleanSnapshot():
            return action.pool, action.vm, action.snapshot or ""


def _name_at(site: Site, vm: VmUuid, point: Point) -> _Name:
    match point:
        case Replica():
            return site.name, vm, point.snapshot or point.replica
        case MarkedSnapshot():
            return site.name, vm, point.uuid
        case _:
            return site.name, vm, point.stamp


def _at(
    world: World, scope: Scope, target: Target, fates: Mapping[_Name, tuple[str, ...]]
) -> Iterable[Kept]:
    """Say it of the points of one VM at one destination."""
    if target.history is None:
        return
    good = good_points(world, scope, target)
    rules = dict(zip(map(id, good), rules_of(scope.job, good, world.now), strict=True))
    for point in target.points:
        damaged = not isinstance(point, Replica) or point.ours
        because: Sequence[str] = rules.get(id(point), [_DAMAGED if damaged else _OF_ANOTHER])
        if not because:
            name = _name_at(target.site, scope.vm.uuid, point)
            stays = _GONE_ON_FROM if target is scope.rolled else _IN_THE_WAY
            because = fates.get(name, (_SUSPENDED if scope.job.suspend else stays,))
        yield _kept(scope.job, scope.vm.uuid, scope.vm.name, target.site, point, because)


_DAMAGED = "it cannot be restored, and does not count: a person decides"
_OF_ANOTHER = "another tool made it under the job's id: it is never removed here"
_SUSPENDED = "the job is suspended"
_IN_THE_WAY = "nothing leaves here before the VM has its new point, and all of it was read"
_GONE_ON_FROM = "the next backup goes on from it, or not all of the job's destinations are seen"
_NOT_CHOSEN = "the job does not choose its VM any more, or the VM was not seen"
_OF_NO_SCHEDULE = "made by hand, or for a schedule that the job has no more"


def rules_of(job: Job, points: Sequence[Point], now: datetime) -> list[list[str]]:
    """Name the rules that keep each of the good points of a VM at a place, oldest first."""
    found: list[list[str]] = [[] for _ in points]
    known = {schedule.id for schedule in job.schedules}
    for index, point in enumerate(points):
        if not known.intersection(point.schedules):
            found[index].append(_OF_NO_SCHEDULE)
    for schedule in job.schedules:
        mine = [index for index, point in enumerate(points) if schedule.id in point.schedules]
        if schedule.suspend:
            for index in mine:
                found[index].append(f"{schedule.name}: the schedule is suspended")
            continue
        stay = schedule.retention.keep([points[index].taken_at for index in mine], now)
        for position in sorted(stay):
            found[mine[position]] += [f"{schedule.name}: {rule}" for rule in stay[position]]
    return found


def _of_no_vm(world: World, job: Job, chosen: set[VmUuid]) -> Iterable[Kept]:
    """Name the points of VMs that the job does not choose, or that were not seen: all stay."""
    for site in all_sites(world, job):
        for point, vm, name in _points_at(world, site, job):
            if vm not in chosen:
                yield _kept(job, vm, name, site, point, [_NOT_CHOSEN])


def _points_at(world: World, site: Site, job: Job) -> Iterable[tuple[Point, VmUuid, str]]:
    match site.view:
        case RemoteView():
            for history in site.view.histories.values():
                for point in history.points if isinstance(history, History) else ():
                    if point.job == job.id:
                        yield point, point.vm, point.vm_name
        case PoolView() if site.kind is PlaceKind.SR:
            for each in site.view.replicas:
                if (each.job, each.sr, each.state) == (job.id, site.sr, ReplicaState.WHOLE):
                    yield each, each.vm, each.vm_name
        case _:
            return


def _kept(
    job: Job, vm: VmUuid, vm_name: str, site: Site, point: Point, because: Sequence[str]
) -> Kept:
    return Kept(
        job=job.name,
        vm=vm,
        vm_name=vm_name,
        place=site.label,
        stamp=point.stamp,
        taken_at=point.taken_at,
        because=tuple(because),
    )
