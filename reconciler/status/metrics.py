"""Every metric there is: names, kinds, labels and meaning; docs/metrics.md is made from this.

Names end in their unit, seconds and bytes throughout; counters in `_total`. No run, action or
point is ever named by a label, so what there can be is bounded: by objects in manifests and by VMs
that jobs choose. A label that has nothing to say is left out (an SR's series have no `remote`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from reconciler.status.tally import Histogram

VM_NAMES_MAX = 2000
"""With more VMs than this, only `reconciler_vm_info` says their names."""


class MetricKind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One family. name: as it is queried; a histogram's without `_bucket`. unit: "" if it has none.

    per_vm: there is a series for each VM of each job, or more.
    """

    name: str
    kind: MetricKind
    meaning: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    per_vm: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """A metric and its series: values of its labels, in order, "" for none; and the value."""

    metric: Metric
    series: Sequence[tuple[tuple[str, ...], float | Histogram]]


def _gauge(name: str, meaning: str, *labels: str, unit: str = "", per_vm: bool = False) -> Metric:
    return Metric(f"reconciler_{name}", MetricKind.GAUGE, meaning, labels, unit, per_vm)


def _counter(name: str, meaning: str, *labels: str, unit: str = "") -> Metric:
    return Metric(f"reconciler_{name}_total", MetricKind.COUNTER, meaning, labels, unit)


def _seconds(name: str, meaning: str, *labels: str) -> Metric:
    name = f"reconciler_{name}_duration_seconds"
    return Metric(name, MetricKind.HISTOGRAM, meaning, labels, "seconds")


_VM = ("backup_job", "vm_uuid", "vm_name")
_PLACE = ("remote", "sr")

# ── VMs ───────────────────────────────────────────────────────────────────────────────────────────

VM_INFO = _gauge(
    "vm_info",
    "Always 1: a VM that a job protects, its name and its pool.",
    *("backup_job", "vm_uuid", "vm_name", "pool"),
    per_vm=True,
)
VM_LAST_SUCCESS = _gauge(
    "vm_last_success_timestamp_seconds",
    "When the newest restore point that is whole was taken, at each destination that was seen; "
    "no series where there is none.",
    *(*_VM, *_PLACE),
    unit="seconds",
    per_vm=True,
)
VM_EXPOSURE = _gauge(
    "vm_rpo_exposure_seconds",
    "What would be lost with the VM now: the age of its newest whole restore point, wherever it "
    "lies.",
    *_VM,
    unit="seconds",
    per_vm=True,
)
VM_RPO_MET = _gauge(
    "vm_rpo_met",
    "1 if no backup is overdue, 0 if one is, past its deadline; no series while that is not known "
    "or nothing is owed.",
    *_VM,
    per_vm=True,
)
CHAIN_LENGTH = _gauge(
    "chain_length",
    "Files that the newest whole point stands on, its own counted, for the disk that has most; 0 "
    "at a destination that was seen and has no whole point.",
    *(*_VM, *_PLACE),
    per_vm=True,
)
CHAIN_HEALTHY = _gauge(
    "chain_healthy",
    "1 if every point of the job for the VM there can be restored, 0 if one cannot.",
    *(*_VM, *_PLACE),
    per_vm=True,
)
VM_PROOF = _gauge(
    "vm_proof_timestamp_seconds",
    "When a restore point of the VM had last been read whole, at each remote of a job with "
    "verification; no series where none ever was.",
    *(*_VM, "remote", "level"),
    unit="seconds",
    per_vm=True,
)
VM_PROOF_FRESH = _gauge(
    "vm_proof_fresh",
    "1 if the proof at each remote is younger than the job's verification.maxAge, 0 if one is not "
    "or there is none; no series while that is not known, not asked for, or the job suspended.",
    *_VM,
    per_vm=True,
)
VM_UNPROTECTED = _gauge("vm_unprotected", "VMs of a pool that no job chooses.", "pool")

# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────

JOB_INFO = _gauge("job_info", "Always 1: a job and its mode.", "backup_job", "mode", "suspended")
JOB_VMS = _gauge("job_vms", "VMs that a job protects, by how they stand.", "backup_job", "state")
JOB_RPO_TARGET = _gauge(
    "job_rpo_target_seconds",
    "The exposure that the schedules of a job allow: the longer of the present and the last gap "
    "between slots, and the deadline; no series for a job without schedules or suspended.",
    "backup_job",
    unit="seconds",
)
JOB_INTERVAL = _gauge(
    "job_expected_interval_seconds",
    "Between the last slot of a schedule and the next.",
    *("backup_job", "schedule"),
    unit="seconds",
)
JOB_NEXT_RUN = _gauge(
    "job_next_run_timestamp_seconds",
    "When the next slot of a schedule comes; no series while it is suspended.",
    *("backup_job", "schedule"),
    unit="seconds",
)
JOB_MISSED = _counter(
    "job_missed_intervals",
    "Slots that passed without a run of their own; a later one answers for them.",
    *("backup_job", "schedule"),
)
JOB_FAILURES = _gauge(
    "job_consecutive_failures",
    "Runs of a job that failed, wholly or in part, since its last good one; those before a restart "
    "as far as they were noted.",
    "backup_job",
)
RESOURCE_CONDITION = _gauge(
    "resource_condition",
    "Always 1: a condition of an object, as its status shows it.",
    *("kind", "name", "type", "status", "reason"),
)

# ── runs and actions ──────────────────────────────────────────────────────────────────────────────

RUN_TOTAL = _counter("run", "Runs that are over.", "backup_job", "trigger", "result")
RUN_ACTIVE = _gauge("run_active", "Runs of a job that something is at work for.", "backup_job")
RUN_SECONDS = _seconds("run", "From the opening of a run to its end.", "backup_job")
ACTION_TOTAL = _counter("action", "Tries of actions that are over.", "kind", "result", "reason")
ACTION_SECONDS = _seconds("action", "How long a try of an action took.", "kind")
ACTION_PENDING = _gauge("action_pending", "Actions that are planned and not yet begun.", "kind")
ACTION_RUNNING = _gauge("action_running", "Actions that are under way.", "kind")
ACTION_HELD = _gauge(
    "action_held", "What is wanted and not done now, by what is in the way.", "kind", "reason"
)
TRANSFER_BYTES = _counter(
    "transfer_bytes",
    "Bytes moved to a destination (backup), from it (restore, verify), or within it (merge).",
    *("direction", *_PLACE),
    unit="bytes",
)
TRANSFER_PROGRESS = _gauge(
    "transfer_progress_ratio",
    "Of what is under way there and said how much it is: bytes moved of bytes expected, 0 to 1; no "
    "series while there is none.",
    *("direction", *_PLACE),
)
FULL_FALLBACK = _counter(
    "full_fallback",
    "Disks that were sent whole, by why; FirstBackup, DiskAdded and KeyIntervalReached are wanted.",
    *("backup_job", "reason"),
)

# ── destinations and pools ────────────────────────────────────────────────────────────────────────

RESTORE_POINTS = _gauge(
    "restore_points",
    "Restore points of a job at a destination that was seen, by health (Whole, Broken).",
    *("backup_job", *_PLACE, "health"),
)
HELD_POINTS = _gauge(
    "held_points",
    "Points that retention would let go and that stay all the same, by why.",
    *("backup_job", *_PLACE, "reason"),
)
PRUNE_BLOCKED = _counter(
    "prune_blocked",
    "Deletions that were to be done and were held, each counted when it was first held, by why.",
    *("backup_job", "reason"),
)
GUARD_PENDING = _gauge(
    "guard_pending", "Deletions of a job that wait for a person's approval.", "backup_job"
)
REMOTE_UP = _gauge("remote_up", "1 if a remote could be read at the last look, else 0.", "remote")
REMOTE_FREE = _gauge(
    "remote_free_bytes", "Free space of a remote that can tell.", "remote", unit="bytes"
)
REMOTE_SIZE = _gauge("remote_size_bytes", "Size of a remote that can tell.", "remote", unit="bytes")
POOL_UP = _gauge("pool_up", "1 if a pool could be read at the last look, else 0.", "pool")
SR_FREE = _gauge(
    "sr_free_bytes",
    "Free space of an SR of a pool that was seen.",
    *("sr", "sr_name"),
    unit="bytes",
)

SR_COALESCE = _gauge(
    "sr_coalesce_backlog",
    "Hidden disks of an SR that its garbage collector has still to fold into the one they stand "
    "on; no series where none of its disks says on which it stands.",
    *("sr", "sr_name"),
)

# ── the program ───────────────────────────────────────────────────────────────────────────────────

MANIFEST_PROBLEMS = _gauge(
    "manifest_problems", "Mistakes in manifests; what they touch is protected from deletion."
)
RECONCILE_SECONDS = _seconds("reconcile", "How long a tick of the loop took, planning and all.")
LAST_TICK = _gauge(
    "last_tick_timestamp_seconds",
    "When the newest plan was made, or last found to stand.",
    unit="seconds",
)
LEADER = _gauge("leader", "1 if this process is the one that acts, 0 if it stands by.")
BUILD_INFO = _gauge("build_info", "Always 1: what is running.", "version", "python")

METRICS: tuple[Metric, ...] = tuple(
    sorted((each for each in globals().values() if isinstance(each, Metric)), key=lambda m: m.name)
)
