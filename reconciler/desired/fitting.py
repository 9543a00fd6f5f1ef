"""Objects cut to what is in force: they never name what is not there."""

from collections.abc import Callable
from dataclasses import replace

from reconciler.desired.clashes import Value
from reconciler.desired.document import Identity
from reconciler.desired.manifest import JOB, POOL, REMOTE
from reconciler.desired.run import RunOrder
from reconciler.desired.state import Destination, Job, JobSchedule, Restore, SrTarget


def needs_of(owner: Identity, value: Value) -> list[Identity]:
    """Name what an object refers to: it is of the object's own namespace."""
    needs: list[tuple[str, str]] = []
    match value:
        case Job():
            needs += [(POOL, name) for name in value.pools]
            needs += [(REMOTE, name) for name in value.remotes]
            needs += [(POOL, sr.pool) for sr in value.srs if sr.pool is not None]
        case Restore():
            needs += [(POOL, value.pool)]
            needs += [(REMOTE, value.remote)] if value.remote is not None else []
        case RunOrder():
            needs += [(JOB, value.job)]
        case _:
            pass
    return [_named(kind, owner, name) for kind, name in needs]


def _named(kind: str, owner: Identity, full_name: str) -> Identity:
    return Identity(kind, owner.namespace, full_name.rpartition("/")[2])


def fitted(owner: Identity, job: Job, in_force: Callable[[Identity], bool]) -> Job | None:
    """Leave out what is not in force; None: no pool, or no destination, is left.

    A schedule none of whose destinations is left is suspended: it did not mean all of the
    job's, and a snapshot that goes nowhere is no backup.
    """

    def is_there(kind: str, name: str) -> bool:
        return in_force(_named(kind, owner, name))

    def reached(destination: Destination) -> bool:
        if isinstance(destination, SrTarget):
            return destination.pool is None or is_there(POOL, destination.pool)
        return is_there(REMOTE, destination)

    left = replace(
        job,
        pools=tuple(pool for pool in job.pools if is_there(POOL, pool)),
        remotes=tuple(remote for remote in job.remotes if reached(remote)),
        srs=tuple(sr for sr in job.srs if reached(sr)),
        schedules=tuple(_fitted(schedule, reached) for schedule in job.schedules),
    )
    return left if left.pools and (left.destinations or not job.destinations) else None


def _fitted(schedule: JobSchedule, reached: Callable[[Destination], bool]) -> JobSchedule:
    if schedule.destinations is None:
        return schedule
    left = frozenset(one for one in schedule.destinations if reached(one))
    lost = bool(schedule.destinations) and not left
    return replace(schedule, destinations=left, suspend=schedule.suspend or lost)
