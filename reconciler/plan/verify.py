"""Rule: which restore points are read whole, so that it is known that they can be restored.

Of each VM that a job chooses, on each of its remotes, the newest point that is whole: at once if
none of the job's points there ever was proven, else when three quarters of `maxAge` are over, so
that the proof stays fresh. Which comes first is a matter of debts: the longest unproven.
"""

from datetime import datetime

from reconciler.desired.state import Job
from reconciler.observed.chain import History, RestorePoint, chain_of
from reconciler.observed.progress import PlaceKind
from reconciler.observed.proof import Proof
from reconciler.plan.actions import Verify
from reconciler.plan.draft import Draft
from reconciler.plan.files import directory_of
from reconciler.plan.reasons import Reason
from reconciler.plan.scope import Scope, Target, vm_at
from reconciler.plan.world import CLOCK_TOLERANCE, World


def rule(world: World, scope: Scope, target: Target, draft: Draft) -> None:
    """Plan to prove a VM's points on one remote, if it is time."""
    job, history = scope.job, target.history
    if job.verification is None or job.suspend or history is None or not target.points:
        return
    if target.site.kind is not PlaceKind.REMOTE:
        return
    wake(job, target, draft)
    proof = proof_at(job, target, draft.now)
    due = target.points[0].taken_at if proof is None else proof.at + job.verification.renew_after
    if due > draft.now:
        return
    subject, point = vm_at(scope.vm.name, target.site), _newest_whole(world, target, history)
    if point is None:
        draft.hold(subject, Reason.CHAIN_BROKEN, "it has no point there that is whole")
        return
    merging = {directory_of(merge.target) for merge in history.merges}
    if any(directory_of(disk.path) in merging for disk in point.disks):
        return  # it is finished first
    action = Verify(
        remote=target.site.remote,
        vm=scope.vm.uuid,
        vm_name=scope.vm.name,
        job=job.name,
        job_id=job.id,
        stamp=point.stamp,
        size_bytes=_size(point, history),
        due=due,
        reason=Reason.PROOF_DUE,
    )
    if target.obstacle is None:
        draft.do(action)
    else:
        draft.hold(subject, target.obstacle.reason, target.obstacle.why, action)


def wake(job: Job, target: Target, draft: Draft) -> None:
    """Ask for a new plan when a proof comes to count, is to be renewed, or expires.

    Of a suspended job nothing is proven, but how its proofs stand is told all the same.
    """
    if job.verification is None or target.history is None:
        return
    proof, noted = proof_at(job, target, draft.now), target.history.proofs.get(job.id)
    if noted is not None and proof is None:
        draft.wake(noted.at - CLOCK_TOLERANCE)
    if proof is not None:
        for at in (proof.at + job.verification.renew_after, expires_at(job, proof)):
            if at > draft.now:
                draft.wake(at)


def proof_at(job: Job, target: Target, now: datetime) -> Proof | None:
    """Return the last proof at a destination; one from the future tells nothing."""
    proof = None if target.history is None else target.history.proofs.get(job.id)
    return None if proof is None or proof.at > now + CLOCK_TOLERANCE else proof


def expires_at(job: Job, proof: Proof) -> datetime:
    """Return until when a proof is fresh."""
    assert job.verification is not None, "nobody asked for it"
    return proof.at + job.verification.max_age


def unproven_since(job: Job, target: Target, now: datetime) -> datetime | None:
    """Return since when a destination lacks a fresh proof; None if it has one, or owes none."""
    is_remote = target.site.kind is PlaceKind.REMOTE
    if job.verification is None or not is_remote or not target.points:
        return None
    proof = proof_at(job, target, now)
    if proof is None:
        return target.points[0].taken_at
    expires = expires_at(job, proof)
    return expires if expires <= now else None


def _newest_whole(world: World, target: Target, history: History) -> RestorePoint | None:
    chains = world.chains(target.site.remote, history)
    for point in reversed(target.points):
        if isinstance(point, RestorePoint) and chains.is_whole(point):
            return point
    return None


def _size(point: RestorePoint, history: History) -> int:
    """Estimate what there is to read: of each disk no more than it has, and than its files have."""
    if point.archive:
        return point.size_bytes
    return sum(
        min(
            disk.size_bytes,
            sum(file.data_bytes for file in chain_of(history.files, disk.path)),
        )
        for disk in point.disks
    )
