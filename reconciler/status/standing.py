"""How each VM of each job stands: kept, due, held, new or out of sight, read off world and plan.

The plan is the judge of what is owed; this only sorts VMs by what it says about them. A VM is
*protected* if nothing is owed to it at any destination of its job, and all of them were seen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.desired.state import Desired, Job
from reconciler.ids import JobId, JobName, PoolName, RemoteName, VmUuid
from reconciler.observed.progress import PlaceKind
from reconciler.observed.proof import Proof
from reconciler.observed.state import Observed
from reconciler.plan.actions import Sending, Snapshot
from reconciler.plan.plan import Plan
from reconciler.plan.reasons import Reason
from reconciler.plan.scope import Scope, scopes_of
from reconciler.plan.sites import all_sites
from reconciler.plan.verify import proof_at, unproven_since
from reconciler.plan.world import Obstacle, World


class VmState(StrEnum):
    PROTECTED = "Protected"
    DUE = "Due"  # a snapshot or an export is planned or running
    HELD = "Held"  # one is owed, and something is in the way
    NEW = "New"  # there is no point yet, and the first slot is yet to come
    UNKNOWN = "Unknown"  # a destination, or the VM's part of it, was not seen
    SUSPENDED = "Suspended"  # the job is


@dataclass(frozen=True, slots=True)
class VmStanding:
    """One VM of one job. last_taken_at: of its newest point at any destination that was seen.

    behind_since: when its oldest open debt fell due. points: at all destinations together.
    remotes_seen, remotes_with_points: destinations, SRs included. proofs: the last at each remote
    that is seen to have points. unproven_since: since when one of those has none that is young
    enough. proofs_unseen: why not all of them are known, "" if they are. reason, why: what is in
    the way, "" if nothing.
    """

    job: JobName
    vm: VmUuid
    name: str
    pool: PoolName
    state: VmState
    last_taken_at: datetime | None
    behind_since: datetime | None = None
    points: int = 0
    remotes_seen: int = 0
    remotes_with_points: int = 0
    proofs: tuple[tuple[RemoteName, Proof], ...] = ()
    unproven_since: datetime | None = None
    proofs_unseen: str = ""
    reason: str = ""
    why: str = ""

    @property
    def is_proven(self) -> bool:
        """Whether a young enough proof is known at each remote that holds points of it."""
        return bool(self.proofs) and self.unproven_since is None and not self.proofs_unseen


@dataclass(frozen=True, slots=True)
class JobStanding:
    """One job. unseen: its pools and destinations that were not seen, each with why. places: its
    destinations, for people.
    """

    job: Job
    vms: tuple[VmStanding, ...]
    unseen: tuple[str, ...]
    next_slot: datetime | None
    places: tuple[str, ...] = ()

    def count(self, *states: VmState) -> int:
        return sum(vm.state in states for vm in self.vms)

    @property
    def last_taken_at(self) -> datetime | None:
        return max((vm.last_taken_at for vm in self.vms if vm.last_taken_at), default=None)


def standings(desired: Desired, observed: Observed, plan: Plan, at: datetime) -> list[JobStanding]:
    """Sort every VM of every job, in order of their names. at: when the plan was made."""
    world = World(desired, observed, at)
    debts = _debts(plan)
    return [_job(world, desired.jobs[name], debts) for name in sorted(desired.jobs)]


@dataclass(frozen=True, slots=True)
class _Debt:
    due: datetime
    reason: str = ""
    why: str = ""


def _debts(plan: Plan) -> Mapping[tuple[JobId, VmUuid], _Debt]:
    """Return the oldest debt of each VM; one that is held says so before one that is not."""
    debts: dict[tuple[JobId, VmUuid], _Debt] = {}
    held = ((each.action, each.reason, each.why) for each in plan.held)
    planned = ((action, "", "") for action in plan.actions)
    for action, reason, why in (*held, *planned):
        if not isinstance(action, Snapshot | Sending) or reason is Reason.RUN_CANCELLED:
            continue  # what somebody cancelled counts as dealt with
        key = action.job_id, action.vm
        known = debts.get(key)
        if known is None:
            debts[key] = _Debt(action.due, reason, why)
        elif action.due < known.due:
            debts[key] = _Debt(action.due, known.reason or reason, known.why or why)
    return debts


def _job(world: World, job: Job, debts: Mapping[tuple[JobId, VmUuid], _Debt]) -> JobStanding:
    vms = [
        _vm(scope, debts.get((job.id, scope.vm.uuid)), world.now)
        for scope in scopes_of(world, job)
        if scope.matched
    ]
    upcoming = [
        schedule.schedule.next_due(world.now)
        for schedule in job.schedules
        if not schedule.suspend and not job.suspend
    ]
    return JobStanding(
        job=job,
        vms=tuple(sorted(vms, key=lambda vm: (vm.name, vm.vm))),
        unseen=tuple(_unseen(world, job)),
        next_slot=min((each for each in upcoming if each.year < datetime.max.year), default=None),
        places=tuple(site.label for site in all_sites(world, job)),
    )


def _unseen(world: World, job: Job) -> Iterable[str]:
    for pool in job.pools:
        view = world.pool(pool)
        if isinstance(view, Obstacle):
            yield f"pool {pool}: {view.why}"
    for site in all_sites(world, job):
        if isinstance(site.view, Obstacle) and site.kind is not PlaceKind.POOL:
            yield f"{site.label}: {site.view.why}"


def _vm(scope: Scope, debt: _Debt | None, now: datetime) -> VmStanding:
    newest = [target.points[-1].taken_at for target in scope.targets if target.points]
    unseen = [target for target in scope.targets if target.history is None]
    reason, why = "", ""
    if scope.job.suspend:
        state = VmState.SUSPENDED
    elif debt is not None:
        state = VmState.HELD if debt.reason else VmState.DUE
        reason, why = debt.reason, debt.why
    elif unseen:
        state = VmState.UNKNOWN
        assert unseen[0].obstacle is not None, "what is not seen has a reason"
        reason, why = unseen[0].obstacle.reason, unseen[0].obstacle.why
    elif not newest:
        state, reason = VmState.NEW, Reason.WAITING_FOR_SLOT
    else:
        state = VmState.PROTECTED
    proofs, unproven = _proven(scope, now)
    return VmStanding(
        job=scope.job.name,
        vm=scope.vm.uuid,
        name=scope.vm.name,
        pool=scope.pool,
        state=state,
        last_taken_at=max(newest, default=None),
        behind_since=None if debt is None else debt.due,
        points=sum(len(target.points) for target in scope.targets),
        remotes_seen=len(scope.targets) - len(unseen),
        remotes_with_points=len(newest),
        proofs=proofs,
        unproven_since=unproven,
        proofs_unseen=_proofs_unseen(scope),
        reason=reason,
        why=why,
    )


def _proven(
    scope: Scope, now: datetime
) -> tuple[tuple[tuple[RemoteName, Proof], ...], datetime | None]:
    """Return the last proof at each remote with points, and since when any of them lacks one."""
    if scope.job.verification is None:
        return (), None
    proofs = tuple(
        (target.site.remote, proof)
        for target in scope.targets
        if target.points and (proof := proof_at(scope.job, target, now)) is not None
    )
    lacking = [unproven_since(scope.job, target, now) for target in scope.targets]
    return proofs, min((since for since in lacking if since is not None), default=None)


def _proofs_unseen(scope: Scope) -> str:
    """Say why nobody knows what is proven at one of the remotes, whatever else is in the way."""
    if scope.job.verification is None:
        return ""
    for target in scope.targets:
        if target.history is None and target.site.kind is PlaceKind.REMOTE:
            assert target.obstacle is not None, "what is not seen has a reason"
            return target.obstacle.why
    return ""
