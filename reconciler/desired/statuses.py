"""What the status of each kind may say: the fields that people and programs look for, described.

Written by the operator alone (status/objects.py renders it), read by kubectl's columns. A server
keeps fields besides these: of an operator that is newer than the definitions it finds, which would
otherwise write what is dropped again and again.
"""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from reconciler.desired.envelope import Fields

_Count = Annotated[int, WithJsonSchema({"type": "integer", "format": "int32", "minimum": 0})]
_Generation = Annotated[int, WithJsonSchema({"type": "integer", "format": "int64", "minimum": 0})]
_Bytes = Annotated[int, WithJsonSchema({"type": "integer", "format": "int64", "minimum": 0})]
_Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


class Condition(Fields):
    """One thing that is so, is not so, or is not known."""

    type: str = Field(
        max_length=316,
        description="Ready: what is asked for is in force and nothing is in its way. Reconciling:"
        " work is under way. Stalled: it takes a person. RPOMet, ChainsHealthy, ProofFresh: of a"
        " job's VMs.",
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it is so.")
    reason: str = Field(
        max_length=1024,
        description="A code from a closed list: docs/operations.md says what to do.",
    )
    message: str = Field(max_length=32768, description="The same for a person.")
    last_transition_time: _Time = Field(description="When the status became another.")
    observed_generation: _Generation | None = Field(
        None, description="The generation of the spec that it is about."
    )


class _Status(Fields):
    """What every kind says."""

    observed_generation: _Generation | None = Field(
        None, description="The generation of the spec that all of this is about."
    )
    conditions: tuple[Condition, ...] | None = Field(
        None, description="How it stands, as kubectl wait, Flux and Argo CD read it."
    )


class _Followed(_Status):
    """What each kind says that can have us look again."""

    last_handled_reconcile_at: str | None = Field(
        None, description="The annotation backup.reconciler.io/reconcile that was last followed."
    )


class PoolStatus(_Followed):
    """What was last seen of the pool."""

    master: str | None = Field(None, description="Name of the host that speaks for the pool.")
    version: str | None = Field(None, description="Of the software of its hosts.")
    label: str | None = Field(None, description="As the pool calls itself.")
    uuid: str | None = Field(None, description="Of the pool.")
    host_count: _Count | None = Field(None, description="Hosts of the pool.")
    vm_count: _Count | None = Field(None, description="VMs of the pool, without its templates.")


class RemoteStatus(_Followed):
    """What was last seen on the remote."""

    free: str | None = Field(None, description="Space that is left, if the place tells: 1.2Ti.")
    capacity: str | None = Field(None, description="Space in all, if the place tells.")
    point_count: _Count | None = Field(None, description="Restore points that are whole.")
    vm_count: _Count | None = Field(None, description="VMs that have any.")
    identity: str | None = Field(None, description="The id of the place, from its own file.")


class VmCounts(Fields):
    """How many VMs the job chooses, by how they stand."""

    summary: str | None = Field(None, description="Those that are protected, of all: 41/42.")
    matched: _Count | None = Field(None, description="VMs that the selector chooses.")
    protected: _Count | None = Field(None, description="With all that their schedules owe.")
    due: _Count | None = Field(None, description="One is owed, and planned or under way.")
    held: _Count | None = Field(None, description="One is owed, and something is in the way.")
    new: _Count | None = Field(None, description="Before their first slot.")
    unknown: _Count | None = Field(None, description="Something of them was not seen.")
    suspended: _Count | None = Field(None, description="Because the job is.")


class PlannedWork(Fields):
    """What is to be done for the job now."""

    summary: str | None = Field(None, description="In words: 2 export, 1 prune.")
    actions: dict[str, int] | None = Field(None, description="How many of each verb.")
    destructive: _Count | None = Field(None, description="Those that delete something.")
    hash: str | None = Field(
        None,
        description="Of deletions that wait for approval: what backup.reconciler.io/approve-plan"
        " has to say.",
    )


class VmStatus(Fields):
    """How one VM stands."""

    uuid: str = Field(max_length=36, description="Of the VM.")
    name: str | None = Field(None, description="As the pool calls it.")
    state: str | None = Field(None, description="Protected, Due, Held, New, Unknown, Suspended.")
    last_success_time: _Time | None = Field(None, description="Of its newest restore point.")
    reason: str | None = Field(None, description="Why it is held.")
    message: str | None = Field(None, description="The same for a person.")


class Targets(Fields):
    """Where restore points go."""

    summary: str | None = Field(None, description="The names of remotes and SRs.")
    count: _Count | None = Field(None, description="How many.")


class LastRun(Fields):
    """The newest run that has ended."""

    name: str | None = Field(None, description="As reconciler get runs calls it.")
    state: str | None = Field(None, description="Succeeded, PartiallyFailed, Failed …")
    trigger: str | None = Field(None, description="What it answered.")
    due_time: _Time | None = Field(None, description="Its slot, or when it was asked for.")
    start_time: _Time | None = Field(None, description="When it began.")
    completion_time: _Time | None = Field(None, description="When it ended.")
    message: str | None = Field(None, description="Why it ended so.")


class Proofs(Fields):
    """Whether restore points were read whole in time, where spec.verification asks for it."""

    summary: str | None = Field(None, description="VMs with a fresh proof at each remote: 41/42.")
    fresh: _Count | None = Field(None, description="Those.")
    due: _Count | None = Field(None, description="The others that have points on remotes.")


class JobStatus(_Followed):
    """How the job's VMs are protected."""

    protected_vms: VmCounts | None = Field(None, alias="protectedVMs")
    targets: Targets | None = None
    last_success_time: _Time | None = Field(
        None, description="Of the newest restore point of any of its VMs."
    )
    exposed_since: _Time | None = Field(
        None,
        description="The newest restore point of the VM that is worst off: what it wrote since"
        " could be lost. Absent while a VM has none.",
    )
    next_run_time: _Time | None = Field(None, description="Its next slot.")
    proofs: Proofs | None = None
    plan: PlannedWork | None = None
    vms: tuple[VmStatus, ...] | None = Field(
        None, description="Those that stand worst, ten at most."
    )
    last_run: LastRun | None = None
    last_handled_run_at: str | None = Field(
        None, description="The annotation backup.reconciler.io/run-at that was last followed."
    )
    last_handled_cancel: str | None = Field(
        None, description="The annotation backup.reconciler.io/cancel that was last followed."
    )
    last_handled_approval: str | None = Field(
        None, description="The annotation backup.reconciler.io/approve-plan that was last followed."
    )


class ResolvedPoint(Fields):
    """The restore point that was chosen; from then on the restore is of this one."""

    name: str | None = Field(None, description="VM and stamp.")
    vm: str | None = Field(None, description="Uuid of the VM as it was backed up.")
    stamp: str | None = Field(None, description="When it was taken.")


class RestoredVm(Fields):
    """The VM that was made."""

    uuid: str | None = Field(None, description="Of the new VM.")
    name: str | None = Field(None, description="Of the new VM.")


class RestoreStatus(_Followed):
    """How far the restore is."""

    resolved_point: ResolvedPoint | None = None
    restored_vm: RestoredVm | None = Field(None, alias="restoredVM")


class RunVms(Fields):
    """The VMs of the run."""

    summary: str | None = Field(None, description="Those that have a point, of all: 41/42.")
    matched: _Count | None = Field(None, description="VMs that the run is of.")
    done: _Count | None = Field(None, description="Those that have a point of it.")


class RunResult(Fields):
    """What became of one step of the run."""

    vm: str | None = Field(None, description="Uuid of the VM.")
    vm_name: str | None = Field(None, description="As the pool calls it.")
    action: str | None = Field(None, description="What was done: snapshot, export, replicate …")
    destination: str | None = Field(None, description="Where to.")
    outcome: str | None = Field(None, description="How it ended, once it has.")
    start_time: _Time | None = Field(None, description="When it began.")
    completion_time: _Time | None = Field(None, description="When it ended.")
    bytes: _Bytes | None = Field(None, description="What was sent.")
    reason: str | None = Field(None, description="A code: docs/operations.md.")
    message: str | None = Field(None, description="The same for a person.")


class RunStatus(_Status):
    """What became of the run."""

    state: str | None = Field(None, description="Pending, Running, Succeeded, Failed …")
    vms: RunVms | None = None
    start_time: _Time | None = Field(None, description="When it began.")
    completion_time: _Time | None = Field(None, description="When it ended.")
    results: tuple[RunResult, ...] | None = Field(
        None, description="Of its steps, those that failed first; fifty at most."
    )


class Blocked(Fields):
    """What is in the way."""

    reason: str = Field(max_length=1024, description="A code: docs/operations.md.")
    message: str | None = Field(None, description="The same for a person.")


class ChainStatus(Fields):
    """What lies of the VM at one destination."""

    destination: str | None = Field(None, description="A remote, or an SR.")
    state: str | None = Field(None, description="Ok, Broken, Empty, Unknown.")
    points: _Count | None = Field(None, description="Restore points there.")
    length: _Count | None = Field(None, description="Files that the newest of them depends on.")
    newest: _Time | None = Field(None, description="When the newest was taken.")


class ReferenceSnapshot(Fields):
    """The snapshot on the pool that the next delta can be taken to."""

    snapshot: str | None = Field(None, description="Its uuid.")
    stamp: str | None = Field(None, description="When it was taken.")


class LastProof(Fields):
    """The newest proof that a restore point of the VM can be restored."""

    time: _Time | None = Field(None, description="When it had been read.")
    level: str | None = Field(
        None, description="Chain: every block was read. Checksum: and was what had been written."
    )
    point: str | None = Field(None, description="When the restore point was taken.")
    destination: str | None = Field(None, description="The remote that it lies on.")


class ProtectedVmStatus(_Status):
    """How the VM stands."""

    vm_name: str | None = Field(None, description="As the pool calls it.")
    pool: str | None = Field(None, description="The XenPool that it is on.")
    state: str | None = Field(None, description="Protected, Due, Held, New, Unknown, Suspended.")
    last_success_time: _Time | None = Field(None, description="Of its newest restore point.")
    point_count: _Count | None = Field(None, description="Restore points of it, everywhere.")
    chains: tuple[ChainStatus, ...] | None = Field(
        None, description="What lies of it at each destination."
    )
    reference: ReferenceSnapshot | None = None
    last_proof: LastProof | None = None
    behind_since: _Time | None = Field(None, description="The slot that it still owes a point.")
    blocked_by: tuple[Blocked, ...] | None = Field(None, description="What is in the way.")
