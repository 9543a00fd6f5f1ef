"""Which points are read to prove that they can be restored, and when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scenes import Scene, job, point, wanting

from reconciler.desired.verification import Verification
from reconciler.ids import RemoteName
from reconciler.plan.actions import Verify, id_of
from reconciler.plan.admit import decide
from reconciler.plan.reasons import Reason

AGE = Verification(timedelta(days=8))


POINTS = f"[{point(20)}, {point(21)}]"


def scene(points: str = POINTS, more: str = "", **changes: Any) -> Scene:
    changes = {"verification": AGE, **changes}
    return Scene(
        wanting(job(**changes)),
        f"""
now: 2026-08-21 12:00:00
pools:
  east:
    vms:
      web:
        snapshots: [{{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}}]
remotes:
  nas:
    vms:
      web:
        points: {points}
        {more}
""",
    )


def proven(at: str, of: str = "2026-08-20 02:00:05") -> str:
    return f"proofs: {{nightly: {{of: {of}, at: {at}}}}}"


def test_what_was_never_proven_is_read_at_once_the_newest_point_of_it() -> None:
    (action,) = scene().actions(Verify)
    assert action.stamp == "20260821T020005Z"
    assert action.due == datetime(2026, 8, 20, 2, 0, 5, tzinfo=UTC), "since it has points"
    assert action.reason is Reason.PROOF_DUE
    assert action.size_bytes == 10 << 30, "no more than the disk has, whatever its files have"


def test_nothing_is_read_where_nobody_asked_for_it() -> None:
    assert scene(verification=None).actions(Verify) == []


def test_nothing_is_read_of_a_suspended_job_or_at_a_suspended_remote() -> None:
    assert scene(suspend=True).actions(Verify) == []
    found = scene()
    nas = RemoteName("nas")
    remotes = {nas: replace(found.desired.remotes[nas], suspend=True)}
    found.desired = replace(found.desired, remotes=remotes)
    assert found.actions(Verify) == []
    (held,) = found.held(Verify)
    assert held.reason is Reason.SUSPENDED


def test_of_a_suspended_job_it_is_told_when_a_proof_expires() -> None:
    found = scene(more=proven("2026-08-20 12:00:00"), suspend=True)
    proven_at = datetime(2026, 8, 20, 12, tzinfo=UTC)
    assert found.plan.wake_at == proven_at + AGE.renew_after
    found.now = found.plan.wake_at
    assert found.plan.wake_at == proven_at + AGE.max_age
    found.now = found.plan.wake_at
    assert found.plan.wake_at is None


def test_without_points_there_is_nothing_to_prove() -> None:
    assert scene(points="[]").actions(Verify) == []


def test_a_proof_is_renewed_when_three_quarters_of_its_time_are_over() -> None:
    assert scene(more=proven("2026-08-15 12:00:01")).actions(Verify) == []
    (action,) = scene(more=proven("2026-08-15 12:00:00")).actions(Verify)
    assert action.due == datetime(2026, 8, 21, 12, tzinfo=UTC)


def test_the_plan_wakes_when_a_proof_is_to_be_renewed_and_when_it_expires() -> None:
    changes = {"verification": Verification(timedelta(hours=4))}
    found = scene(more=proven("2026-08-21 11:00:00"), **changes)
    assert found.plan.wake_at == datetime(2026, 8, 21, 14, tzinfo=UTC)
    found.now = datetime(2026, 8, 21, 14, tzinfo=UTC)
    assert len(found.actions(Verify)) == 1
    assert found.plan.wake_at == datetime(2026, 8, 21, 15, tzinfo=UTC)


def test_a_proof_from_the_future_proves_nothing() -> None:
    assert len(scene(more=proven("2027-01-01 00:00:00")).actions(Verify)) == 1


def test_a_point_that_is_not_whole_is_left_alone() -> None:
    bad = {"broken": "{root: bad}"}
    found = scene(points=f"[{point(20, **bad)}, {point(21)}]")
    assert found.actions(Verify) == []
    assert any("no point there that is whole" in held.why for held in found.plan.held)
    (action,) = scene(points=f"[{point(20)}, {point(21, **bad)}]").actions(Verify)
    assert action.stamp == "20260820T020005Z"


@pytest.mark.parametrize("what", ["locked: true", "unreadable: []"])
def test_what_somebody_else_works_at_is_read_later(what: str) -> None:
    expected = 0 if "locked" in what else 1
    assert len(scene(more=what).actions(Verify)) == expected


def test_a_begun_merge_of_the_same_disk_comes_first() -> None:
    points = f"[{point(20, pruned='true')}, {point(21)}]"
    merge = "merges: [{job: nightly, target: 2026-08-20 02:00:05, source: 2026-08-21 02:00:05}]"
    assert scene(points=points, more=merge).actions(Verify) == []


def test_an_archive_is_verified_like_any_other_point() -> None:
    (action,) = scene(points=f"[{point(21, archive='true')}]").actions(Verify)
    assert action.size_bytes == 10 << 30


def test_it_is_one_intent_whichever_point_is_the_newest() -> None:
    (action,) = scene().actions(Verify)
    assert id_of(replace(action, stamp="20260822T020005Z", size_bytes=1)) == id_of(action)
    assert id_of(replace(action, job_id="another")) != id_of(action)


def test_one_vm_at_a_time_is_read_on_a_remote_the_longest_unproven_first() -> None:
    found = Scene(
        wanting(job(verification=AGE)),
        f"""
now: 2026-08-21 12:00:00
pools:
  east:
    vms:
      web: {{snapshots: [{{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}}]}}
      db: {{snapshots: [{{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}}]}}
remotes:
  nas:
    vms:
      web:
        points: {POINTS}
        {proven("2026-08-15 08:00:00")}
      db:
        points: {POINTS}
        {proven("2026-08-14 08:00:00")}
""",
    )
    assert [action.vm_name for action in found.actions(Verify)] == ["db", "web"]
    admission = decide(found.plan, found.desired, found.observed, found.now)
    assert [action.vm_name for action in admission.actions if isinstance(action, Verify)] == ["db"]
    (waits,) = (each for each in admission.waiting if isinstance(each.action, Verify))
    assert waits.reason is Reason.WAITING_FOR_LIMIT
    assert "1 points verified at once on remote nas" in waits.why
