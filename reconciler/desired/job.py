"""Kind BackupJob: which VMs are protected, when, where to, and what is kept."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from reconciler.desired.document import Identity
from reconciler.desired.envelope import Fields, LabelName, ObjectName, Reference, Span, Text, Uuid
from reconciler.desired.identities import job_id, schedule_id
from reconciler.desired.job_rules import CRON_RULES, JOB_RULES, ZONE_RULES, any_of
from reconciler.desired.retention import BucketKeeps, Retention
from reconciler.desired.rules import Rule, text_schema
from reconciler.desired.run_history import USUAL, RunHistory
from reconciler.desired.schedule import Schedule, check_cron, check_zone
from reconciler.desired.selector import Selector
from reconciler.desired.settings import JobSettings
from reconciler.desired.state import (
    DeletionPolicy,
    Destination,
    Job,
    JobMode,
    JobSchedule,
    PruneGuard,
    SrTarget,
)
from reconciler.desired.target import TargetSpec, destinations_of
from reconciler.desired.verification import VerificationSpec
from reconciler.ids import JobId, JobName, PoolName


def _cron(text: str) -> str:
    cron = " ".join(text.split())
    check_cron(cron)
    return cron


def _zone(text: str) -> str:
    check_zone(text)
    return text


def _mode(text: object) -> object:
    if text in ("Replica", "Replication", "ContinuousReplication", "DisasterRecovery"):
        raise ValueError(
            "must be Incremental, Full or Snapshot; to replicate, give targets with srRef, in mode"
            " Incremental (replicas are updated) or Full (a whole copy each time)"
        )
    if text == "delta":
        raise ValueError("must be Incremental, Full or Snapshot; it is called Incremental here")
    return text


def _disk_name(text: object) -> object:
    if isinstance(text, dict):
        raise ValueError("must be the name of a disk; for example '*-scratch', without a field")
    return text


_NO_CHOICE = "chooses no VM; give names, matchTags or uuids, or write all: true"
_TWO_CHOICES = "has all: true beside fields that choose; keep one or the other"
_KEEPS_NOTHING = "has no rule; give one, or leave retention out to keep everything"
_OLDEST_OF_WHAT = "has bucketKeeps: Oldest; it is for hourly, daily, weekly, monthly and yearly"
_NO_LAST = (
    "must have last beside bucketKeeps: Oldest; a new point is not the oldest of its"
    " day, and would go at once: last: 1 keeps it"
)

Glob = Annotated[str, Field(min_length=1, max_length=253)]
DiskGlob = Annotated[Glob, BeforeValidator(_disk_name)]
_UUIDS_MAX = 10_000
Count = Annotated[int, Field(ge=1, le=100_000)]


class SelectorSpec(Fields):
    """Which VMs. Each field given narrows the choice; within a field any entry is enough."""

    uuids: tuple[Uuid, ...] = Field((), max_length=_UUIDS_MAX, description="These VMs.")
    names: tuple[Glob, ...] = Field(
        (), max_length=1_000, description="VMs called like this; * and ? stand for text."
    )
    match_tags: tuple[Text, ...] = Field(
        (), max_length=1_000, description="VMs with any of these tags."
    )
    power_states: tuple[Literal["Running", "Halted", "Suspended", "Paused"], ...] = Field(
        (), max_length=4, description="VMs in any of these states when a backup is due."
    )
    pools: tuple[ObjectName, ...] = Field(
        (), max_length=256, description="VMs of these of spec.poolRefs."
    )
    all: bool = Field(False, description="Every VM, before exclusions.")
    exclude_uuids: tuple[Uuid, ...] = Field((), max_length=_UUIDS_MAX, description="Not these VMs.")
    exclude_names: tuple[Glob, ...] = Field(
        (), max_length=1_000, description="No VMs called like this; * and ? stand for text."
    )
    exclude_tags: tuple[Text, ...] = Field(
        (),
        max_length=1_000,
        description="The tag xo:no-bak, or xo:no-bak=REASON, always excludes, unless uuids names"
        " the VM.",
    )
    exclude_disks: tuple[DiskGlob, ...] = Field(
        (),
        max_length=256,
        description="Disks called like this are left out; [NOBAK] in a disk's name always is.",
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "tags": "matchTags",
        "matchLabels": "matchTags",
        "vms": "uuids",
        "matchNames": "names",
        "powerState": "powerStates",
        "poolRefs": "pools",
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(f"self.all || {any_of('uuids', 'names', 'matchTags', 'powerStates')}", _NO_CHOICE),
        Rule(f"!self.all || !{any_of('uuids', 'names', 'matchTags')}", _TWO_CHOICES),
    )

    @model_validator(mode="after")
    def _chooses_on_purpose(self) -> "SelectorSpec":
        narrowing = bool(self.uuids or self.names or self.match_tags or self.power_states)
        if not (self.all or narrowing):
            raise ValueError(_NO_CHOICE)
        if self.all and (self.uuids or self.names or self.match_tags):
            raise ValueError(_TWO_CHOICES)
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


_HAS_BUCKETS = (
    "(has(self.hourly) || has(self.daily) || has(self.weekly) || has(self.monthly) ||"
    " has(self.yearly))"
)


class RetentionSpec(Fields):
    """What is kept: a restore point stays if any of these rules wants it."""

    last: Count | None = Field(None, description="The newest restore points.")
    hourly: Count | None = Field(None, description="One point of each of so many hours.")
    daily: Count | None = Field(None, description="One point of each of so many days.")
    weekly: Count | None = Field(None, description="… of so many ISO weeks.")
    monthly: Count | None = Field(None, description="… of so many months.")
    yearly: Count | None = Field(None, description="… of so many years.")
    within: Span | None = Field(None, description="Every point younger than this.")
    bucket_keeps: Literal["Latest", "Oldest"] = Field(
        "Latest",
        description="Which point of an hour, day … year: the latest (restic), or the oldest, with"
        " last: 1 or more beside it (Xen Orchestra's long-term retention).",
    )

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
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(f"has(self.last) || has(self.within) || {_HAS_BUCKETS}", _KEEPS_NOTHING),
        Rule(f"self.bucketKeeps != 'Oldest' || {_HAS_BUCKETS}", _OLDEST_OF_WHAT),
        Rule("self.bucketKeeps != 'Oldest' || has(self.last)", _NO_LAST),
    )

    @model_validator(mode="after")
    def _keeps_on_purpose(self) -> "RetentionSpec":
        buckets = any((self.hourly, self.daily, self.weekly, self.monthly, self.yearly))
        if not (buckets or self.last or self.within):
            raise ValueError(_KEEPS_NOTHING)
        if self.bucket_keeps == "Oldest" and not buckets:  # Latest: a server fills that in
            raise ValueError(_OLDEST_OF_WHAT)
        if self.bucket_keeps == "Oldest" and not self.last:
            raise ValueError(_NO_LAST)
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
            bucket_keeps=BucketKeeps(self.bucket_keeps),
        )


class ScheduleSpec(Fields):
    """When a restore point is made, and how long those of this schedule are kept."""

    name: LabelName = Field(description="How runs, targets and restore points refer to it.")
    cron: Annotated[str, AfterValidator(_cron), text_schema(*CRON_RULES, longest=256)] = Field(
        description="Minute, hour, day of the month, month, day of the week; or @daily and such."
    )
    time_zone: Annotated[str, AfterValidator(_zone), text_schema(*ZONE_RULES, longest=64)] = Field(
        "UTC", description="IANA name: of the cron expression and of retention's days and weeks."
    )
    targets: tuple[Text, ...] | None = Field(
        None, min_length=1, max_length=32, description="Names of targets; absent: all of them."
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
        "concurrencyPolicy": "runs of one job never overlap",
        "jitter": "work is queued, oldest debt first",
        "enabled": "use suspend",
    }

    def schedule(
        self,
        job: JobId,
        otherwise: RetentionSpec | None,
        destinations: frozenset[Destination] | None,
    ) -> JobSchedule:
        """otherwise: the job's retention. destinations: None for all of the job's."""
        rules = self.retention or otherwise
        zone = self.time_zone
        return JobSchedule(
            name=self.name,
            id=schedule_id(job, self.name, self.schedule_id),
            schedule=Schedule(self.cron, zone),
            retention=rules.retention(zone) if rules else Retention(zone=zone),
            suspend=self.suspend,
            deadline=self.starting_deadline,
            destinations=destinations,
        )


class PruneGuardSpec(Fields):
    """A plan that would delete more than this waits for somebody's approval."""

    max_percent: int = Field(30, ge=1, le=100, description="Of a job's points on one remote.")
    max_points: int = Field(50, ge=1, le=1_000_000, description="In one plan.")
    min_good_points: int = Field(1, ge=1, le=1_000, description="Of a VM: never fewer stay.")

    renamed: ClassVar[Mapping[str, str]] = {"maxCount": "maxPoints"}

    def guard(self) -> PruneGuard:
        return PruneGuard(self.max_percent, self.max_points, self.min_good_points)


class JobSpec(Fields):
    """Desired protection: restore points of these VMs, at these times, in these places."""

    pool_refs: tuple[Reference, ...] = Field(
        min_length=1, max_length=256, description="XenPools whose VMs may be chosen."
    )
    selector: SelectorSpec = Field(description="Which VMs of them.")
    mode: Annotated[Literal["Incremental", "Full", "Snapshot"], BeforeValidator(_mode)] = Field(
        "Incremental",
        description="Incremental: one full, then deltas; on an SR, a replica that is updated. Full:"
        " the whole VM each time, as an archive or as a copy on an SR. Snapshot: on the pool only.",
    )
    targets: tuple[TargetSpec, ...] = Field(
        (), max_length=32, description="At least one, but for mode Snapshot, which has none."
    )
    schedules: tuple[ScheduleSpec, ...] = Field(
        min_length=1,
        max_length=64,
        description="When restore points are made, and how long those of each schedule are kept.",
    )
    retention: RetentionSpec | None = Field(
        None, description="Of schedules without one of their own. Absent: everything is kept."
    )
    settings: JobSettings = Field(JobSettings(), description="How restore points are made.")
    run_on_create: bool = Field(
        False, description="A VM without any point is backed up at once, not at the next slot."
    )
    suspend: bool = Field(False, description="Start nothing of this job; what runs, ends.")
    prune_guard: PruneGuardSpec = Field(
        PruneGuardSpec(),
        description="A plan that would delete more than this waits for somebody's approval.",
    )
    deletion_policy: Literal["Retain"] = Field(
        "Retain", description="What becomes of restore points when the job goes: they stay."
    )
    verification: VerificationSpec | None = Field(
        None,
        description="Reading restore points now and then, to know that they can be restored."
        " Absent: none is read.",
    )
    job_id: Uuid | None = Field(None, description="To adopt the restore points of a known job.")
    successful_runs_history_limit: int = Field(
        USUAL.good,
        ge=0,
        le=1_000,
        description="BackupRuns of runs that went well: so many of those that the operator made"
        " stay, the newest. Those that people made always do.",
    )
    failed_runs_history_limit: int = Field(
        USUAL.bad, ge=0, le=1_000, description="The same of runs that did not."
    )

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
        "srs": "targets",
        "compression": "settings.compression",
        "consistency": "settings.consistency",
        "timeouts": "settings.timeouts",
        "maxRate": "settings.maxRate",
        "successfulJobsHistoryLimit": "successfulRunsHistoryLimit",
        "failedJobsHistoryLimit": "failedRunsHistoryLimit",
    }
    later: ClassVar[Mapping[str, str]] = {
        "objectives": "they are not watched for now",
        "notify": "watch the logs and exit codes for now",
        "cron": "give schedules: [{name: …, cron: …}]",
        "overrides": "make a second job",
    }
    rules: ClassVar[tuple[Rule, ...]] = JOB_RULES

    def job(self, identity: Identity) -> Job:
        """Resolve to the planner's job; references become full names, unchecked."""
        own_id = job_id(identity, self.job_id)
        meaning = self.model_dump_json(by_alias=True, exclude_defaults=True)
        chosen = [one.name for one in self.pool_refs if one.name in self.selector.pools]
        pools = chosen or [one.name for one in self.pool_refs]
        destinations = [one.destination(identity) for one in self.targets]
        return Job(
            name=JobName(identity.full_name),
            id=own_id,
            pools=tuple(PoolName(identity.sibling(name)) for name in pools),
            remotes=tuple(one for one in destinations if not isinstance(one, SrTarget)),
            selector=self.selector.selector(),
            schedules=tuple(
                one.schedule(
                    own_id, self.retention, destinations_of(self.targets, one.targets, identity)
                )
                for one in self.schedules
            ),
            full_every=self.settings.key_backup_every or 0,
            run_on_create=self.run_on_create,
            suspend=self.suspend,
            guard=self.prune_guard.guard(),
            deletion_policy=DeletionPolicy(self.deletion_policy),
            revision=hashlib.blake2b(meaning.encode(), digest_size=6).hexdigest(),
            mode=JobMode(self.mode),
            srs=tuple(one for one in destinations if isinstance(one, SrTarget)),
            settings=self.settings.settings(self.selector.exclude_disks),
            history=RunHistory(self.successful_runs_history_limit, self.failed_runs_history_limit),
            verification=None if self.verification is None else self.verification.verification(),
        )
