"""Remove what an interrupted replication left: a VM, or a snapshot, that became no restore point.

Nothing is destroyed on the plan's word alone: what is read again must say that it is in the making,
by this job, of this VM, and must not have become a point, or have points, since the plan looked.
A replica that has points stays; where its name says that a transfer goes on, it gets its own back.
"""

from reconciler.executor.pool_objects import find_vm
from reconciler.executor.refusal import Refused
from reconciler.executor.replicas import points_of, remove, require_unused
from reconciler.executor.tools import Tools
from reconciler.observed.replica_marks import IMPORTING, read_unfinished
from reconciler.plan.actions import CleanReplica
from reconciler.plan.reasons import Reason
from reconciler.xapi.client import XapiClient
from reconciler.xapi.records import VmRecord


async def run(action: CleanReplica, tools: Tools) -> None:
    """Remove it with its disks; nothing is done if it is gone. Raises XapiError, Refused."""
    client = await tools.pool(action.target_pool)
    vm = await find_vm(client, action.replica)
    if vm is None:
        return
    if action.rename:
        await _rename(client, vm, action)
        return
    where = f"replica {vm.name} ({vm.uuid})"
    marks = read_unfinished(vm.other_config, vm.uuid, vm.name)
    if marks is None or (marks.job, marks.vm, marks.sr) != (action.job_id, action.vm, action.sr):
        raise Refused(Reason.WORLD_CHANGED, f"{where} is not left over by this job")
    if not vm.is_snapshot and await points_of(client, vm.ref):
        raise Refused(Reason.WORLD_CHANGED, f"{where} has restore points")
    require_unused(vm)
    await remove(client, vm, marks)


async def _rename(client: XapiClient, vm: VmRecord, action: CleanReplica) -> None:
    """Give a replica that has points its name back, unless somebody gave it another meanwhile."""
    points = [] if vm.is_snapshot else await points_of(client, vm.ref)
    if not any((each.job, each.vm) == (action.job_id, action.vm) for each, _ in points):
        why = f"VM {vm.name} ({vm.uuid}) is no replica with points of this job"
        raise Refused(Reason.WORLD_CHANGED, why)
    if vm.name.startswith(IMPORTING):
        await client.call("VM.set_name_label", vm.ref, action.rename)
