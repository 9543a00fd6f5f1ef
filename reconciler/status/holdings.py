"""What lies where: each job's restore points, for each VM, at each remote and SR that was seen.

One walk over everything that was seen, made once per report: with many jobs on one remote, nobody
walks over all of its points for each of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.ids import JobId, VmUuid
from reconciler.observed.chain import Chains, History, RestorePoint
from reconciler.observed.pool import PoolView
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import Replica, ReplicaState
from reconciler.observed.state import Observed
from reconciler.plan.claims import sr_place


@dataclass(frozen=True, slots=True)
class Spot:
    """A destination: a remote by its name or an SR as `<pool>/<uuid>`; "" for what it is not.

    Neither: the VM's own pool, where snapshots are the points.
    """

    remote: str = ""
    sr: str = ""


@dataclass(frozen=True, slots=True)
class Holding:
    """The points of one job for one VM at one spot.

    taken_at: of the newest whole one, None without any. files: that it stands on, its own counted.
    """

    whole: int
    broken: int
    taken_at: datetime | None
    files: int


NOTHING = Holding(0, 0, None, 0)


@dataclass(frozen=True, slots=True)
class Holdings:
    """by_job: only what holds something. seen: spots that were seen, with the VMs that could not be
    read there.
    """

    by_job: Mapping[JobId, Mapping[Spot, Mapping[VmUuid, Holding]]] = field(default_factory=dict)
    seen: Mapping[Spot, frozenset[VmUuid]] = field(default_factory=dict)

    def of(self, job: JobId, spot: Spot) -> Mapping[VmUuid, Holding]:
        return self.by_job.get(job, {}).get(spot, {})

    def at(self, job: JobId, spot: Spot, vm: VmUuid) -> Holding | None:
        """Return what is there; None if that was not seen."""
        unread = self.seen.get(spot)
        return None if unread is None or vm in unread else self.of(job, spot).get(vm, NOTHING)


def holdings_of(observed: Observed) -> Holdings:
    """Walk over all that was seen."""
    by_job: dict[JobId, dict[Spot, dict[VmUuid, Holding]]] = {}
    seen: dict[Spot, frozenset[VmUuid]] = {}

    def put(job: JobId, spot: Spot, vm: VmUuid, holding: Holding) -> None:
        by_job.setdefault(job, {}).setdefault(spot, {})[vm] = holding

    for remote, view in observed.remotes.items():
        if not isinstance(view, RemoteView):
            continue
        spot, unread = Spot(remote=remote), []
        for vm, history in view.histories.items():
            if not isinstance(history, History):
                unread.append(vm)
                continue
            for job, holding in _of_history(history):
                put(job, spot, vm, holding)
        seen[spot] = frozenset(unread)
    for pool, seen_pool in observed.pools.items():
        if isinstance(seen_pool, PoolView):
            for sr in seen_pool.srs:
                seen[Spot(sr=f"{pool}/{sr}")] = frozenset()
            for (job, spot, vm), replicas in _replicas(seen_pool).items():
                put(job, spot, vm, Holding(len(replicas), 0, replicas[-1].taken_at, 1))
    return Holdings(by_job, seen)


def _broken(history: History, chains: Chains) -> list[RestorePoint]:
    """Return the points that cannot be restored.

    Points in a directory with a begun merge count as whole: readers know how to read them.
    """
    merging = {merge.source.rpartition("/")[0] for merge in history.merges}
    return [
        point
        for point in reversed(history.points)
        if not chains.is_whole(point)
        and not any(disk.path.rpartition("/")[0] in merging for disk in point.disks)
    ]


def _of_history(history: History) -> Iterable[tuple[JobId, Holding]]:
    chains = Chains(history.files)
    broken = {id(point) for point in _broken(history, chains)}
    points: dict[JobId, list[RestorePoint]] = {}
    for point in history.points:
        points.setdefault(point.job, []).append(point)
    for job, mine in points.items():
        whole = [point for point in mine if id(point) not in broken] if broken else mine
        newest = whole[-1] if whole else None
        yield (
            job,
            Holding(
                whole=len(whole),
                broken=len(mine) - len(whole),
                taken_at=None if newest is None else newest.taken_at,
                files=0 if newest is None else _files(newest, chains),
            ),
        )


def _files(point: RestorePoint, chains: Chains) -> int:
    """Count the files below a whole point; while two of them are merged, nobody can say."""
    return max([1, *(chains.depth(disk.path) for disk in point.disks if not point.archive)])


def _replicas(view: PoolView) -> Mapping[tuple[JobId, Spot, VmUuid], Sequence[Replica]]:
    found: dict[tuple[JobId, Spot, VmUuid], list[Replica]] = {}
    for each in view.replicas:
        if each.state is ReplicaState.WHOLE:
            spot = Spot(sr=sr_place(view.name, each.sr, each.vm).name)
            found.setdefault((each.job, spot, each.vm), []).append(each)
    return found
