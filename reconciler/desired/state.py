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
from reconciler.desired.run_history import USUAL, RunHistory
from reconciler.desired.schedule import Schedule
from reconciler.desired.selector import Selector
from reconciler.desired.verification import Verification
from reconciler.ids import (
    JobId,
    JobName,
    PoolName,
    RemoteName,
    RestoreId,
    RestoreName,
    RunId,
    ScheduleId,
    Stamp,
)


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is: in an environment variable, a file or a Kubernetes Secret. Never itself.

    env: the variable's name. file: a path. secret, key: the Secret's name and which of its entries;
    namespace: that of the object that refers to it, given with `secret` alone.
    """

    env: str | None = None
    file: str | None = None
    secret: str | None = None
    key: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """How to reach a pool. urls: of hosts, tried in order; the master is followed.

    fingerprint: SHA-256 of the accepted certificate (hex), ca: path of a CA bundle; with neither,
    the system's CAs must vouch. exports_max, snapshots_max: at once, on this pool; replicas_max:
    replications at once into one of its SRs. rate_bytes_per_s: of all exports together.
    """

    name: PoolName
    urls: tuple[str, ...]
    username: str
    password: SecretRef
    ca: str | None = None
    fingerprint: str | None = None
    exports_max: int = 12
    snapshots_max: int = 1
    replicas_max: int = 4
    rate_bytes_per_s: int | None = None


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A directory. mount_point: it must be one, or the remote counts as not there."""

    path: str
    mount_point: bool = False


class MountedBy(StrEnum):
    SYSTEM = "System"  # fstab, a CSI volume: verified, never mounted by us
    OPERATOR = "Operator"


@dataclass(frozen=True, slots=True)
class NfsPlace:
    """An NFS share. path: where the system mounts it; None where the operator does."""

    server: str
    export: str
    path: str | None = None
    mounted_by: MountedBy = MountedBy.SYSTEM
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SmbPlace:
    """An SMB share. directory: below the share. path: as `NfsPlace.path`."""

    server: str
    share: str
    directory: str = ""
    path: str | None = None
    mounted_by: MountedBy = MountedBy.SYSTEM
    username: str = ""
    domain: str = ""
    password: SecretRef | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket, and what all keys begin with. endpoint: URL of any S3-compatible server."""

    endpoint: str
    bucket: str
    access_key: SecretRef
    secret_key: SecretRef
    prefix: str = ""
    region: str = "us-east-1"
    ca: str | None = None
    virtual_host: bool = False


Place = LocalPlace | NfsPlace | SmbPlace | S3Place


class DiskLayout(StrEnum):
    FILES = "Files"  # a disk is one VHD file
    BLOCKS = "Blocks"  # a disk is a directory of compressed blocks, named by an alias


@dataclass(frozen=True, slots=True)
class Remote:
    """A place for restore points. actions_max: at once.

    layout: of disks that are written; both are read. encryption: of the passphrase, 32 bytes.
    identity: what the place's identity file must say; None: what it said when first seen.
    """

    name: RemoteName
    place: Place
    read_only: bool = False
    suspend: bool = False
    actions_max: int = 12
    layout: DiskLayout = DiskLayout.FILES
    encryption: SecretRef | None = None
    identity: str | None = None
    rate_bytes_per_s: int | None = None

    @property
    def path(self) -> str | None:
        """The directory, of a place that is one and is known by name."""
        return None if isinstance(self.place, S3Place) else self.place.path


def secrets_of(settings: Pool | Remote) -> frozenset[SecretRef]:
    """Return the secrets that it takes to open a pool or a remote."""
    match settings:
        case Pool(password=password):
            return frozenset({password})
        case Remote(place=place, encryption=key):
            named: tuple[SecretRef | None, ...] = ()
            match place:
                case SmbPlace():
                    named = (place.password,)
                case S3Place(access_key=access, secret_key=secret):
                    named = (access, secret)
            return frozenset(one for one in (*named, key) if one is not None)


class DeletionPolicy(StrEnum):
    RETAIN = "Retain"


@dataclass(frozen=True, slots=True)
class SrTarget:
    """An SR for replicas. pool: None is the VM's own. sr: its uuid, or a name only it has."""

    sr: str
    pool: PoolName | None = None


Destination = RemoteName | SrTarget


@dataclass(frozen=True, slots=True)
class JobSchedule:
    """When, where to, and what of it is kept.

    destinations: None is all of the job's. deadline: a slot older than this starts no *first*
    backup.
    """

    name: str
    id: ScheduleId
    schedule: Schedule
    retention: Retention
    suspend: bool = False
    deadline: timedelta = timedelta(hours=1)
    destinations: frozenset[Destination] | None = None


class JobMode(StrEnum):
    INCREMENTAL = "Incremental"  # chains of disks on remotes, replicas that are updated on SRs
    FULL = "Full"  # an archive of the whole VM each time, on remotes and on SRs
    SNAPSHOT = "Snapshot"  # nothing leaves the pool


class Consistency(StrEnum):
    CRASH = "Crash"  # as if the power had failed
    MEMORY = "Memory"  # with the VM's memory (XAPI calls it a checkpoint)
    OFFLINE = "Offline"  # the VM is shut down for the snapshot, and started again


class Compression(StrEnum):
    """Of archives."""

    NONE = "None"
    GZIP = "Gzip"
    ZSTD = "Zstd"


class AfterCancel(StrEnum):
    """What becomes of the snapshot and of what was sent of a run that was cancelled or too slow."""

    DISCARD = "Discard"
    KEEP = "Keep"  # for a later run to resume


@dataclass(frozen=True, slots=True)
class Timeouts:
    """After which a try is cancelled; None: never.

    vm: one action for one VM. run: from the snapshot to the last of its points. stall: without a
    byte in either direction.
    """

    vm: timedelta | None = None
    run: timedelta | None = None
    stall: timedelta | None = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a job's restore points are made.

    detach: a destination that held up the others of its run for longer is dropped, and gets its
    point later. exclude_disks: globs of disk names; `[NOBAK]` in a name always excludes.
    vms_max, disks_max: of the job at once; of one VM at once. 0: no limit but the pool's.
    """

    consistency: Consistency = Consistency.CRASH
    compression: Compression = Compression.NONE
    timeouts: Timeouts = Timeouts()
    after_cancel: AfterCancel = AfterCancel.DISCARD
    detach: timedelta | None = None
    exclude_disks: tuple[str, ...] = ()
    vms_max: int = 0
    disks_max: int = 0
    rate_bytes_per_s: int | None = None


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

    remotes, srs: the destinations; none in mode Snapshot. run_on_create: a VM without any point is
    backed up at once, not at the next slot. revision: changes with the manifest's meaning.
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
    mode: JobMode = JobMode.INCREMENTAL
    srs: tuple[SrTarget, ...] = ()
    settings: Settings = Settings()
    history: RunHistory = USUAL
    verification: Verification | None = None

    @property
    def destinations(self) -> tuple[Destination, ...]:
        return (*self.remotes, *self.srs)

    def destinations_of(self, schedule: JobSchedule) -> tuple[Destination, ...]:
        """The destinations that a schedule's points go to."""
        if schedule.destinations is None:
            return self.destinations
        return tuple(each for each in self.destinations if each in schedule.destinations)


class MacAddresses(StrEnum):
    """Of a restored VM's interfaces."""

    KEEP = "Keep"  # unless the VM that they are of is still on the pool
    NEW = "New"


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """Interfaces of one network come to another: names or uuids. source: "*" for all others."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Restore:
    """One restore point that is to be made a new VM, once.

    id: on all that is made for it. vm: uuid or name. stamp: None is the newest point, not after
    `as_of`. remote: None is any. sr: uuid or name; None is the pool's default. asked_at: None if
    nobody can tell. revision: differs whenever something else would be restored.
    """

    name: RestoreName
    id: RestoreId
    vm: str
    pool: PoolName
    stamp: Stamp | None = None
    as_of: datetime | None = None
    remote: RemoteName | None = None
    sr: str | None = None
    networks: tuple[NetworkChoice, ...] = ()
    mac: MacAddresses = MacAddresses.KEEP
    vm_name: str | None = None
    start: bool = False
    suspend: bool = False
    asked_at: datetime | None = None
    revision: str = ""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run asked for now: each VM of the job is owed a point taken at `at` or later."""

    job: JobName
    at: datetime


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A person's word that a run is to end, and counts as dealt with. at: when said, if known."""

    run: RunId
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """A person's wish that pools and remotes are looked at again now. token: another, another."""

    token: str
    pools: frozenset[PoolName] = frozenset()
    remotes: frozenset[RemoteName] = frozenset()


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
    cancellations: tuple[Cancellation, ...] = ()
    restores: Mapping[RestoreName, Restore] = field(default_factory=dict)
    looks: tuple[Look, ...] = ()
