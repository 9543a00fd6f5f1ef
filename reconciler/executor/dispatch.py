"""Which step carries out which action: the one table of it, checked for completeness by types."""

from typing import assert_never

from reconciler.executor.steps import (
    archive,
    clean_files,
    clean_replica,
    clean_restore,
    clean_snapshot,
    copy_vm,
    export,
    merge,
    power_on,
    prune,
    prune_replica,
    replicate,
    restore_disk,
    restore_vm,
    snapshot,
    verify,
)
from reconciler.executor.tools import Tools
from reconciler.plan.actions import (
    Action,
    Archive,
    CleanFiles,
    CleanReplica,
    CleanSnapshot,
    CopyVm,
    Export,
    Merge,
    Prune,
    PruneReplica,
    Replicate,
    Snapshot,
    Verify,
)
from reconciler.plan.power_on import PowerOn
from reconciler.plan.restore_actions import CleanRestore, RestoreDisk, RestoreVm


async def carry_out(action: Action, tools: Tools) -> None:  # noqa: PLR0912 (it is a table)
    """Run the action's step. Raises whatever the step's crafts raise."""
    match action:
        case Snapshot():
            await snapshot.run(action, tools)
        case PowerOn():
            await power_on.run(action, tools)
        case Export():
            await export.run(action, tools)
        case Replicate():
            await replicate.run(action, tools)
        case PruneReplica():
            await prune_replica.run(action, tools)
        case CleanReplica():
            await clean_replica.run(action, tools)
        case CopyVm():
            await copy_vm.run(action, tools)
        case Archive():
            await archive.run(action, tools)
        case Merge():
            await merge.run(action, tools)
        case Prune():
            await prune.run(action, tools)
        case Verify():
            await verify.run(action, tools)
        case CleanFiles():
            await clean_files.run(action, tools)
        case CleanSnapshot():
            await clean_snapshot.run(action, tools)
        case CleanRestore():
            await clean_restore.run(action, tools)
        case RestoreVm():
            await restore_vm.run(action, tools)
        case RestoreDisk():
            await restore_disk.run(action, tools)
        case _:
            assert_never(action)
