"""Events, counted: a tally after each is a new value, and nothing is counted twice."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.desired.state import Compression
from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    ScheduleId,
    SnapshotUuid,
    SrUuid,
    Stamp,
    VmUuid,
)
from reconciler.observed.progress import Attempt
from reconciler.plan.actions import (
    CopyVm,
    DiskExport,
    Export,
    ExportKind,
    Merge,
    Prune,
    RestoreDisk,
    Verify,
)
from reconciler.plan.plan import Held, Plan
from reconciler.plan.reasons import Reason
from reconciler.status.runs import RunState, Trigger
from reconciler.status.tally import Tally, Way, empty, failures_in_a_row, way_of

AT = datetime(2026, 1, 5, 2, tzinfo=UTC)
JOB, NAS, EAST, WEB = JobName("nightly"), RemoteName("nas"), PoolName("east"), VmUuid("web")


def disk(name: str, kind: ExportKind, reason: Reason) -> DiskExport:
    return DiskExport(DiskUuid(name), DiskSnapshotUuid(f"{name}-s"), kind, reason)


EXPORT = Export(
    pool=EAST,
    remote=NAS,
    vm=WEB,
    vm_name="web",
    job=JOB,
    job_id=JobId("j"),
    schedules=(),
    snapshot=SnapshotUuid("s"),
    stamp=Stamp("20260105T020000Z"),
    disks=(
        disk("a", ExportKind.FULL, Reason.REFERENCE_SNAPSHOT_LOST),
        disk("b", ExportKind.FULL, Reason.ALREADY_EXPORTED),
        disk("c", ExportKind.DELTA, Reason.BASE_PRESENT),
    ),
    due=AT,
    reason=Reason.POINT_MISSING,
)
PRUNE = Prune(NAS, WEB, "web", JOB, EXPORT.stamp, 1, AT, Reason.RETENTION_EXCEEDED)
FAILED = Attempt(AT, False, 1, AT, Reason.STREAM_BROKEN, "it broke")


def test_a_try_counts_by_how_it_ended_and_so_do_its_bytes() -> None:
    tally = Tally()
    good = tally.after_try(EXPORT, Attempt(AT, True), seconds=70, moved_bytes=100)
    both = good.after_try(EXPORT, FAILED, seconds=5, moved_bytes=11)
    assert tally == Tally(), "a tally never changes"
    assert both.tries == {("export", "Succeeded", ""): 1, ("export", "Failed", "StreamBroken"): 1}
    assert both.moved_bytes == {Way("backup", remote="nas"): 111}, "what was moved in vain, too"
    assert both.try_seconds["export"].total == 75


@pytest.mark.parametrize(
    ("reason", "result"),
    [
        (Reason.CANCELLED, "Cancelled"),
        (Reason.INTERRUPTED, "Interrupted"),
        (Reason.TIMED_OUT, "Failed"),
    ],
)
def test_what_was_told_to_end_did_not_fail(reason: Reason, result: str) -> None:
    tally = Tally().after_try(EXPORT, replace(FAILED, reason=reason), seconds=1, moved_bytes=0)
    assert tally.tries == {("export", result, reason): 1}


def test_fulls_count_by_why_once_they_are_there() -> None:
    tally = Tally().after_try(EXPORT, FAILED, seconds=1, moved_bytes=0)
    assert tally.fulls == {}
    tally = tally.after_try(EXPORT, Attempt(AT, True), seconds=1, moved_bytes=0)
    assert tally.fulls == {(JOB, Reason.REFERENCE_SNAPSHOT_LOST): 1}


def test_bytes_go_ways() -> None:
    copy = CopyVm(
        pool=PoolName("west"),
        target_pool=EAST,
        sr=SrUuid("sr-1"),
        vm=WEB,
        vm_name="web",
        job=JOB,
        job_id=EXPORT.job_id,
        schedules=(),
        snapshot=EXPORT.snapshot,
        stamp=EXPORT.stamp,
        compression=Compression.NONE,
        due=AT,
        reason=Reason.POINT_MISSING,
    )
    merge = Merge(NAS, WEB, "web", JOB, "a", "b", 1, AT, Reason.POINT_PRUNED)
    disk = RestoreDisk(NAS, WEB, "web", EXPORT.stamp, DiskUuid("a"), "out", "raw", AT)
    assert way_of(copy) == Way("backup", sr="east/sr-1")
    assert way_of(merge) == Way("merge", remote="nas")
    assert way_of(disk) == Way("restore", remote="nas")
    proof = Verify(NAS, WEB, "web", JOB, EXPORT.job_id, EXPORT.stamp, 1, AT, Reason.PROOF_DUE)
    assert way_of(proof) == Way("verify", remote="nas")
    assert way_of(PRUNE) is None


def test_failures_in_a_row_end_with_a_good_run() -> None:
    tally = Tally()
    rows = []
    for state in (
        RunState.FAILED,
        RunState.PARTIALLY_FAILED,
        RunState.CANCELLED,
        RunState.TIMED_OUT,
        RunState.SUCCEEDED,
    ):
        tally = tally.after_run(JOB, Trigger.SCHEDULED, state, 60)
        rows.append(tally.failed_in_a_row[JOB])
    assert rows == [1, 2, 2, 3, 0]
    assert sum(tally.runs.values()) == tally.run_seconds[JOB].count == 5


def test_what_was_noted_before_counts_until_something_newer_is_known() -> None:
    other = JobName("other")
    noted = failures_in_a_row(
        [
            (JOB, RunState.FAILED),
            (other, RunState.SUCCEEDED),
            (JOB, RunState.CANCELLED),
            (JOB, RunState.PARTIALLY_FAILED),
            (JOB, RunState.SUCCEEDED),
            (JOB, RunState.FAILED),
            (other, RunState.FAILED),
        ]
    )
    assert noted == {JOB: 2, other: 0}
    tally = Tally().knowing(noted).after_run(JOB, Trigger.SCHEDULED, RunState.FAILED, 1.0)
    assert tally.failed_in_a_row == {JOB: 3, other: 0}
    assert Tally(failed_in_a_row={JOB: 1}).knowing(noted).failed_in_a_row == {JOB: 1, other: 0}


def test_a_deletion_that_stays_held_is_counted_once() -> None:
    def held(*stamps: str, reason: Reason = Reason.MASS_DELETION_BLOCKED) -> Plan:
        prunes = [replace(PRUNE, stamp=Stamp(stamp)) for stamp in stamps]
        return Plan(held=tuple(Held("VM web", reason, "why", prune) for prune in prunes))

    first = held("20260101T020000Z", "20260102T020000Z")
    blocked = (JOB, Reason.MASS_DELETION_BLOCKED)
    tally = Tally().after_plan(first, None)
    assert tally.blocked == {blocked: 2}
    assert tally.after_plan(first, first) is tally
    more = held("20260102T020000Z", "20260103T020000Z")
    tally = tally.after_plan(more, first)
    assert tally.blocked == {blocked: 3}
    tally = tally.after_plan(held("20260103T020000Z", reason=Reason.LAST_GOOD_POINT), more)
    assert tally.blocked == {blocked: 3, (JOB, Reason.LAST_GOOD_POINT): 1}
    assert tally.of_jobs(set()).blocked == {}


def test_a_job_that_is_no_more_is_forgotten() -> None:
    tally = (
        Tally()
        .after_try(EXPORT, Attempt(AT, True), seconds=1, moved_bytes=5)
        .after_run(JOB, Trigger.REQUESTED, RunState.FAILED, 1)
        .after_missed(JOB, ScheduleId("night"))
    )
    assert tally.of_jobs({JOB}) == tally
    without = tally.of_jobs(set())
    assert (without.fulls, without.runs, without.missed, without.failed_in_a_row) == ({},) * 4
    assert without.moved_bytes == tally.moved_bytes, "what moved, moved"


def test_a_histogram_puts_a_value_on_a_bound_below_it() -> None:
    histogram = empty((1.0, 10.0))
    for value in (0.5, 1.0, 1.1, 10.0, 11.0):
        histogram = histogram.with_value(value)
    assert histogram.counts == (2, 2, 1)
    assert (histogram.count, histogram.total) == (5, 23.6)
