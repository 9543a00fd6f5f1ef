"""A job's destinations, found in the world: remotes, SRs, and in mode Snapshot the pool itself.

An SR is named by its uuid, or by a name that no other SR of its pool has; one that is not found
is a destination all the same, of which nothing is known.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from reconciler.desired.state import Destination, Job, JobMode, SrTarget
from reconciler.ids import PoolName, RemoteName, ScheduleId, SrUuid
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import PlaceKind
from reconciler.observed.remote import RemoteView
from reconciler.plan.claims import pool_address, sr_address, sr_name
from reconciler.plan.reasons import Reason
from reconciler.plan.world import Obstacle, World, obstacle_of


@dataclass(frozen=True, slots=True)
class Site:
    """One destination of a job.

    name: of the remote or the pool; of an SR, `<pool>/<uuid>`. label: for people. schedules: those
    whose points are owed here. view: an Obstacle if it was not seen. obstacle: why nothing is
    made here just now, whatever the VM. sr_name: of an SR, if no other of its pool is called so.
    """

    kind: PlaceKind
    name: str
    label: str
    schedules: frozenset[ScheduleId]
    view: RemoteView | PoolView | Obstacle
    obstacle: Obstacle | None
    sr_name: str = ""

    @property
    def key(self) -> str:
        """Name it among all the destinations of a job."""
        return self.name if self.kind is PlaceKind.REMOTE else f"{self.kind} {self.name}"

    @property
    def place(self) -> str:
        """Name it in the names of points that lie here."""
        match self.kind:
            case PlaceKind.REMOTE:
                return self.name
            case PlaceKind.SR:
                return sr_address(self.pool, self.name.rpartition("/")[2], self.sr_name)
            case PlaceKind.POOL:
                return pool_address(self.pool)

    @property
    def remote(self) -> RemoteName:
        assert self.kind is PlaceKind.REMOTE, "only a remote has files"
        return RemoteName(self.name)

    @property
    def pool(self) -> PoolName:
        assert self.kind is not PlaceKind.REMOTE, "a remote is of no pool"
        return PoolName(self.name.rpartition("/")[0] if self.kind is PlaceKind.SR else self.name)

    @property
    def sr(self) -> SrUuid:
        assert self.kind is PlaceKind.SR, "only an SR has a uuid"
        return SrUuid(self.name.rpartition("/")[2])


def sites_of(world: World, job: Job, pool: PoolName) -> tuple[Site, ...]:
    """Return the destinations of a job for VMs of a pool; one that it names twice, once."""
    if job.mode is JobMode.SNAPSHOT:
        return (pool_site(world, pool, frozenset(schedule.id for schedule in job.schedules)),)
    found: dict[tuple[PlaceKind, str], Site] = {}
    for destination in job.destinations:
        site = _site(world, job, destination, pool)
        known = found.get((site.kind, site.name))
        if known is not None:
            site = replace(site, schedules=site.schedules | known.schedules)
        found[site.kind, site.name] = site
    return tuple(found.values())


def pool_site(world: World, pool: PoolName, schedules: frozenset[ScheduleId]) -> Site:
    """Return a pool as a place where snapshots are the restore points."""
    view = world.pool(pool)
    obstacle = view if isinstance(view, Obstacle) else None
    return Site(PlaceKind.POOL, pool, f"pool {pool}", schedules, view, obstacle)


def all_sites(world: World, job: Job) -> Iterable[Site]:
    """Return the destinations of a job for VMs of all its pools, each once."""
    found = {
        (site.kind, site.name): site for pool in job.pools for site in sites_of(world, job, pool)
    }
    return found.values()


def _site(world: World, job: Job, destination: Destination, pool: PoolName) -> Site:
    schedules = frozenset(
        schedule.id for schedule in job.schedules if destination in job.destinations_of(schedule)
    )
    if isinstance(destination, SrTarget):
        return _sr_site(world, destination, schedules, pool)
    view = world.remote(destination)
    obstacle = obstacle_of(world, destination)
    return Site(PlaceKind.REMOTE, destination, f"remote {destination}", schedules, view, obstacle)


def _sr_site(
    world: World, destination: SrTarget, schedules: frozenset[ScheduleId], pool: PoolName
) -> Site:
    home = destination.pool or pool
    view = world.pool(home)
    unfound = f"{home}/{destination.sr}", f"SR {destination.sr} of pool {home}"
    if isinstance(view, Obstacle):
        unseen = Obstacle(view.reason, f"pool {home}: {view.why}")
        return Site(PlaceKind.SR, *unfound, schedules, unseen, unseen)
    sr = sr_called(view, destination.sr)
    if isinstance(sr, Obstacle):
        return Site(PlaceKind.SR, *unfound, schedules, sr, sr)
    name = view.sr_name(sr)
    label = sr_name(home, sr, name)
    return Site(PlaceKind.SR, f"{home}/{sr}", label, schedules, view, None, name)


def sr_called(view: PoolView, word: str) -> SrUuid | Obstacle:
    """Find the one SR of a pool that has this uuid or name, or say why none is meant."""
    if word in view.srs:
        return SrUuid(word)
    called = [sr.uuid for sr in view.srs.values() if sr.name == word]
    if len(called) == 1:
        return called[0]
    count = f"{len(called)} SRs" if called else "no SR"
    hint = "; name it by its uuid" if called else ""
    return Obstacle(Reason.SR_UNKNOWN, f"pool {view.name} has {count} called so{hint}")
