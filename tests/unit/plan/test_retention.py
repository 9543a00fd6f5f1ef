"""Which points leave, and the many reasons why one stays."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scenes import Scene, job, schedule, wanting

from reconciler.desired.retention import Retention
from reconciler.desired.selector import Selector
from reconciler.desired.state import Job, JobSchedule, PruneGuard
from reconciler.ids import JobName, RemoteName
from reconciler.plan.actions import Prune
from reconciler.plan.reasons import Reason

FREE = PruneGuard(percent_max=100, points_max=10**6)
TWO = Retention(last=2)
DAYS = range(12, 22)


def keeping(*schedules: JobSchedule, **changes: Any) -> Job:
    return job(*schedules, **{"guard": FREE, **changes})


def scene(wanted: Job, *, odd: str = "", now: str = "2026-08-21 12:00:00", more: str = "") -> Scene:
    """Ten nights' points of one VM; `odd` goes into that of the 15th, `more` into the history."""
    usual = "schedules: [night]"
    points = ", ".join(
        f"{{job: nightly, at: 2026-08-{day} 02:00:05, {parts}}}"
        for day, parts in ((day, odd if odd and day == 15 else usual) for day in DAYS)
    )
    return Scene(
        wanting(wanted),
        f"""
now: {now}
pools:
  east:
    vms:
      web: {{snapshots: [{{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}}]}}
remotes: {{nas: {{vms: {{web: {{points: [{points}]{more}}}}}}}}}
""",
    )


def going(found: Scene) -> list[int]:
    """Days of the month whose points are pruned."""
    return [int(action.stamp[6:8]) for action in found.actions(Prune)]


def test_what_no_rule_keeps_leaves_oldest_first() -> None:
    found = scene(keeping(schedule(retention=TWO)))
    assert going(found) == list(range(12, 20))
    (first, *_) = found.actions(Prune)
    assert first.reason is Reason.RETENTION_EXCEEDED
    assert first.job == "nightly"
    assert first.due == datetime(2026, 8, 21, 2, 0, 5, tzinfo=UTC)


def test_no_rule_at_all_keeps_everything() -> None:
    assert going(scene(keeping(schedule()))) == []


def test_a_point_stays_if_any_of_its_schedules_keeps_it() -> None:
    weekly = schedule("weekly", "0 2 * * 6", Retention(last=9))
    found = scene(keeping(schedule(retention=TWO), weekly), odd="schedules: [night, weekly]")
    assert 15 not in going(found)


@pytest.mark.parametrize("schedules", ["[]", "[gone]"])
def test_a_point_of_no_schedule_of_the_job_stays(schedules: str) -> None:
    found = scene(keeping(schedule(retention=TWO)), odd=f"schedules: {schedules}")
    assert going(found) == [12, 13, 14, 16, 17, 18, 19]


def test_points_of_a_suspended_schedule_stay() -> None:
    assert going(scene(keeping(schedule(retention=TWO, suspend=True)))) == []


def test_points_of_a_suspended_job_stay() -> None:
    assert going(scene(keeping(schedule(retention=TWO), suspend=True))) == []


def test_broken_points_neither_count_nor_leave() -> None:
    """The 15th is missing, and with it every later point: three whole ones are left."""
    found = scene(keeping(schedule(retention=TWO)), odd="schedules: [night], missing: [root]")
    assert going(found) == [12]


def test_points_of_a_vm_that_is_not_chosen_stay() -> None:
    nobody = Selector(names=("nobody",))
    assert going(scene(keeping(schedule(retention=TWO), selector=nobody))) == []


def test_points_of_a_vm_that_is_gone_stay() -> None:
    found = scene(keeping(schedule(retention=Retention(within=timedelta(days=1)))))
    (view,) = found.observed.pools.values()
    gone = replace(view, vms={})  # type: ignore[type-var]
    found.observed = replace(found.observed, pools={"east": gone})  # type: ignore[dict-item]
    assert going(found) == []


def test_the_last_good_points_stay_and_are_named() -> None:
    guard = replace(FREE, good_min=2)
    short = schedule(retention=Retention(within=timedelta(hours=1)))
    found = scene(keeping(short, guard=guard))
    assert going(found) == list(range(12, 20))
    held = found.held(Prune)
    assert [each.reason for each in held] == [Reason.LAST_GOOD_POINT] * 2
    assert sorted(each.action.stamp[6:8] for each in held) == ["20", "21"]


def test_the_last_good_point_stays_when_newer_ones_are_broken() -> None:
    guard = replace(FREE, good_min=1)
    short = schedule(retention=Retention(within=timedelta(hours=1)))
    found = scene(keeping(short, guard=guard), odd="schedules: [night], missing: [root]")
    assert going(found) == [12, 13]


@pytest.mark.parametrize(
    "more",
    [
        "locked: true",
        "unreadable: [{path: x.json, why: not JSON}]",
        "merges: [{job: nightly, target: 2026-08-12 02:00:05, source: 2026-08-13 02:00:05}]",
    ],
)
def test_nothing_leaves_where_something_is_in_doubt(more: str) -> None:
    assert going(scene(keeping(schedule(retention=TWO)), more=f", {more}")) == []


@pytest.mark.parametrize("changes", [{"read_only": True}, {"suspend": True}])
def test_nothing_leaves_a_remote_that_is_not_written_to(changes: dict[str, bool]) -> None:
    found = scene(keeping(schedule(retention=TWO)))
    remote = found.desired.remotes[RemoteName("nas")]
    remotes = {RemoteName("nas"): replace(remote, **changes)}
    found.desired = replace(found.desired, remotes=remotes)
    assert going(found) == []


def test_new_before_old() -> None:
    found = scene(keeping(schedule(retention=TWO)), now="2026-08-22 02:00:10")
    assert going(found) == []


def test_nothing_leaves_while_its_points_lie_in_the_future() -> None:
    found = scene(keeping(schedule(retention=TWO)), now="2026-08-21 02:00:00")
    assert going(found) == []
    assert Reason.CLOCK_BEHIND in found.reasons()
    assert found.plan.wake_at == datetime(2026, 8, 21, 2, 0, 5, tzinfo=UTC)


def test_a_manifest_with_problems_protects_its_points() -> None:
    found = scene(keeping(schedule(retention=TWO)))
    mine = found.desired.jobs[JobName("nightly")].id
    found.desired = replace(found.desired, protected_jobs=frozenset({mine}))
    assert going(found) == []
    assert {each.reason for each in found.held(Prune)} == {Reason.INVALID_SPEC}


def test_the_next_point_to_age_wakes_the_planner() -> None:
    found = scene(keeping(schedule(retention=Retention(within=timedelta(days=3, hours=1)))))
    oldest_kept = datetime(2026, 8, 19, 2, 0, 5, tzinfo=UTC)
    aged_at = oldest_kept + timedelta(days=3, hours=1) + timedelta.resolution
    assert found.plan.wake_at == min(aged_at, datetime(2026, 8, 22, 2, tzinfo=UTC))
    found.now = datetime(2026, 8, 21, 15, 0, 6, tzinfo=UTC)
    assert going(found) == list(range(12, 19))
