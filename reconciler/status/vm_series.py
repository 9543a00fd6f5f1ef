"""Metrics of VMs: what each job keeps of each of its VMs, and how old that is. Pure.

Of what was not seen nothing is said: a series ends, rather than that it says something else.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from reconciler.desired.state import Job, JobMode
from reconciler.ids import JobName, PoolName, VmUuid
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import PlaceKind
from reconciler.plan.scope import scopes_of
from reconciler.plan.sites import Site, sites_of
from reconciler.plan.world import World
from reconciler.status.conditions import is_late
from reconciler.status.holdings import Holding, Holdings, Spot
from reconciler.status.metrics import (
    CHAIN_HEALTHY,
    CHAIN_LENGTH,
    RESTORE_POINTS,
    VM_EXPOSURE,
    VM_INFO,
    VM_LAST_SUCCESS,
    VM_NAMES_MAX,
    VM_PROOF,
    VM_PROOF_FRESH,
    VM_RPO_MET,
    VM_UNPROTECTED,
    Family,
)
from reconciler.status.report import Report
from reconciler.status.standing import VmStanding, VmState

Series = list[tuple[tuple[str, ...], float]]

POOL = Spot()


def vm_families(report: Report, now: datetime) -> Iterable[Family]:
    """Return the families with a series for each VM, and the sums over them. now: of ages."""
    world = World(report.desired, report.observed, report.at)
    total = sum(len(standing.vms) for standing in report.standings)
    rows: dict[str, Series] = defaultdict(list)
    for standing in report.standings:
        job = standing.job
        spots = _Spots(world, job, report.holdings)
        for vm in standing.vms:
            name = vm.name if total <= VM_NAMES_MAX else ""
            rows[VM_INFO.name].append(((job.name, vm.vm, vm.name, vm.pool), 1))
            _vm(rows, (job.name, vm.vm, name), job, vm, spots.of(vm), now)
        rows[RESTORE_POINTS.name].extend(_points(job.name, spots))
    rows[VM_UNPROTECTED.name].extend(_unprotected(report))
    for metric in (
        VM_INFO,
        VM_LAST_SUCCESS,
        VM_EXPOSURE,
        VM_RPO_MET,
        CHAIN_LENGTH,
        CHAIN_HEALTHY,
        VM_PROOF,
        VM_PROOF_FRESH,
        RESTORE_POINTS,
        VM_UNPROTECTED,
    ):
        yield Family(metric, rows[metric.name])


def _vm(
    rows: Mapping[str, Series],
    labels: tuple[str, ...],
    job: Job,
    vm: VmStanding,
    held: Mapping[Spot, Holding],
    now: datetime,
) -> None:
    newest: datetime | None = None
    for spot, holding in held.items():
        place = (*labels, spot.remote, spot.sr)
        rows[CHAIN_LENGTH.name].append((place, holding.files))
        rows[CHAIN_HEALTHY.name].append((place, 0 if holding.broken else 1))
        if holding.taken_at is not None:
            rows[VM_LAST_SUCCESS.name].append((place, holding.taken_at.timestamp()))
            newest = max(newest or holding.taken_at, holding.taken_at)
    if newest is not None:
        rows[VM_EXPOSURE.name].append((labels, max(0.0, (now - newest).total_seconds())))
    late = is_late(job, vm, now)
    if late or (promises(job) and vm.state is not VmState.UNKNOWN):
        rows[VM_RPO_MET.name].append((labels, 0 if late else 1))
    for remote, proof in vm.proofs:
        place = (*labels, remote, proof.level.value)
        rows[VM_PROOF.name].append((place, proof.at.timestamp()))
    if not job.suspend and (vm.unproven_since is not None or vm.is_proven):
        rows[VM_PROOF_FRESH.name].append((labels, 1 if vm.is_proven else 0))


def promises(job: Job) -> bool:
    """Say whether a job owes anything by the clock."""
    return not job.suspend and any(not each.suspend for each in job.schedules)


class _Spots:
    """What lies at the destinations of one job, for each of its VMs."""

    def __init__(self, world: World, job: Job, holdings: Holdings) -> None:
        self._world = world
        self._job = job
        self._holdings = holdings
        self._by_pool: dict[PoolName, tuple[Spot, ...]] = {}
        self.snapshots = _snapshots(world, job) if job.mode is JobMode.SNAPSHOT else {}

    def of(self, vm: VmStanding) -> dict[Spot, Holding]:
        """Return what lies at each destination that was seen."""
        if self._job.mode is JobMode.SNAPSHOT:
            return {POOL: self.snapshots[vm.vm]} if vm.vm in self.snapshots else {}
        found = {}
        for spot in self._of_pool(vm.pool):
            holding = self._holdings.at(self._job.id, spot, vm.vm)
            if holding is not None:
                found[spot] = holding
        return found

    def _of_pool(self, pool: PoolName) -> tuple[Spot, ...]:
        spots = self._by_pool.get(pool)
        if spots is None:
            sites = sites_of(self._world, self._job, pool)
            spots = self._by_pool[pool] = tuple(map(_spot_of, sites))
        return spots

    def all(self) -> dict[Spot, Iterable[Holding]]:
        """Return all that lies at each destination that was seen, whoever's VM it is of."""
        if self._job.mode is JobMode.SNAPSHOT:
            return {POOL: self.snapshots.values()} if self.snapshots else {}
        spots = {spot for pool in self._job.pools for spot in self._of_pool(pool)}
        return {
            spot: self._holdings.of(self._job.id, spot).values()
            for spot in sorted(spots, key=lambda each: (each.remote, each.sr))
            if spot in self._holdings.seen
        }


def _spot_of(site: Site) -> Spot:
    return Spot(remote=site.name) if site.kind is PlaceKind.REMOTE else Spot(sr=site.name)


def _snapshots(world: World, job: Job) -> dict[VmUuid, Holding]:
    """Return the snapshots that are the restore points of a job in mode Snapshot."""
    found = {}
    for scope in scopes_of(world, job):
        whole = [each for each in scope.snapshots if not scope.lacks_a_disk(each)]
        found[scope.vm.uuid] = Holding(
            whole=len(whole),
            broken=len(scope.snapshots) - len(whole),
            taken_at=whole[-1].taken_at if whole else None,
            files=1 if whole else 0,
        )
    return found


def _points(job: JobName, spots: _Spots) -> Series:
    series: Series = []
    for spot, holdings in spots.all().items():
        counted = [(each.whole, each.broken) for each in holdings]
        place = (job, spot.remote, spot.sr)
        series.append(((*place, "Whole"), sum(whole for whole, _ in counted)))
        series.append(((*place, "Broken"), sum(broken for _, broken in counted)))
    return series


def _unprotected(report: Report) -> Series:
    chosen: dict[PoolName, set[VmUuid]] = defaultdict(set)
    for standing in report.standings:
        for vm in standing.vms:
            chosen[vm.pool].add(vm.vm)
    return [
        ((pool,), sum(vm not in chosen[pool] for vm in view.vms))
        for pool, view in sorted(report.observed.pools.items())
        if isinstance(view, PoolView)
    ]
