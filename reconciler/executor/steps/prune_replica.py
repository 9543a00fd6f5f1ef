"""Take a restore point off an SR: a replica's snapshot, or the VM that is the point.

From the first change on it is no point any more, and what an interruption leaves of it is removed
by the next plan. A VM that somebody started, or unblocked, is somebody's by now, and stays; so does
a replica that was to go with its last point, if anybody wrote to it.
"""

import structlog

from reconciler.executor.pool_objects import find_vm, read_vm
from reconciler.executor.refusal import Refused
from reconciler.executor.replica_update import is_as_left
from reconciler.executor.replicas import points_of, remove, require_unused, unmark
from reconciler.executor.tools import Tools
from reconciler.observed.replica_marks import ReplicaMarks, is_ours, read_point, read_unfinished
from reconciler.plan.actions import PruneReplica
from reconciler.plan.reasons import Reason
from reconciler.xapi.client import XapiClient
from reconciler.xapi.records import VmRecord

log = structlog.get_logger(__name__)


async def run(action: PruneReplica, tools: Tools) -> None:
    """Remove the point and its disks; nothing is done if it is gone. Raises XapiError, Refused."""
    client = await tools.pool(action.target_pool)
    vm = await find_vm(client, action.snapshot or action.replica)
    if vm is None:
        return
    marks = _marks(action, vm)
    require_unused(vm)
    replica = await _abandoned(client, action, vm) if action.with_replica else None
    if replica is not None:
        await unmark(client, replica, marks)  # from its last point on it is seen as left over
    await unmark(client, vm, marks)
    await remove(client, vm, marks)
    if replica is not None:
        await remove(client, await read_vm(client, replica.ref), marks)


async def _abandoned(client: XapiClient, action: PruneReplica, point: VmRecord) -> VmRecord | None:
    """The replica that goes with its last point; None if it is gone or somebody's by now."""
    replica = await find_vm(client, action.replica)
    if replica is None or replica.is_snapshot or not is_ours(replica.other_config, replica.uuid):
        return None
    others = [each for _, each in await points_of(client, replica.ref) if each.uuid != point.uuid]
    if others or not await is_as_left(client, replica):
        log.info("replica is kept: it has other points, or is in use", replica=replica.name)
        return None
    return replica


def _marks(action: PruneReplica, vm: VmRecord) -> ReplicaMarks:
    """The marks of the very point that was planned to go, or of what is left of it."""
    where = f"replica {vm.name} ({vm.uuid})"
    marks = read_unfinished(vm.other_config, vm.uuid, vm.name)
    if marks is None:
        marks = read_point(vm.other_config, vm.uuid)
        if not vm.is_snapshot and "start" not in vm.blocked:
            raise Refused(Reason.REPLICA_CHANGED, f"{where} may be started: it is somebody's")
    if vm.is_snapshot != (action.snapshot is not None) or not is_ours(vm.other_config, vm.uuid):
        raise Refused(Reason.WORLD_CHANGED, f"{where} is not marked as ours")
    if marks is None or (marks.job, marks.vm, marks.sr, marks.stamp) != (
        action.job_id,
        action.vm,
        action.sr,
        action.stamp,
    ):
        raise Refused(Reason.WORLD_CHANGED, f"{where} is not the point that was to go")
    return marks
