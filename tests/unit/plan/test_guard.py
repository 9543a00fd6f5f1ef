"""What is too much, and what an approval lets through."""

from dataclasses import replace
from typing import Any

import pytest
from effects import apply
from scenes import Scene, job, schedule, wanting

from reconciler.desired.retention import Retention
from reconciler.desired.state import Approval, PruneGuard
from reconciler.ids import RemoteName
from reconciler.plan.actions import Prune
from reconciler.plan.reasons import Reason


def scene(
    last: int,
    counts: dict[str, int],
    guard: PruneGuard | None = None,
    *,
    now: str = "2026-08-28 12:00:00",
    remotes: tuple[str, ...] = ("nas",),
    schedules: Any = None,
) -> Scene:
    """VMs with so many nightly points on each remote, the newest of last night."""
    rules = Retention(last=last)
    wanted = job(
        *(schedules or (schedule(retention=rules),)),
        guard=guard or PruneGuard(),
        remotes=tuple(map(RemoteName, remotes)),
    )
    vms = ", ".join(
        f"{vm}: {{snapshots: [{{job: nightly, at: 2026-08-28 02:00:05, schedules: [night]}}]}}"
        for vm in counts
    )
    histories = ", ".join(
        f"{vm}: {{points: [{', '.join(_point(28 - day) for day in reversed(range(count)))}]}}"
        for vm, count in counts.items()
    )
    places = "".join(f"\n  {remote}: {{vms: {{{histories}}}}}" for remote in remotes)
    return Scene(
        wanting(wanted), f"now: {now}\npools: {{east: {{vms: {{{vms}}}}}}}\nremotes:{places}\n"
    )


def _point(day: int) -> str:
    return f"{{job: nightly, at: 2026-08-{day:02} 02:00:05, schedules: [night]}}"


def blocked(found: Scene) -> int:
    return sum(each.reason is Reason.MASS_DELETION_BLOCKED for each in found.held(Prune))


@pytest.mark.parametrize("count", [2, 3, 7, 20])
def test_retention_that_rolls_is_free(count: int) -> None:
    found = scene(count - 1, {"web": count})
    assert len(found.actions(Prune)) == 1
    assert found.plan.deletions == ""


def test_it_is_free_for_every_vm_of_a_large_job() -> None:
    found = scene(1, {f"vm{number}": 2 for number in range(100)})
    assert len(found.actions(Prune)) == 100


def test_each_schedule_may_let_go_of_one() -> None:
    other = schedule("other", "0 3 * * *", Retention(last=1))
    found = scene(3, {"web": 5}, schedules=(schedule(retention=Retention(last=3)), other))
    assert len(found.actions(Prune)) == 2
    assert blocked(found) == 0


def test_over_the_share_all_are_held() -> None:
    found = scene(1, {"web": 10})
    assert found.actions(Prune) == []
    assert blocked(found) == 9
    assert "9 of 10 points" in found.held(Prune)[0].why
    assert found.plan.deletions in found.held(Prune)[0].why


def test_the_share_is_of_all_the_jobs_points_on_the_remote() -> None:
    counts = {"web": 10, **{f"vm{number}": 1 for number in range(20)}}
    assert len(scene(1, counts).actions(Prune)) == 9  # 8 beyond the free one, of 30


def test_over_the_count_all_of_the_job_are_held() -> None:
    guard = PruneGuard(percent_max=100, points_max=16)
    found = scene(1, {"web": 10, "db": 10}, guard)
    assert len(found.actions(Prune)) == 18
    found = scene(1, {"web": 10, "db": 11}, guard)
    assert found.actions(Prune) == []
    assert blocked(found) == 19


def test_the_count_is_over_all_remotes() -> None:
    guard = PruneGuard(percent_max=100, points_max=10)
    found = scene(1, {"web": 8}, guard, remotes=("nas", "off"))
    assert blocked(found) == 14
    assert len(found.plan.deletions.split("+")) == 2


def test_what_has_to_wait_counts_at_once() -> None:
    """At night every VM is owed a point; as each gets it, its old ones must not slip through."""
    counts = {f"vm{number}": 10 for number in range(5)}
    found = scene(1, counts, now="2026-08-29 02:00:10")
    snapshots = found.actions()
    found.observed = apply(snapshots[0], found.observed, found.now)
    (export,) = (action for action in found.actions() if action.verb == "export")
    found.observed = apply(export, found.observed, found.now)
    assert found.actions(Prune) == []
    assert blocked(found) == 10


def test_an_approval_lets_exactly_this_through() -> None:
    found = scene(1, {"web": 10})
    approved = replace(found.desired, approvals=(Approval(found.plan.deletions),))
    assert found.plan.deletions != ""
    found.desired = replace(found.desired, approvals=(Approval("0123456789abcdef"),))
    assert found.actions(Prune) == []
    found.desired = approved
    assert len(found.actions(Prune)) == 9
    assert found.plan.deletions == ""


def test_an_approval_holds_until_all_is_done() -> None:
    found = scene(1, {"web": 10, "db": 6})
    found.desired = replace(found.desired, approvals=(Approval(found.plan.deletions),))
    for left in range(14, 0, -1):
        prunes = found.actions(Prune)
        assert len(prunes) == left
        found.observed = apply(prunes[left // 2], found.observed, found.now)
    assert found.actions(Prune) == []


def test_an_approval_means_nothing_for_other_rules() -> None:
    found = scene(2, {"web": 10})
    approval = Approval(found.plan.deletions)
    other = scene(1, {"web": 10})
    other.desired = replace(other.desired, approvals=(approval,))
    assert other.actions(Prune) == []


def test_an_approval_ends_with_the_next_point() -> None:
    found = scene(1, {"web": 10})
    approval = Approval(found.plan.deletions)
    more = scene(1, {"web": 10, "db": 1})
    more.desired = replace(more.desired, approvals=(approval,))
    assert more.actions(Prune) == []


def test_each_remote_is_approved_by_itself() -> None:
    found = scene(1, {"web": 10}, remotes=("nas", "off"))
    first, second = found.plan.deletions.split("+")
    assert first != second
    found.desired = replace(found.desired, approvals=(Approval(first),))
    assert len(found.actions(Prune)) == 9
    assert found.plan.deletions == second
