"""How a job's restore points are made: consistency, speed, patience."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from reconciler.desired.envelope import Fields, Patience, Rate, Span
from reconciler.desired.rules import Rule
from reconciler.desired.state import AfterCancel, Compression, Consistency, Settings, Timeouts

_RUN_TOO_SHORT = "must have a run at least as long as perVM; a run holds all its VMs"
_NO_LIMIT = "has action: Detach, but no limit; for example after: 2m"
_LIMIT_IN_VAIN = "has after, but no action: Detach; give it, or leave after out"


class TimeoutsSpec(Fields):
    """When a try is cancelled; what it left is dealt with as afterCancel says."""

    per_vm: Patience | None = Field(
        None,
        alias="perVM",
        description="One transfer of one VM. Absent or Never: it may take any time.",
    )
    run: Patience | None = Field(
        None, description="From the snapshot to the last of its points. Absent or Never: any time."
    )
    stall: Patience = Field(
        timedelta(minutes=5),
        description="No byte came or went for so long, though no maxRate held it back. Never: it"
        " may stand still until its connection or its mount is found dead.",
        json_schema_extra={"default": "5m"},
    )

    renamed: ClassVar[Mapping[str, str]] = {"vm": "perVM", "vmTimeout": "perVM", "total": "run"}

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(  # a server's durations know no days
            "!has(self.run) || !has(self.perVM) || !self.run.matches('^([0-9]{1,12}[smh])+$') ||"
            " !self.perVM.matches('^([0-9]{1,12}[smh])+$') ||"
            " duration(self.run) >= duration(self.perVM)",
            _RUN_TOO_SHORT,
        ),
    )

    @model_validator(mode="after")
    def _leaves_room(self) -> "TimeoutsSpec":
        if self.run is not None and self.per_vm is not None and self.run < self.per_vm:
            raise ValueError(_RUN_TOO_SHORT)
        return self

    def timeouts(self) -> Timeouts:
        return Timeouts(self.per_vm, self.run, self.stall)


class SlowDestination(Fields):
    """What becomes of a destination that holds up the others of its run."""

    action: Literal["Wait", "Detach"] = Field(
        "Wait",
        description="Wait: the slowest sets the pace. Detach: it is dropped, and gets its point"
        " once the others have theirs.",
    )
    after: Span | None = Field(
        None, description="With Detach: how long it may hold them up, in all."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.action != 'Detach' || has(self.after)", _NO_LIMIT),
        Rule("self.action != 'Wait' || !has(self.after)", _LIMIT_IN_VAIN),
    )

    @model_validator(mode="after")
    def _says_when(self) -> "SlowDestination":
        if self.action == "Detach" and self.after is None:
            raise ValueError(_NO_LIMIT)
        if self.action == "Wait" and self.after is not None:
            raise ValueError(_LIMIT_IN_VAIN)
        return self


class Concurrency(Fields):
    """How much of a job happens at once; the limits of pools and remotes hold besides."""

    vms: int = Field(0, ge=0, le=1_000, description="VMs at once; 0: as many as its pool allows.")
    disks_per_vm: int = Field(
        0, ge=0, le=255, alias="disksPerVM", description="Disks of one VM at once; 0: all of them."
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "vm": "vms",
        "disks": "disksPerVM",
        "diskPerVm": "disksPerVM",
    }


class JobSettings(Fields):
    """How restore points are made."""

    consistency: Literal["Crash", "Memory", "Offline"] = Field(
        "Crash",
        description="Crash: as if the power had failed. Memory (mode Snapshot): with the VM's"
        " memory, of all disks, also excluded ones. Offline: shut down for the snapshot and"
        " started again. The tags xo-memory-backup and xo-offline-backup say so for one VM.",
    )
    compression: Literal["None", "Gzip", "Zstd"] | None = Field(
        None, description="Of archives (mode Full), by the host that sends them. Absent: None."
    )
    key_backup_every: int | None = Field(
        None,
        ge=0,
        le=10_000,
        description="On remotes, one point is full after so many of a chain; absent or 0: never.",
    )
    timeouts: TimeoutsSpec = TimeoutsSpec()
    after_cancel: Literal["Discard", "Keep"] = Field(
        "Discard",
        description="Of a run that was cancelled or too slow: Discard removes its snapshot and what"
        " was sent; Keep leaves both for the next try to go on from.",
    )
    slow_destination: SlowDestination = SlowDestination()
    max_rate: Rate | None = Field(
        None, description="Of what is read for the job together, in bytes per second."
    )
    concurrency: Concurrency = Concurrency()

    renamed: ClassVar[Mapping[str, str]] = {
        "fullInterval": "keyBackupEvery",
        "timeout": "timeouts",
        "vmTimeout": "timeouts.perVM",
        "maxExportRate": "maxRate",
        "checkpointSnapshot": "consistency",
        "offlineSnapshot": "consistency",
        "diskPerVmConcurrency": "concurrency.disksPerVM",
        "onCancel": "afterCancel",
    }
    later: ClassVar[Mapping[str, str]] = {
        "dataPath": "disks travel over HTTPS for now",
        "retries": "what fails is tried again, later and later",
        "offlineBackup": "use consistency: Offline; the VM runs again while its disks travel",
    }

    def settings(self, exclude_disks: tuple[str, ...]) -> Settings:
        return Settings(
            consistency=Consistency(self.consistency),
            compression=Compression(self.compression or "None"),
            timeouts=self.timeouts.timeouts(),
            after_cancel=AfterCancel(self.after_cancel),
            detach=self.slow_destination.after,
            exclude_disks=exclude_disks,
            vms_max=self.concurrency.vms,
            disks_max=self.concurrency.disks_per_vm,
            rate_bytes_per_s=self.max_rate,
        )
