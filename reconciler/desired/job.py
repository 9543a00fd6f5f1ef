"""Kind BackupJob: which VMs are protected, when, where to, and what is kept."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from reconciler.desired.document import Identity
from reconciler.desired.envelope import Fields, LabelName, Reference, Span, Text, Uuid
from reconciler.desired.identities import job_id, schedule_id
from reconciler.desired.retention import Retention
from reconciler.desired.schedule import Schedule, check_cron, check_zone
from reconciler.desired.selector import Selector
from reconciler.desired.state import DeletionPolicy, Job, JobSchedule, PruneGuard
from reconciler.ids import JobId, JobName, PoolName, RemoteName


def _cron(text: str) -> str:
    cron = " ".join(text.split())
    check_cron(cron)
    return cron


def _zone(text: str) -> str:
    check_zone(text)
    return text


def _mode(text: object) -> object:
    if text in ("Snapshot", "Full", "Replica"):
        raise ValueError(f'"{text}" is not supported yet; this version knows Incremental')
    return text


Glob = Annotated[str, Field(min_length=1, max_length=253)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class SelectorSpec(Fields):
    """Which VMs. Each field given narrows the choice; within a field any entry is enough."""

    uuids: tuple[Uuid, ...] = Field((), description="These VMs.")
    names: tuple[Glob, ...] = Field((), description="VMs called like this; * and ? stand for text.")
    match_tags: tuple[Text, ...] = Field((), description="VMs with any of these tags.")
    power_states: tuple[Literal["Running", "Halted", "Suspended", "Paused"], ...] = Field(
        (), description="VMs in any of these states when a backup is due."
    )
    all: bool = Field(False, description="Every VM, before exclusions.")
    exclude_uuids: tuple[Uuid, ...] = ()
    exclude_names: tuple[Glob, ...] = ()
    exclude_tags: tuple[Text, ...] = Field(
        (), description="xo:no-bak is always excluded, unless uuids names the VM."
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "tags": "matchTags",
        "matchLabels": "matchTags",
        "vms": "uuids",
        "matchNames": "names",
        "powerState": "powerStates",
    }
    later: ClassVar[Mapping[str, str]] = {
        "excludeDisks": "all disks of a VM are backed up for now",
        "pools": "use spec.poolRefs",
    }

    @model_validator(mode="after")
    def _chooses_on_purpose(self) -> "SelectorSpec":
        narrowing = bool(self.uuids or self.names or self.match_tags or self.power_states)
        if not (self.all or narrowing):
            raise ValueError("chooses no VM; give names, matchTags or uuids, or write all: true")
        if self.all and (self.uuids or self.names or self.match_tags):
            raise ValueError("has all: true beside fields that choose; keep one or the other")
        return self

    def selector(self) -> Selector:
        return Selector(
            uuids=frozenset(self.uuids),
            names=self.names,
            tags=frozenset(self.match_tags),
            power_states=frozenset(self.power_states),
            exclude_uuids=frozenset(self.exclude_uuids),
            exclude_names=self.exclude_names,
            exclude_tags=frozenset(self.exclude_tags),
            all=self.all,
        )


class RetentionSpec(Fields):
    """What is kept: a restore point stays if any of these rules wants it."""

    last: Count | None = Field(None, description="The newest restore points.")
    hourly: Count | None = Field(None, description="The latest point of each of so many hours.")
    daily: Count | None = Field(None, description="The latest point of each of so many days.")
    weekly: Count | None = Field(None, description="… of so many ISO weeks.")
    monthly: Count | None = Field(None, description="… of so many months.")
    yearly: Count | None = Field(None, description="… of so many years.")
    within: Span | None = Field(None, description="Every point younger than this.")

    renamed: ClassVar[Mapping[str, str]] = {
        **{
            f"keep{name.capitalize()}": name
            for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within")
        },
        "keep": "last",
        "count": "last",
        "days": "daily",
        "hours": "hourly",
        "weeks": "weekly",
        "months": "monthly",
        "years": "yearly",
    }

    @model_validator(mode="after")
    def _keeps_on_purpose(self) -> "RetentionSpec":
        if not self.model_fields_set or all(
            getattr(self, name) is None for name in type(self).model_fields
        ):
            raise ValueError("has no rule; give one, or leave retention out to keep everything")
        return self

    def retention(self, zone: str) -> Retention:
        return Retention(
            last=self.last or 0,
            hourly=self.hourly or 0,
            daily=self.daily or 0,
            weekly=self.weekly or 0,
            monthly=self.monthly or 0,
            yearly=self.yearly or 0,
            within=self.within,
            zone=zone,
        )


class ScheduleSpec(Fields):
    """When a restore point is made, and how long those of this schedule are kept."""

    name: LabelName
    cron: Annotated[str, AfterValidator(_cron), WithJsonSchema({"type": "string"})] = Field(
        description="Minute, hour, day of the month, month, day of the week; or @daily and such."
    )
    time_zone: Annotated[str, AfterValidator(_zone), WithJsonSchema({"type": "string"})] = Field(
        "UTC", description="IANA name: of the cron expression and of retention's days and weeks."
    )
    retention: RetentionSpec | None = Field(None, description="Instead of the job's retention.")
    suspend: bool = Field(False, description="Owes no restore points as long as this is true.")
    starting_deadline: Span = Field(
        timedelta(hours=1),
        description="A slot older than this does not start the first backup of a VM.",
        json_schema_extra={"default": "1h"},
    )
    schedule_id: Uuid | None = Field(None, description="To adopt the points of a known schedule.")

    renamed: ClassVar[Mapping[str, str]] = {
        "timezone": "timeZone",
        "zone": "timeZone",
        "tz": "timeZone",
        "schedule": "cron",
        "startingDeadlineSeconds": "startingDeadline",
        "id": "scheduleId",
    }
    later: ClassVar[Mapping[str, str]] = {
        "targets": "every schedule goes to all targets of its job; make two jobs meanwhile",
        "concurrencyPolicy": "runs of one job never overlap",
        "jitter": "work is queued, oldest debt first",
        "enabled": "use suspend",
    }

    def schedule(self, job: JobId, otherwise: RetentionSpec | None) -> JobSchedule:
        rules = self.retention or otherwise
        zone = self.time_zone
        return JobSchedule(
            name=self.name,
            id=schedule_id(job, self.name, self.schedule_id),
            schedule=Schedule(self.cron, zone),
            retention=rules.retention(zone) if rules else Retention(zone=zone),
            suspend=self.suspend,
            deadline=self.starting_deadline,
        )


class TargetSpec(Fields):
    """Where to."""

    remote_ref: Reference

    renamed: ClassVar[Mapping[str, str]] = {"remote": "remoteRef", "ref": "remoteRef"}
    later: ClassVar[Mapping[str, str]] = {
        "name": "a target is called like its remote",
        "retention": "retention belongs to a schedule, and holds on every target",
        "repairFrom": "remotes do not repair each other for now",
        "rpo": "objectives are not watched for now",
    }


class JobSettings(Fields):
    """How restore points are made."""

    key_backup_every: int = Field(
        0, ge=0, le=10_000, description="After so many points of a chain, one is full; 0: never."
    )

    renamed: ClassVar[Mapping[str, str]] = {"fullInterval": "keyBackupEvery"}
    later: ClassVar[Mapping[str, str]] = {
        "consistency": "snapshots are crash-consistent",
        "dataPath": "disks travel over HTTPS for now",
        "concurrency": "see maxConcurrentExports of XenPool and limits of BackupRemote",
        "maxRate": "speed is not limited for now",
        "retries": "what fails is tried again, later and later",
        "timeout": "what stalls is cancelled and tried again",
    }


class PruneGuardSpec(Fields):
    """A plan that would delete more than this waits for somebody's approval."""

    max_percent: int = Field(30, ge=1, le=100, description="Of a job's points on one remote.")
    max_points: int = Field(50, ge=1, le=1_000_000, description="In one plan.")
    min_good_points: int = Field(1, ge=1, le=1_000, description="Of a VM: never fewer stay.")

    renamed: ClassVar[Mapping[str, str]] = {"maxCount": "maxPoints"}

    def guard(self) -> PruneGuard:
        return PruneGuard(self.max_percent, self.max_points, self.min_good_points)


class JobSpec(Fields):
    """Desired protection: restore points of these VMs, at these times, on these remotes."""

    pool_refs: tuple[Reference, ...] = Field(min_length=1, max_length=256)
    selector: SelectorSpec
    mode: Annotated[Literal["Incremental"], BeforeValidator(_mode)] = Field(
        "Incremental", description="One full, then deltas."
    )
    targets: tuple[TargetSpec, ...] = Field(min_length=1, max_length=32)
    schedules: tuple[ScheduleSpec, ...] = Field(min_length=1, max_length=64)
    retention: RetentionSpec | None = Field(
        None, description="Of schedules without one of their own. Absent: everything is kept."
    )
    settings: JobSettings = JobSettings()
    run_on_create: bool = Field(
        False, description="A VM without any point is backed up at once, not at the next slot."
    )
    suspend: bool = Field(False, description="Start nothing of this job; what runs, ends.")
    prune_guard: PruneGuardSpec = PruneGuardSpec()
    deletion_policy: Literal["Retain"] = Field(
        "Retain", description="What becomes of restore points when the job goes: they stay."
    )
    job_id: Uuid | None = Field(None, description="To adopt the restore points of a known job.")

    renamed: ClassVar[Mapping[str, str]] = {
        "pools": "poolRefs",
        "poolRef": "poolRefs",
        "remotes": "targets",
        "remoteRefs": "targets",
        "vms": "selector",
        "schedule": "schedules",
        "paused": "suspend",
        "immediate": "runOnCreate",
        "id": "jobId",
    }
    later: ClassVar[Mapping[str, str]] = {
        "verification": "restore a point now and then: reconciler restore",
        "objectives": "they are not watched for now",
        "notify": "watch the logs and exit codes for now",
        "cron": "give schedules: [{name: …, cron: …}]",
        "overrides": "make a second job",
    }

    def job(self, identity: Identity) -> Job:
        """Resolve to the planner's job; references become full names, unchecked."""
        own_id = job_id(identity, self.job_id)
        meaning = self.model_dump_json(by_alias=True, exclude_defaults=True)
        return Job(
            name=JobName(identity.full_name),
            id=own_id,
            pools=tuple(PoolName(identity.sibling(one.name)) for one in self.pool_refs),
            remotes=tuple(
                RemoteName(identity.sibling(one.remote_ref.name)) for one in self.targets
            ),
            selector=self.selector.selector(),
            schedules=tuple(one.schedule(own_id, self.retention) for one in self.schedules),
            full_every=self.settings.key_backup_every,
            run_on_create=self.run_on_create,
            suspend=self.suspend,
            guard=self.prune_guard.guard(),
            deletion_policy=DeletionPolicy(self.deletion_policy),
            revision=hashlib.blake2b(meaning.encode(), digest_size=6).hexdigest(),
        )
