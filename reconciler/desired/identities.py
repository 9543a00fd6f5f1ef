"""Ids of jobs, schedules and restores: made from names, so that they are the same on every machine.

A restore point carries the id of its job and schedules for as long as it lies on a remote; so the
way they are made is part of the format and never changes. A manifest may pin an id instead, to
adopt what Xen Orchestra or a job of another name has made.
"""

from uuid import UUID, uuid5

from reconciler.desired.document import Identity
from reconciler.ids import UUID as UUID_TEXT
from reconciler.ids import JobId, RestoreId, ScheduleId

_SPACE = UUID("4a5ee7a4-5c94-5b1b-9b6b-6d2f6c2a1d10")  # never changes, means nothing


def job_id(identity: Identity, pinned: str | None) -> JobId:
    return JobId(pinned or str(uuid5(_SPACE, f"{identity.namespace}/{identity.name}")))


def schedule_id(job: JobId, name: str, pinned: str | None) -> ScheduleId:
    """Derive from the job's id: a job that keeps its id under a new name keeps its schedules."""
    return ScheduleId(pinned or str(uuid5(UUID(job), name)))


def restore_id(identity: Identity, uid: str) -> RestoreId:
    """The server's uid, so that an object made anew is another restore; in a file, of the name."""
    if UUID_TEXT.fullmatch(uid):
        return RestoreId(uid)
    return RestoreId(str(uuid5(_SPACE, f"{identity.kind}/{identity.namespace}/{identity.name}")))
