"""The resolved desired state: the first argument of the planner.

Manifests arrive one by one and may be wrong; what stands here is whole, defaulted and
cross-checked. What could not be resolved is in `problems`, and whatever a problem touches is
protected: a job that cannot be read is not a job that was deleted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from reconciler.desired.problems import Problem
from reconciler.desired.retention import Retention
from reconciler.desired.schedule import Schedule
from reconciler.desired.selector import Selector
from reconciler.ids import JobId, JobName, PoolName, RemoteName, ScheduleId


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is: `env` names an environment variable, `file` a path. Never the secret."""

    env: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """How to reach a pool. urls: of hosts, tried in order; the master is followed.

    fingerprint: SHA-256 of the accepted certificate (hex), ca: path of a CA bundle; with neither,
    the system's CAs must vouch. exports_max, snapshots_max: at once, on this pool.
    """

    name: PoolName
    urls: tuple[str, ...]
    username: str
    password: SecretRef
    ca: str | None = None
    fingerprint: str | None = None
    exports_max: int = 12
    snapshots_max: int = 1


@dataclass(frozen=True, slots=True)
class Remote:
    """A place for restore points. path: an absolute directory. actions_max: at once."""

    name: RemoteName
    path: str
    read_only: bool = False
    suspend: bool = False
    actions_max: int = 12


class DeletionPolicy(StrEnum):
    RETAIN = "Retain"


@dataclass(frozen=True, slots=True)
class JobSchedule:
    """When, and what of it is kept. deadline: a slot older than this starts no *first* backup."""

    name: str
    id: ScheduleId
    schedule: Schedule
    retention: Retention
    suspend: bool = False
    deadline: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class PruneGuard:
    """A plan that would delete more than this is held until someone approves it.

    percent_max: of a job's points on one remote. points_max: in one plan. good_min: never fewer.
    """

    percent_max: int = 30
    points_max: int = 50
    good_min: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """Desired protection. full_every: a delta becomes a full after so many points; 0 = never.

    run_on_create: a VM without any point is backed up at once instead of at the next slot.
    revision: changes whenever the manifest's meaning does; for people and records.
    """

    name: JobName
    id: JobId
    pools: tuple[PoolName, ...]
    remotes: tuple[RemoteName, ...]
    selector: Selector
    schedules: tuple[JobSchedule, ...]
    full_every: int = 0
    run_on_create: bool = False
    suspend: bool = False
    guard: PruneGuard = PruneGuard()
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    revision: str = ""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run asked for now: each VM of the job is owed a point taken at `at` or later."""

    job: JobName
    at: datetime


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word that the deletions of a held plan may go ahead. deletions: its hash."""

    deletions: str


@dataclass(frozen=True, slots=True)
class Desired:
    """All that should be. problems: what could not be understood; its objects are protected.

    protected_jobs: jobs known by id (last good version, or named in a broken manifest) whose
    points no rule may delete. warnings: not mistakes, but perhaps not what the author means.
    """

    pools: Mapping[PoolName, Pool] = field(default_factory=dict)
    remotes: Mapping[RemoteName, Remote] = field(default_factory=dict)
    jobs: Mapping[JobName, Job] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    requests: tuple[RunRequest, ...] = ()
    approvals: tuple[Approval, ...] = ()
    protected_jobs: frozenset[JobId] = frozenset()
    warnings: tuple[Problem, ...] = ()
