"""How many restore points there are, wherever they lie: what a deletion is measured against."""

from reconciler.desired.state import Desired
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import ReplicaState
from reconciler.observed.state import Observed
from reconciler.plan.scope import is_point


def points_total(desired: Desired, observed: Observed) -> int:
    """Count the points of the jobs that are in force, at all places that were seen."""
    jobs = {job.id: job for job in desired.jobs.values()}
    total = 0
    for remote in observed.remotes.values():
        for history in remote.histories.values() if isinstance(remote, RemoteView) else ():
            if isinstance(history, History):
                total += sum(point.job in jobs for point in history.points)
    for pool in observed.pools.values():
        if not isinstance(pool, PoolView):
            continue
        total += sum(
            each.job in jobs and each.state is ReplicaState.WHOLE for each in pool.replicas
        )
        total += sum(
            each.marks is not None and is_point(each.marks, jobs.get(each.marks.job))
            for vm in pool.vms.values()
            for each in vm.snapshots
        )
    return total
