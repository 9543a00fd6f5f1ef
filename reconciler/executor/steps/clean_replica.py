"""Remove what an interrupted replication left: a VM, or a snapshot, that became no restore point.

Nothing is destroyed on the plan's word alone: what is read again must say that it is in the making,
by this job, of this VM, and must not have become a point, or have points, since the plan looked.
"""

from reconciler.executor.pool_objects import find_vm
from reconciler.executor.refusal import Refused
from reconciler.executor.replicas import points_of, remove, require_unused
from reconciler.executor.tools import Tools
from reconciler.observed.replica_marks import read_unfinished
from reconciler.plan.actions import CleanReplica
from reconciler.plan.reasons import Reason


async def run(action: CleanReplica, tools: Tools) -> None:
    """Remove it with its disks; nothing is done if it is gone. Raises XapiError, Refused."""
    client = await tools.pool(action.target_pool)
    vm = await find_vm(client, action.replica)
    if vm is None:
        return
    where = f"replica {vm.name} ({vm.uuid})"
    marks = read_unfinished(vm.other_config, vm.uuid, vm.name)
    if marks is None or (marks.job, marks.vm, marks.sr) != (action.job_id, action.vm, action.sr):
        raise Refused(Reason.WORLD_CHANGED, f"{where} is not left over by this job")
    if not vm.is_snapshot and await points_of(client, vm.ref):
        raise Refused(Reason.WORLD_CHANGED, f"{where} has restore points")
    require_unused(vm)
    await remove(client, vm, marks)
