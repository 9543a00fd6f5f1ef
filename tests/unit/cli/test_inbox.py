import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from scenes import wanting

from reconciler.cli.inbox import Answer, Inbox, ask, cancel, peek, take_answer
from reconciler.cli.settlement import PartState
from reconciler.clock import SteppedClock
from reconciler.desired.selector import Selector
from reconciler.desired.state import Cancellation, Job, RunRequest
from reconciler.ids import JobId, JobName, PoolName, RemoteName, RunId, VmUuid, stamp_of
from reconciler.observed.chain import History, RestorePoint
from reconciler.observed.pool import PoolView, PowerState, Vm
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.plan.plan import Plan
from reconciler.status.report import Report

NOW = datetime(2026, 1, 9, 12, tzinfo=UTC)
LAB, NAS, WEB = PoolName("lab"), RemoteName("nas1"), VmUuid("a")
JOB = Job(JobName("nightly"), JobId("j"), (LAB,), (NAS,), Selector(all=True), ())
REQUEST = RunRequest(JOB.name, NOW)


def report(*requests: RunRequest, done: bool, job: Job | None = JOB) -> Report:
    vm = Vm(WEB, "web", frozenset(), PowerState.RUNNING, ())
    point = RestorePoint(WEB, "web", stamp_of(NOW), NOW, JOB.id, (), (), 7)
    history = History(WEB, NOW, points=(point,) if done else ())
    return Report(
        desired=wanting(*([job] if job else []), requests=requests),
        observed=Observed(
            {LAB: PoolView(LAB, "u", "lab", "m", "8", NOW, {WEB: vm})},
            {NAS: RemoteView(NAS, NOW, None, None, {WEB: history})},
        ),
        plan=Plan(),
        at=NOW,
    )


def files_in(directory: Path) -> list[Path]:
    return list(directory.rglob("*.json"))


class Box:
    """An inbox, worked one round at a time."""

    def __init__(self, path: Path) -> None:
        self.inbox = Inbox(path, SteppedClock(NOW))

    async def round(self, seen: Report | None) -> None:
        class Enough(Exception):
            pass

        def read() -> Report | None:
            if self.rounds:
                raise Enough
            self.rounds += 1
            return seen

        self.rounds = 0
        with pytest.raises(Enough):
            await self.inbox.run(read)


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    monkeypatch.setattr("reconciler.cli.inbox._LOOK_S", 0.0)
    return Box(tmp_path)


async def test_a_request_is_taken_up_and_answered_when_it_is_settled(
    box: Box, tmp_path: Path
) -> None:
    name = ask(tmp_path, REQUEST)
    await box.round(None)
    assert box.inbox.requests.value == (REQUEST,)
    await box.round(report(done=True))  # made before the request was known: says nothing
    await box.round(report(REQUEST, done=False))
    assert take_answer(tmp_path, name) is None
    await box.round(report(REQUEST, done=True))
    answer = take_answer(tmp_path, name)
    assert answer is not None
    assert [part.state for part in answer.parts] == [PartState.DONE]
    assert answer.parts[0].point == f"a/{stamp_of(NOW)}@nas1"
    await box.round(None)
    assert box.inbox.requests.value == ()
    assert files_in(tmp_path) == []


async def test_a_request_outlives_the_reconciler_that_took_it_up(box: Box, tmp_path: Path) -> None:
    ask(tmp_path, REQUEST)
    await box.round(report(REQUEST, done=False))
    second = Box(tmp_path)
    await second.round(None)
    assert second.inbox.requests.value == (REQUEST,)


@pytest.mark.parametrize(
    ("job", "error"),
    [
        (None, "no manifest"),
        (Job(JOB.name, JOB.id, (LAB,), (NAS,), Selector(all=True), (), suspend=True), "suspended"),
    ],
)
async def test_what_cannot_be_done_is_said(
    box: Box, tmp_path: Path, job: Job | None, error: str
) -> None:
    name = ask(tmp_path, REQUEST)
    await box.round(report(REQUEST, done=False, job=job))
    answer = take_answer(tmp_path, name)
    assert answer is not None
    assert error in answer.error


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"job": "x"}', b'{"job": "x", "at": "2026-01-01"}', b'{"at": 3}', b"\xff"],
)
async def test_nonsense_is_answered_and_removed(box: Box, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests" / "odd.json").write_bytes(content)
    await box.round(None)
    answer = take_answer(tmp_path, "odd")
    assert answer is not None
    assert "not understood" in answer.error
    assert list((tmp_path / "requests").iterdir()) == []


async def test_who_does_not_wait_gets_no_answer(box: Box, tmp_path: Path) -> None:
    ask(tmp_path, REQUEST, wants_answer=False)
    await box.round(report(REQUEST, done=True))
    assert files_in(tmp_path) == []


async def test_answers_that_nobody_took_are_removed_after_a_day(box: Box, tmp_path: Path) -> None:
    old = tmp_path / "answers" / "old.json"
    old.parent.mkdir()
    old.write_text(json.dumps({"parts": [], "error": ""}))
    os.utime(old, (NOW.timestamp() - 90_000,) * 2)
    ask(tmp_path, REQUEST)
    await box.round(report(REQUEST, done=True))
    assert not old.exists()


def test_an_answer_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "x.json").write_text('{"parts": [], "error": "no"}')
    assert take_answer(tmp_path, "x") == Answer(error="no")
    assert take_answer(tmp_path, "x") is None


def test_what_waits_can_be_read_without_taking_it(tmp_path: Path) -> None:
    assert peek(tmp_path) == ((), ())
    ask(tmp_path, REQUEST)
    cancel(tmp_path, RunId("nightly/20260109T020000Z"), NOW)
    for kind in ("requests", "cancellations"):
        (tmp_path / kind / "odd.json").write_text("{", encoding="utf-8")
    before = {path: path.read_bytes() for path in files_in(tmp_path)}
    found = Cancellation(RunId("nightly/20260109T020000Z"), NOW)
    assert peek(tmp_path) == ((REQUEST,), (found,))
    assert {path: path.read_bytes() for path in files_in(tmp_path)} == before
