"""The whole plan: order of debts, what is said, when to look again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scenes import Scene, job, schedule, wanting

from reconciler.desired.problems import Problem
from reconciler.desired.retention import Retention
from reconciler.desired.selector import Selector
from reconciler.desired.state import Desired, RunRequest
from reconciler.ids import JobName, PoolName
from reconciler.observed.state import Observed
from reconciler.plan.actions import Export, Snapshot
from reconciler.plan.plan import Plan
from reconciler.plan.planner import plan
from reconciler.plan.reasons import Reason

NOW = datetime(2026, 8, 21, 2, 0, 10, tzinfo=UTC)


def test_nothing_wanted_is_in_sync() -> None:
    assert plan(Desired(), Observed(), NOW) == Plan(sentence="in sync")


def test_problems_are_part_of_the_plan() -> None:
    problem = Problem("jobs.yaml", 3, 1, "unknown field", object="BackupJob/nightly")
    (held,) = plan(Desired(problems=(problem,)), Observed(), NOW).held
    assert held.subject == "BackupJob/nightly"
    assert held.reason is Reason.INVALID_SPEC
    assert "jobs.yaml:3: unknown field" in held.why


def scene(world: str, *jobs: Any, **changes: Any) -> Scene:
    return Scene(wanting(*(jobs or (job(),)), **changes), f"now: 2026-08-21 02:00:10\n{world}")


def test_a_selector_that_chooses_nothing_is_said() -> None:
    found = scene(
        "pools: {east: {vms: {web: {}}}}\nremotes: {nas: {}}", job(selector=Selector(names=("x",)))
    )
    assert found.reasons() == ["NoVMsMatched"]


def test_but_not_while_a_pool_is_out_of_sight() -> None:
    found = scene("pools: {east: {unknown: no answer}}\nremotes: {nas: {}}")
    assert found.reasons() == ["PoolUnreachable"]


@pytest.mark.parametrize("world", ["pools: {}\nremotes: {nas: {}}", "pools: {}"])
def test_what_was_not_looked_at_yet_is_not_known(world: str) -> None:
    found = scene(world)
    assert found.actions() == []
    assert set(found.reasons()) <= {"PoolUnreachable", "RemoteUnavailable"}
    assert "not been looked at" in found.held()[0].why


def test_pools_that_no_manifest_describes_are_not_used() -> None:
    found = scene("pools: {east: {vms: {web: {}}}}\nremotes: {nas: {}}", pools={}, remotes={})
    assert found.actions() == []
    assert set(found.reasons()) == {"InvalidSpec"}


def test_a_suspended_job_is_said_to_be() -> None:
    found = scene("pools: {east: {vms: {web: {}}}}\nremotes: {nas: {}}", job(suspend=True))
    assert found.actions() == []
    assert found.reasons() == ["Suspended"]


def test_a_uuid_that_two_pools_have_is_backed_up_once() -> None:
    pools = (PoolName("east"), PoolName("west"))
    found = scene(
        "pools: {east: {vms: {web: {}}}, west: {vms: {web: {}}}}\nremotes: {nas: {}}",
        job(pools=pools),
    )
    (snapshot,) = found.actions(Snapshot)
    assert snapshot.pool == "east"
    (held,) = found.held()
    assert "east and west both have it" in held.why


def test_two_jobs_of_one_vm_stand_beside_each_other() -> None:
    found = scene("pools: {east: {vms: {web: {}}}}\nremotes: {nas: {}}", job(), job(name="second"))
    assert [action.job for action in found.actions(Snapshot)] == ["nightly", "second"]


# ── order ─────────────────────────────────────────────────────────────────────────────────────────


def point(job_name: str, when: str, schedules: str = "night", **more: str) -> str:
    rest = "".join(f", {key}: {value}" for key, value in more.items())
    return f"{{job: {job_name}, at: {when}, schedules: [{schedules}]{rest}}}"


def test_the_oldest_debt_comes_first() -> None:
    early = job(schedule("night", "30 1 * * *", job="early"), name="early")
    found = scene("pools: {east: {vms: {web: {}}}}\nremotes: {nas: {}}", job(), early)
    assert [action.job for action in found.actions()] == ["early", "nightly"]


def test_a_run_that_somebody_waits_for_comes_before_those_of_tonight() -> None:
    asked = RunRequest(JobName("second"), NOW)
    found = scene(
        "pools: {east: {vms: {web: {}}}}\nremotes: {nas: {}}",
        job(),
        job(schedule("night", "0 12 * * *", job="second"), name="second"),
        requests=(asked,),
    )
    assert [action.job for action in found.actions()] == ["second", "nightly"]


def tidying(hours_old: int) -> Scene:
    """A VM that is due, beside one whose points of some hours ago are to be tidied up."""
    when = (NOW - timedelta(hours=hours_old)).replace(tzinfo=None)
    points = f"{point('other', str(when - timedelta(days=1)), 'hour')}, "
    points += point("other", str(when), "hour")
    other = job(
        schedule("hour", "0 0 1 1 *", Retention(last=1), job="other"),
        name="other",
        selector=Selector(names=("db",)),
    )
    return scene(
        f"""
pools: {{east: {{vms: {{web: {{}}, db: {{snapshots: [{point("other", str(when), "hour")}]}}}}}}}}
remotes: {{nas: {{vms: {{db: {{points: [{points}]}}}}}}}}
""",
        job(selector=Selector(names=("web",))),
        other,
    )


@pytest.mark.parametrize(
    ("hours_old", "order"), [(11, ["snapshot", "prune"]), (13, ["prune", "snapshot"])]
)
def test_tidying_up_gives_way_for_half_a_day(hours_old: int, order: list[str]) -> None:
    assert [action.verb for action in tidying(hours_old).actions()] == order


def test_what_is_in_the_way_of_an_export_comes_before_it() -> None:
    last, tonight = "2026-08-20 02:00:05", "2026-08-21 02:00:05"
    found = scene(
        f"""
pools:
  east: {{vms: {{web: {{snapshots: [{point("nightly", last)}, {point("nightly", tonight)}]}}}}}}
remotes:
  nas: {{vms: {{web: {{points: [{point("nightly", last)}], partials: [x]}}}}}}
"""
    )
    assert [action.verb for action in found.actions()] == ["clean", "export"]


# ── words and waking ──────────────────────────────────────────────────────────────────────────────


def test_the_sentence_counts() -> None:
    tonight = point("nightly", "2026-08-21 02:00:05")
    found = scene(
        f"""
pools: {{east: {{vms: {{web: {{snapshots: [{tonight}]}}, db: {{}}, mail: {{busy: [migrate]}}}}}}}}
remotes: {{nas: {{}}}}
"""
    )
    assert found.plan.sentence == "1 snapshot, 1 export (1 full); 1 held"
    assert len(found.actions(Export)) == 1


def test_it_wakes_at_the_next_slot_of_any_job() -> None:
    hourly = job(schedule("hour", "0 * * * *", job="hourly"), name="hourly", suspend=True)
    found = scene("pools: {east: {vms: {}}}\nremotes: {nas: {}}", job(), hourly)
    assert found.plan.wake_at == datetime(2026, 8, 22, 2, tzinfo=UTC)
    found.desired = wanting(job(), replace(hourly, suspend=False))
    assert found.plan.wake_at == datetime(2026, 8, 21, 3, tzinfo=UTC)


def test_a_schedule_may_be_years_away() -> None:
    leap = schedule("leap", "0 0 29 2 *")
    found = scene("pools: {east: {vms: {}}}\nremotes: {nas: {}}", job(leap))
    assert found.plan.wake_at == datetime(2028, 2, 29, tzinfo=UTC)


def test_points_from_the_future_are_reported() -> None:
    found = scene(
        f"""
pools: {{east: {{vms: {{web: {{}}}}}}}}
remotes: {{nas: {{vms: {{web: {{points: [{point("nightly", "2026-08-21 04:00:00")}]}}}}}}}}
"""
    )
    assert found.actions() == []
    assert found.reasons() == ["ClockBehind"]
    assert found.plan.wake_at == datetime(2026, 8, 21, 3, tzinfo=UTC)
