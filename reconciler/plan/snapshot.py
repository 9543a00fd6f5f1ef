"""What a snapshot of a VM is made like for a job: of which disks, and how consistent.

When one is owed is for `due.py` to say.
"""

from datetime import datetime
from fnmatch import fnmatchcase

from reconciler.desired.state import Consistency, Job, JobMode
from reconciler.ids import DiskUuid, ScheduleId, stamp_of
from reconciler.observed.pool import Vm
from reconciler.plan.actions import Snapshot
from reconciler.plan.reasons import Reason
from reconciler.plan.scope import Scope

NO_BACKUP_MARK = "[NOBAK]"
"""A disk with this in its name is left out, as Xen Orchestra does."""
_CONSISTENCY_TAGS = {
    "xo-offline-backup": Consistency.OFFLINE,  # the stronger promise comes first
    "xo-memory-backup": Consistency.MEMORY,
}


def snapshot_of(
    scope: Scope,
    *,
    due: datetime,
    reason: Reason,
    schedules: tuple[ScheduleId, ...] = (),
    requested: datetime | None = None,
) -> Snapshot:
    """Return the action that snapshots a VM for a job. Its id is right whatever it is for."""
    return Snapshot(
        pool=scope.pool,
        vm=scope.vm.uuid,
        vm_name=scope.vm.name,
        job=scope.job.name,
        job_id=scope.job.id,
        schedules=schedules,
        due=due,
        reason=reason,
        after=scope.newest_stamp,
        consistency=_consistency(scope),
        without=excluded_disks(scope.job, scope.vm),
        rolling=scope.job.mode is JobMode.SNAPSHOT,
        requested=None if requested is None else stamp_of(requested),
    )


def excluded_disks(job: Job, vm: Vm) -> tuple[DiskUuid, ...]:
    """Return the disks of a VM that no point has: by `[NOBAK]` in the name, or as the job says."""
    globs = job.settings.exclude_disks
    return tuple(
        disk.uuid
        for disk in vm.disks
        if NO_BACKUP_MARK in disk.name or any(fnmatchcase(disk.name, glob) for glob in globs)
    )


def _consistency(scope: Scope) -> Consistency:
    """Return how the snapshot is taken: as the VM's tags say, which its owner set; or the job."""
    for tag, consistency in _CONSISTENCY_TAGS.items():
        if tag in scope.vm.tags:
            return consistency
    return scope.job.settings.consistency
