"""Objects of runs: what they are called, which stay, and what each state says."""

from datetime import UTC, datetime
from typing import Any

import pytest
from scenes import job

from reconciler.desired.document import Identity
from reconciler.desired.run_history import RunHistory
from reconciler.desired.state import Job
from reconciler.executor.records import Try
from reconciler.executor.run_pictures import RunPicture, picture_of
from reconciler.ids import JobName, RunId
from reconciler.kube.objects import is_over
from reconciler.kube.records import MADE_BY
from reconciler.kube.run_status import status_of
from reconciler.kube.runs import noted_failures, object_name, surplus
from reconciler.status.runs import NotedRun, RunState, Trigger

AT = datetime(2026, 1, 31, 2, tzinfo=UTC)
END = datetime(2026, 1, 31, 2, 5, tzinfo=UTC)


def row(state: RunState, why: str = "") -> NotedRun:
    closed = None if state in (RunState.PENDING, RunState.RUNNING) else END
    name, run = JobName("nightly"), RunId("nightly/20260131T020000Z")
    return NotedRun(run, name, AT, Trigger.SCHEDULED, state, why, 2, AT, closed)


def attempt(number: int, vm: str, outcome: str, verb: str = "export", **more: Any) -> Try:
    ended = None if outcome == "Running" else END
    settings = {"outcome_reason": "", "why": "", "bytes": 7, "total_bytes": 9, **more}
    names = (number, "x", verb, "nightly", vm, vm, "nas", None)
    return Try(*names, AT, "Scheduled", AT, ended, outcome, **settings)


def test_names_are_those_of_objects() -> None:
    assert object_name(RunId("nightly/20260131T020000Z")) == "nightly-20260131t020000z"
    assert object_name(RunId("backups/nightly/20260131T020000Z")) == "nightly-20260131t020000z"
    long, other = ("n" * 252 + end for end in "ab")
    names = {object_name(RunId(f"{name}/20260131T020000Z")) for name in (long, other)}
    assert len(names) == 2
    assert all(len(name) <= 253 for name in names)


@pytest.mark.parametrize("state", RunState)
def test_every_state_says_whether_it_is_over(state: RunState) -> None:
    conditions, fields = status_of(RunPicture(row(state)))
    said = {each.type.value: each.status.value for each in conditions}
    is_open = state in (RunState.PENDING, RunState.RUNNING)
    assert fields["state"] == state.value
    assert (said["Complete"] == "True" or said.get("Failed") == "True") != is_open
    assert ("Reconciling" in said) == is_open
    assert (fields["completionTime"] is None) == is_open
    raw = {
        "kind": "BackupRun",
        "status": {"conditions": [{"type": key, "status": value} for key, value in said.items()]},
    }
    assert is_over(raw) != is_open


def test_what_failed_comes_first_and_gives_the_reason() -> None:
    tries = [
        attempt(1, "a", "Succeeded", "snapshot"),
        attempt(2, "a", "Succeeded"),
        attempt(3, "b", "Failed", outcome_reason="InsufficientSpace", why="the disk is full"),
    ]
    conditions, fields = status_of(picture_of(row(RunState.PARTIALLY_FAILED, "full"), tries))
    assert {each.reason.value for each in conditions} == {"InsufficientSpace"}
    assert fields["vms"] == {"summary": "1/2", "matched": 2, "done": 1}
    assert fields["results"][0]["message"] == "the disk is full"


def test_a_transfer_that_goes_on_changes_nothing() -> None:
    one = picture_of(row(RunState.RUNNING), [attempt(1, "a", "Running", bytes=5)])
    other = picture_of(row(RunState.RUNNING), [attempt(1, "a", "Running", bytes=6)])
    assert one == other
    assert "bytes" not in status_of(one)[1]["results"][0]


def records(*states: str) -> dict[Identity, Any]:
    """Eight of each state that the operator made, and eight that people did."""
    return {
        Identity("BackupRun", "default", f"{state}-{day}-{len(labels)}".lower()): {
            "metadata": {"labels": labels},
            "spec": {"jobRef": {"name": "nightly"}, "at": f"2026-01-{day:02}T02:00:00Z"},
            "status": {"state": state},
        }
        for day in range(1, 9)
        for state in states
        for labels in (MADE_BY, {})
    }


@pytest.mark.parametrize(
    ("jobs", "good", "bad"),
    [
        ((), 3, 3),  # its job is gone, or cannot be read
        ((job(),), 3, 3),
        ((job(history=RunHistory(5, 0)),), 5, 0),
        ((job(history=RunHistory(100, 7)),), 100, 7),
    ],
)
def test_only_our_own_records_go_and_as_many_stay_as_the_job_says(
    jobs: tuple[Job, ...], good: int, bad: int
) -> None:
    runs = records("Succeeded", "Failed", "Running")
    gone = {identity.name for identity in surplus(runs, {each.name: each for each in jobs})}
    assert gone == {f"succeeded-{day}-1" for day in range(1, 9 - good)} | {
        f"failed-{day}-1" for day in range(1, 9 - bad)
    }


def test_the_order_is_that_of_instants_and_not_of_texts() -> None:
    runs = records("Succeeded")
    for identity, raw in runs.items():
        if identity.name == "succeeded-1-1":
            raw["spec"]["at"] = "2026-01-08T05:00:00+02:00"  # an hour after the newest
    assert "succeeded-1-1" not in {identity.name for identity in surplus(runs, {})}


def test_failures_in_a_row_are_told_by_records_too() -> None:
    runs = records("Running") | {
        Identity("BackupRun", "default", f"run-{day}"): {
            "metadata": {},
            "spec": {"jobRef": {"name": "nightly"}, "at": f"2026-02-{day:02}T02:00:00Z"},
            "status": {"state": state},
        }
        for day, state in enumerate(("Failed", "Succeeded", "Failed", "Missed", "TimedOut"), 1)
    }
    other = {**runs[Identity("BackupRun", "default", "run-1")], "status": {}}
    runs[Identity("BackupRun", "east", "asked")] = other
    assert noted_failures(runs) == {"nightly": 2}
    assert noted_failures({}) == {}
