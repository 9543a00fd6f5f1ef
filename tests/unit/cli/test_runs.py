from datetime import UTC, datetime, timedelta

import pytest

from reconciler.cli.runs import RunState, run_dict, runs_of, try_dict
from reconciler.executor.records import Try

DUE = datetime(2026, 1, 9, 2, tzinfo=UTC)


def a_try(
    number: int,
    verb: str,
    outcome: str,
    *,
    vm: str = "a",
    place: str = "nas1",
    job: str | None = "nightly",
    due: datetime = DUE,
    count: int = 0,
) -> Try:
    started = due + timedelta(minutes=number)
    ended = outcome not in {"Running", "Interrupted"}
    return Try(
        id=number,
        action=f"{verb}-{number}",
        verb=verb,
        job=job,
        vm=vm,
        vm_name=f"vm-{vm}",
        place=place,
        stamp=None,
        due=due,
        reason="Scheduled",
        started_at=started,
        ended_at=started + timedelta(seconds=30) if ended else None,
        outcome=outcome,
        outcome_reason="InsufficientSpace" if outcome == "Failed" else "",
        why="no space left" if outcome == "Failed" else "",
        bytes=count,
    )


def newest_first(*tries: Try) -> list[Try]:
    return sorted(tries, key=lambda each: each.id, reverse=True)


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ({"snapshot": "Succeeded", "export": "Succeeded"}, RunState.SUCCEEDED),
        ({"snapshot": "Succeeded", "export": "Running"}, RunState.RUNNING),
        ({"snapshot": "Running"}, RunState.RUNNING),
        ({"snapshot": "Succeeded", "export": "Failed"}, RunState.FAILED),
        ({"snapshot": "Failed"}, RunState.FAILED),
        ({"snapshot": "Succeeded"}, RunState.INTERRUPTED),
        ({"snapshot": "Succeeded", "export": "Interrupted"}, RunState.INTERRUPTED),
        ({"snapshot": "Succeeded", "export": "Cancelled"}, RunState.INTERRUPTED),
        ({"export": "Succeeded"}, RunState.SUCCEEDED),
        ({"snapshot": "Interrupted", "export": "Succeeded"}, RunState.SUCCEEDED),
        ({"export": "Succeeded", "merge": "Failed"}, RunState.PARTIALLY_FAILED),
    ],
)
def test_states(outcomes: dict[str, str], state: RunState) -> None:
    tries = [a_try(number, verb, outcomes[verb]) for number, verb in enumerate(outcomes)]
    (run,) = runs_of(newest_first(*tries))
    assert run.state is state
    assert (run.ended_at is None) == (
        state is RunState.RUNNING or set(outcomes.values()) == {"Interrupted"}
    )


def test_one_remote_of_two_is_a_partial_failure() -> None:
    (run,) = runs_of(
        newest_first(
            a_try(1, "snapshot", "Succeeded", place="lab"),
            a_try(2, "export", "Succeeded", count=100),
            a_try(3, "export", "Failed", place="offsite", count=10),
        )
    )
    assert run.state is RunState.PARTIALLY_FAILED
    assert (run.vms, run.points, run.failures, run.bytes) == (1, 1, 1, 110)
    assert run.why() == "no space left"


def test_a_later_try_heals_an_earlier_one() -> None:
    (run,) = runs_of(
        newest_first(
            a_try(1, "snapshot", "Succeeded"),
            a_try(2, "export", "Failed", count=40),
            a_try(3, "export", "Interrupted", count=0),
            a_try(4, "export", "Succeeded", count=60),
        )
    )
    assert run.state is RunState.SUCCEEDED
    assert (run.points, run.failures, run.bytes) == (1, 0, 100)
    assert run.duration == timedelta(minutes=3, seconds=30)


def test_runs_are_told_apart_by_job_and_due_newest_first() -> None:
    runs = runs_of(
        newest_first(
            a_try(1, "export", "Succeeded", due=DUE - timedelta(days=1)),
            a_try(2, "export", "Succeeded"),
            a_try(3, "export", "Failed", job="hourly"),
        )
    )
    assert [run.name for run in runs] == [
        "nightly/20260109T020000Z",
        "hourly/20260109T020000Z",
        "nightly/20260108T020000Z",
    ]


def test_housekeeping_alone_is_no_run() -> None:
    assert (
        runs_of([a_try(1, "merge", "Succeeded"), a_try(2, "export", "Succeeded", job=None)]) == []
    )


def test_for_programs() -> None:
    tries = newest_first(a_try(1, "snapshot", "Succeeded"), a_try(2, "export", "Failed"))
    (run,) = runs_of(tries)
    assert run_dict(run) == {
        "name": "nightly/20260109T020000Z",
        "job": "nightly",
        "due": "2026-01-09T02:00:00+00:00",
        "state": "Failed",
        "cause": None,
        "vms": 1,
        "points": 0,
        "failures": 1,
        "bytes": 0,
        "startedAt": "2026-01-09T02:01:00+00:00",
        "endedAt": "2026-01-09T02:02:30+00:00",
        "durationSeconds": 90.0,
        "why": "no space left",
    }
    assert try_dict(tries[0])["outcomeReason"] == "InsufficientSpace"
