"""Runs as they are noted: opened, closed, missed, skipped, taken over from the dead."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from scenes import job, schedule, wanting
from structlog.contextvars import bind_contextvars, unbind_contextvars

from reconciler.clock import SteppedClock
from reconciler.desired.state import Cancellation, Desired
from reconciler.executor.records import Records
from reconciler.executor.run_keeper import RunKeeper, RunLines
from reconciler.executor.run_records import read_lines, read_runs
from reconciler.executor.transfers import Transfers
from reconciler.ids import PoolName, RemoteName, SnapshotUuid, Stamp, VmUuid
from reconciler.latest import Latest
from reconciler.observed.progress import Progress
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.actions import Export, Snapshot, id_of
from reconciler.plan.plan import Held, Plan
from reconciler.plan.reasons import Reason
from reconciler.status.report import Report
from reconciler.status.runs import RunState, Trigger
from reconciler.status.tally import Tally

SLOT = datetime(2026, 8, 21, 2, tzinfo=UTC)
NOW = SLOT + timedelta(seconds=10)
JOB = job(schedule("night", "0 2 * * *"))
WEB, NAS, EAST = VmUuid("web"), RemoteName("nas"), PoolName("east")
SNAPSHOT = Snapshot(EAST, WEB, "web", JOB.name, JOB.id, (), SLOT, Reason.SCHEDULED)
EXPORT = Export(
    pool=EAST,
    remote=NAS,
    vm=WEB,
    vm_name="web",
    job=JOB.name,
    job_id=JOB.id,
    schedules=(),
    snapshot=SnapshotUuid("s"),
    stamp=Stamp("20260821T020010Z"),
    disks=(),
    due=SLOT,
    reason=Reason.POINT_MISSING,
)
RUN = f"{JOB.name}/20260821T020000Z"


def report(
    *actions: Snapshot | Export,
    held: tuple[Held, ...] = (),
    running: tuple[Snapshot | Export, ...] = (),
    at: datetime = NOW,
    desired: Desired | None = None,
) -> Report:
    unseen = Unknown(SLOT, "RemoteUnavailable", "not looked at here")
    return Report(
        desired=desired or wanting(JOB),
        observed=Observed(
            {EAST: unseen}, {NAS: unseen}, Progress(running={id_of(each): at for each in running})
        ),
        plan=Plan(actions=actions, held=held),
        at=at,
    )


class Bench:
    def __init__(self, path: Path) -> None:
        self.path = path / "history.sqlite"
        self.clock = SteppedClock(NOW)
        self.reports: Latest[Report | None] = Latest(None)
        self.lines = RunLines(self.clock.now)
        self.transfers = Transfers()
        self.tally = Latest(Tally())

    @asynccontextmanager
    async def keeping(self, owner: str = "me"):
        self.records = Records(self.path, owner)
        self.keeper = RunKeeper(
            self.reports, self.records, self.transfers, self.tally, self.clock, self.lines
        )
        task = asyncio.create_task(self.keeper.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])
            await self.records.close()

    def runs(self, owner: str | None = "me") -> dict[str, RunState]:
        return {row.id: row.state for row in read_runs(self.path, owner)}

    async def until(self, state: RunState, run: str = RUN, owner: str = "me") -> None:
        async with asyncio.timeout(120):
            while self.runs(owner).get(run) is not state:  # noqa: ASYNC110 (a file rings no bell)
                await asyncio.sleep(0.01)

    async def tried(self, action: Snapshot | Export, outcome: str, why: str = "") -> None:
        row = self.records.new_row()
        await self.records.begin(row, action, NOW)
        await self.records.end(row, NOW, outcome, why, why, 5)


async def test_a_run_is_pending_then_running_then_over(tmp_path: Path) -> None:
    async with Bench(tmp_path).keeping() as bench:
        bench.reports.put(report(SNAPSHOT))
        await bench.until(RunState.PENDING)
        bench.reports.put(report(SNAPSHOT, running=(SNAPSHOT,)))
        await bench.until(RunState.RUNNING)
        await bench.tried(SNAPSHOT, "Succeeded")
        bench.reports.put(report(EXPORT))
        await bench.tried(EXPORT, "Succeeded")
        bench.reports.put(report())
        await bench.until(RunState.SUCCEEDED)
        (row,) = read_runs(bench.path, "me")
        assert (row.cause, row.due, row.vms) == (Trigger.SCHEDULED, SLOT, 1)
        assert row.closed_at is not None
        async with asyncio.timeout(10):
            while bench.keeper.ended.value != {JOB.name: row}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    async with bench.keeping("another"):
        _, ended = await bench.keeper.ended.newer_than(0)
        assert ended == {JOB.name: row}, "what was before us is known"


async def test_what_is_held_keeps_a_run_open_and_says_why(tmp_path: Path) -> None:
    async with Bench(tmp_path).keeping() as bench:
        held = Held("VM web", Reason.VM_BUSY, "under way on it: migrate", SNAPSHOT)
        bench.reports.put(report(held=(held,)))
        await bench.until(RunState.PENDING)
        assert read_runs(bench.path, "me")[0].why == "under way on it: migrate"


async def test_a_run_with_a_point_missing_failed_in_part_and_heals(tmp_path: Path) -> None:
    other = replace(EXPORT, remote=RemoteName("off"))
    async with Bench(tmp_path).keeping() as bench:
        bench.reports.put(report(EXPORT, other, running=(EXPORT,)))
        await bench.until(RunState.RUNNING)
        await bench.tried(EXPORT, "Succeeded")
        await bench.tried(other, "Failed", "RemoteError")
        bench.reports.put(report())  # the remote is out of sight: nothing is planned towards it
        await bench.until(RunState.PARTIALLY_FAILED)
        bench.reports.put(report(other, running=(other,)))
        await bench.until(RunState.RUNNING)
        assert bench.tally.value.failed_in_a_row == {JOB.name: 1}
        await bench.tried(other, "Succeeded")
        bench.reports.put(report())
        await bench.until(RunState.SUCCEEDED)
    assert bench.tally.value.failed_in_a_row == {JOB.name: 0}
    assert bench.tally.value.runs == {
        (JOB.name, Trigger.SCHEDULED, RunState.PARTIALLY_FAILED): 1,
        (JOB.name, Trigger.SCHEDULED, RunState.SUCCEEDED): 1,
    }


async def test_a_cancelled_run_says_so(tmp_path: Path) -> None:
    cancelled = replace(wanting(JOB), cancellations=(Cancellation(RUN),))
    async with Bench(tmp_path).keeping() as bench:
        bench.reports.put(report(SNAPSHOT))
        await bench.until(RunState.PENDING)
        held = Held("VM web", Reason.RUN_CANCELLED, "somebody cancelled it", SNAPSHOT)
        bench.reports.put(report(held=(held,), desired=cancelled))
        await bench.until(RunState.CANCELLED)


async def test_a_run_that_took_too_long_says_so(tmp_path: Path) -> None:
    async with Bench(tmp_path).keeping() as bench:
        bench.reports.put(report(EXPORT, running=(EXPORT,)))
        await bench.until(RunState.RUNNING)
        await bench.tried(EXPORT, "TimedOut", "it took longer than 1h")
        held = Held("VM web", Reason.TIMED_OUT, "it took longer than 1h", EXPORT)
        bench.reports.put(report(held=(held,)))
        await bench.until(RunState.TIMED_OUT)


async def test_a_run_whose_keeper_died_is_interrupted_until_somebody_goes_on(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    async with bench.keeping("dead"):
        bench.reports.put(report(EXPORT, running=(EXPORT,)))
        await bench.until(RunState.RUNNING, owner="dead")
    assert bench.runs(None) == {RUN: RunState.INTERRUPTED}
    assert bench.runs("me") == {RUN: RunState.INTERRUPTED}
    bench.reports.put(report(EXPORT, running=(EXPORT,)))
    async with bench.keeping("me"):
        await bench.until(RunState.RUNNING)
        await bench.tried(EXPORT, "Succeeded")
        bench.reports.put(report())
        await bench.until(RunState.SUCCEEDED)


async def test_failures_in_a_row_outlive_a_restart(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    async with bench.keeping("first"):
        bench.reports.put(report(EXPORT))
        await bench.until(RunState.PENDING, owner="first")
        await bench.tried(EXPORT, "Failed", "the remote is full")
        bench.reports.put(report())
        await bench.until(RunState.FAILED, owner="first")
    assert bench.tally.value.failed_in_a_row == {JOB.name: 1}
    bench.tally.put(Tally())
    async with bench.keeping("second"):
        async with asyncio.timeout(60):
            await bench.tally.newer_than(bench.tally.version - 1)
            while not bench.tally.value.failed_in_a_row:
                await bench.tally.newer_than(bench.tally.version)
    assert bench.tally.value.failed_in_a_row == {JOB.name: 1}


async def test_before_the_world_is_seen_no_run_is_closed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    async with bench.keeping("dead"):
        bench.reports.put(report(EXPORT, running=(EXPORT,)))
        await bench.until(RunState.RUNNING, owner="dead")
    blind = replace(report(), observed=Observed())
    bench.reports.put(blind)
    async with bench.keeping("me"):
        await asyncio.sleep(0.2)
        assert bench.runs("me") == {RUN: RunState.INTERRUPTED}


async def test_slots_that_passed_unseen_are_missed_and_the_last_one_is_due(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.reports.put(report(at=NOW - timedelta(days=3)))
    async with bench.keeping():
        await asyncio.sleep(0.2)
    assert bench.runs() == {}
    bench.reports.put(report(SNAPSHOT))
    async with bench.keeping():
        await bench.until(RunState.PENDING)
        await bench.until(RunState.MISSED, f"{JOB.name}/20260820T020000Z")
    assert bench.runs() == {
        RUN: RunState.PENDING,
        f"{JOB.name}/20260820T020000Z": RunState.MISSED,
        f"{JOB.name}/20260819T020000Z": RunState.MISSED,
    }
    assert bench.tally.value.missed == {(JOB.name, JOB.schedules[0].id): 2}


async def test_slots_of_a_suspended_job_are_skipped(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    asleep = wanting(replace(JOB, suspend=True))
    bench.reports.put(report(at=NOW - timedelta(days=1), desired=asleep))
    async with bench.keeping():
        await asyncio.sleep(0.2)
        bench.reports.put(report(desired=asleep))
        await bench.until(RunState.SKIPPED)


async def test_lines_of_a_runs_actions_are_kept_with_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    before = structlog.get_config()
    structlog.configure(processors=[bench.lines, *before["processors"]])
    try:
        bind_contextvars(run=RUN)
        structlog.get_logger("reconciler.test").info("action ended", subject="VM web", bytes=7)
        unbind_contextvars("run")
        structlog.get_logger("reconciler.test").info("of no run")
    finally:
        structlog.configure(**before)
    async with bench.keeping(), asyncio.timeout(120):
        while not (found := read_lines(bench.path, RUN)):  # noqa: ASYNC110 (a file rings no bell)
            await asyncio.sleep(0.01)
    (line,) = found
    assert (line.event, line.level) == ("action ended", "info")
    assert line.fields == {"subject": "VM web", "bytes": "7"}
    assert read_lines(bench.path, RUN, after=line.id) == []
