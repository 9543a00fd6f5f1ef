"""Kind BackupRun: one run of a job, asked for; or the record of one, which the operator keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from reconciler.desired.document import Document, Identity
from reconciler.desired.envelope import Fields, Instant, Reference
from reconciler.desired.rules import Rule
from reconciler.desired.state import Cancellation, RunRequest
from reconciler.ids import JobName, run_id

REQUESTED = "Requested"


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What a BackupRun asks for. request: None for the record of a run that nobody asked for."""

    job: JobName
    request: RunRequest | None
    cancellation: Cancellation | None


class RunSpec(Fields):
    """One run of a job. Written by hand it asks for one; the operator keeps its records so, too."""

    job_ref: Reference = Field(description="The BackupJob.")
    at: Instant | None = Field(
        None,
        description="Every VM of the job is owed a restore point of this time or later. Absent:"
        " when the object was made; a manifest in a file must say it.",
    )
    trigger: Literal["Requested", "Scheduled", "CatchUp"] = Field(
        "Requested", description="What the run answers. Others than Requested are records."
    )
    cancel: bool = Field(False, description="End the run: what runs is stopped, no more is begun.")

    renamed: ClassVar[Mapping[str, str]] = {
        "job": "jobRef",
        "time": "at",
        "runAt": "at",
        "cancelled": "cancel",
    }
    later: ClassVar[Mapping[str, str]] = {
        "only": "a run is of all VMs and targets of its job",
        "vms": "a run is of all VMs of its job",
        "targets": "a run goes to all targets of its job",
        "forceFull": "use settings.keyBackupEvery of the job",
        "suspend": "write cancel: true",
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.jobRef == oldSelf.jobRef && self.trigger == oldSelf.trigger &&"
            " has(self.at) == has(oldSelf.at) && (!has(self.at) || self.at == oldSelf.at)",
            "a run is not changed, but for cancel",
        ),
        Rule("self.cancel || !oldSelf.cancel", "a cancelled run stays cancelled", ".cancel"),
    )

    def time(self, document: Document) -> datetime | None:
        """Say which moment is asked for; None: neither the text nor a server says."""
        return self.at or document.created_at

    def order(self, identity: Identity, document: Document) -> RunOrder:
        """Resolve what is asked for; the job's name is unchecked."""
        at = self.time(document)
        assert at is not None, "a run that does not say when is faulty"
        job = JobName(identity.sibling(self.job_ref.name))
        return RunOrder(
            job=job,
            request=RunRequest(job, at) if self.trigger == REQUESTED else None,
            cancellation=Cancellation(run_id(job, at)) if self.cancel else None,
        )
