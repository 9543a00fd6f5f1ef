"""The executor: what is admitted is run, and how it ended is noted for the planner."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.clock import SteppedClock
from reconciler.connections import Connections
from reconciler.desired.state import Desired, LocalPlace, Remote
from reconciler.executor.executor import Executor
from reconciler.executor.hands import OwnHands
from reconciler.executor.records import Records, read_tries
from reconciler.ids import RemoteName, VmUuid
from reconciler.latest import Latest
from reconciler.observed.chain import History
from reconciler.observed.progress import Progress
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.plan.actions import CleanFiles, id_of
from reconciler.plan.claims import remote_place
from reconciler.plan.plan import Cancel, Plan
from reconciler.plan.reasons import Reason
from reconciler.status.report import Report
from reconciler.status.tally import Tally

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
VM = VmUuid("11111111-1111-4111-8111-111111111111")
CELLAR = RemoteName("cellar")


class Bench:
    """An executor on a real directory, fed by hand."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "remote"
        self.vm = self.root / "xo-vm-backups" / VM
        self.vm.mkdir(parents=True)
        self.clock = SteppedClock(NOW)
        self.desired = Desired(
            remotes={CELLAR: Remote(name=CELLAR, place=LocalPlace(str(self.root)))}
        )
        self.report: Latest[Report | None] = Latest(None)
        self.progress = Latest(Progress())
        self.tally = Latest(Tally())
        self.history = directory / "runs.sqlite"
        mailbox = Latest(self.desired)
        self.connections = Connections(mailbox, lambda _: "")
        self.records = Records(self.history, "test")
        hands = OwnHands(mailbox, self.connections, self.clock)
        self.executor = Executor(
            self.report, self.progress, self.tally, hands, self.records, self.clock
        )

    def clean(self, *names: str) -> CleanFiles:
        return CleanFiles(
            remote=CELLAR,
            vm=VM,
            vm_name="web",
            paths=names,
            freed_bytes=0,
            due=NOW,
            reason=Reason.PARTIAL_UPLOAD,
        )

    def plan(self, *actions: CleanFiles, cancel: tuple[CleanFiles, ...] = ()) -> None:
        now = self.clock.now()
        view = RemoteView(CELLAR, now, None, None, {VM: History(vm=VM, as_of=now)})
        observed = Observed(remotes={CELLAR: view})
        plan = Plan(
            actions=actions,
            cancel=tuple(Cancel(id_of(each), Reason.CANCELLED, "asked") for each in cancel),
        )
        self.report.put(Report(desired=self.desired, observed=observed, plan=plan, at=now))

    async def ended(self, action: CleanFiles) -> Progress:
        async with asyncio.timeout(120):
            async for progress in self.progress.follow():
                if id_of(action) in progress.ended and not progress.running:
                    return progress
        raise AssertionError


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.executor.run())
        yield made
        running.cancel()
    await made.connections.close()
    await made.records.close()


async def test_an_action_is_run_and_its_place_is_touched(bench: Bench) -> None:
    partial = bench.vm / ".20260101T020000Z.vhd.partial"
    partial.write_bytes(b"x" * 100)
    action = bench.clean(partial.name)
    bench.plan(action)
    progress = await bench.ended(action)
    assert not partial.exists()
    attempt = progress.ended[id_of(action)]
    assert attempt.succeeded
    assert progress.touched == {remote_place(CELLAR, VM): attempt.ended_at}
    assert bench.executor.transfers.read() == ()
    (row,) = read_tries(bench.history, "test")
    assert (row.outcome, row.bytes) == ("Succeeded", 100)
    assert bench.tally.value.tries == {("clean", "Succeeded", ""): 1}


async def test_a_failure_is_judged_and_waited_for(bench: Bench) -> None:
    action = bench.clean("foreign.txt")
    (bench.vm / "foreign.txt").write_text("not ours")
    bench.plan(action)
    first = (await bench.ended(action)).ended[id_of(action)]
    assert (first.succeeded, first.reason) == (False, Reason.WORLD_CHANGED)
    assert (bench.vm / "foreign.txt").exists()
    bench.plan(action)
    assert not bench.progress.value.running, "it must wait"
    bench.clock.step(timedelta(minutes=5))
    bench.plan(action)
    async with asyncio.timeout(120):
        while bench.progress.value.ended[id_of(action)].count < 2:
            await bench.progress.newer_than(bench.progress.version)
    assert bench.tally.value.tries == {("clean", "Failed", "WorldChanged"): 2}
    assert bench.tally.value.try_seconds["clean"].count == 2


async def test_what_is_cancelled_ends_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = bench.clean(".20260101T020000Z.vhd.partial")
    reached = asyncio.Event()

    async def hang(_: RemoteName, __: object) -> object:
        reached.set()
        return await asyncio.Event().wait()

    monkeypatch.setattr(bench.connections, "remote", hang)
    bench.plan(action)
    async with asyncio.timeout(120):
        await reached.wait()
    bench.plan(cancel=(action,))
    progress = await bench.ended(action)
    assert progress.ended[id_of(action)].reason == Reason.CANCELLED
    assert bench.tally.value.tries == {("clean", "Cancelled", "Cancelled"): 1}
    await bench.records.close()  # waits for its turn: what was to be written is written
    assert [row.outcome for row in read_tries(bench.history, "test")] == ["Cancelled"]
