"""Rule: whatever was shut down for a snapshot runs again, whoever died in between.

The step that shuts a VM down starts it again itself. This is for when it could not: its process
died, or the pool refused. A mark on the VM tells, which stays until the VM runs.
"""

from datetime import timedelta

from reconciler.ids import PoolName
from reconciler.observed.pool import PoolView, PowerState
from reconciler.observed.progress import Mode
from reconciler.plan.draft import Draft
from reconciler.plan.power_on import PowerOn
from reconciler.plan.reasons import Reason
from reconciler.plan.world import World

_PATIENCE = timedelta(hours=1)
"""A guest that was asked to shut down cannot be told to stay, and may take its time. As long, too,
another reconciler is left to start again what it shut down itself."""


def rule(world: World, pool: PoolName, view: PoolView, draft: Draft) -> None:
    """Plan to start what is down, and to forget what is up, unless its snapshot is being made."""
    for vm in view.vms.values():
        mark = vm.shut_down
        if mark is None or world.mode_on_pool(pool, vm.uuid) is Mode.APPEND:
            continue
        is_ours = mark.job in world.jobs_by_id and vm.power_state is PowerState.HALTED
        if not is_ours and draft.now - mark.at < _PATIENCE:
            draft.wake(mark.at + _PATIENCE)
            continue
        draft.do(
            PowerOn(
                pool=pool,
                vm=vm.uuid,
                vm_name=vm.name,
                due=mark.at,
                reason=Reason.SHUT_DOWN_FOR_SNAPSHOT,
            )
        )
