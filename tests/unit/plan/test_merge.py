"""What is folded, in which order, and what is left alone."""

from dataclasses import replace
from typing import Any

import pytest
from scenes import Scene, job, point, wanting

from reconciler.ids import RemoteName
from reconciler.plan.actions import CleanFiles, Merge
from reconciler.plan.reasons import Reason


def scene(points: list[str], more: str = "", **changes: Any) -> Scene:
    return Scene(
        wanting(job(**changes)),
        f"""
now: 2026-08-21 12:00:00
pools:
  east:
    vms:
      web: {{snapshots: [{{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}}]}}
remotes: {{nas: {{vms: {{web: {{points: [{", ".join(points)}]{more}}}}}}}}}
""",
    )


def days(found: Scene) -> list[tuple[int, int]]:
    return [
        (int(merge.target.rpartition("/")[2][6:8]), int(merge.source.rpartition("/")[2][6:8]))
        for merge in found.actions(Merge)
    ]


GONE = {"pruned": "true"}


def test_a_file_without_a_point_is_folded_into_the_next() -> None:
    found = scene([point(18, **GONE), point(19), point(20), point(21)])
    assert days(found) == [(18, 19)]
    (merge,) = found.actions(Merge)
    assert merge.reason is Reason.POINT_PRUNED
    assert merge.job == "nightly"
    assert merge.data_bytes == 1024**3
    assert found.actions(CleanFiles) == []


def test_one_merge_of_a_chain_at_a_time_the_oldest_first() -> None:
    found = scene([point(17, **GONE), point(18, **GONE), point(19), point(20, **GONE), point(21)])
    assert days(found) == [(17, 18)]


def test_chains_of_several_disks_go_side_by_side() -> None:
    both = {"disks": "[root, data]"}
    found = scene([point(19, **GONE, **both), point(20, **both), point(21, **both)])
    assert days(found) == [(19, 20), (19, 20)]
    assert len({merge.target for merge in found.actions(Merge)}) == 2


def test_a_chain_without_any_point_is_garbage() -> None:
    found = scene([point(18, **GONE), point(19, **GONE), point(20, full="[root]"), point(21)])
    assert days(found) == []
    (clean,) = found.actions(CleanFiles)
    assert [path[-20:-12] for path in clean.paths] == ["20260819", "20260818"]
    assert clean.reason is Reason.FILE_UNREFERENCED


@pytest.mark.parametrize(
    "points",
    [
        [point(18, **GONE), point(19, broken="{root: bad}"), point(20), point(21)],
        [point(17, broken="{root: bad}"), point(18, **GONE), point(19), point(21)],
    ],
    ids=["above", "below"],
)
def test_nothing_is_folded_in_a_directory_with_a_broken_file(points: list[str]) -> None:
    found = scene(points)
    assert days(found) == []
    assert Reason.CHAIN_BROKEN in found.reasons()


def test_nothing_is_folded_below_a_missing_file() -> None:
    found = scene([point(17, missing="[root]"), point(18, **GONE), point(19), point(21)])
    assert days(found) == []
    assert "is not merged" in found.held()[0].why


def test_a_begun_merge_comes_first_and_alone() -> None:
    begun = ", merges: [{job: nightly, target: 2026-08-17 02:00:05, source: 2026-08-18 02:00:05}]"
    both = {"disks": "[root, data]"}
    points = [
        point(17, **GONE, **both), point(18, **both), point(19, **GONE, **both), point(21, **both)
    ]  # fmt: skip
    found = scene(points, begun)
    assert days(found) == [(17, 18)]
    (merge,) = found.actions(Merge)
    assert merge.reason is Reason.MERGE_INTERRUPTED


def test_a_begun_merge_is_finished_for_a_suspended_job_too() -> None:
    begun = ", merges: [{job: nightly, target: 2026-08-17 02:00:05, source: 2026-08-18 02:00:05}]"
    points = [point(17, **GONE), point(18), point(21)]
    assert days(scene(points, begun, suspend=True)) == [(17, 18)]


def test_a_merge_that_somebody_else_began_is_not_ours() -> None:
    begun = ", merges: [{job: foreign, target: 2026-08-17 02:00:05, source: 2026-08-18 02:00:05}]"
    found = scene([point(19, **GONE), point(20), point(21)], begun)
    assert days(found) == [(19, 20)]


@pytest.mark.parametrize(
    "more",
    [", locked: true", ", unreadable: [{path: x.json, why: not JSON}]"],
)
def test_nothing_is_folded_where_something_is_in_doubt(more: str) -> None:
    assert days(scene([point(19, **GONE), point(20), point(21)], more)) == []


def test_nothing_is_folded_for_a_suspended_job() -> None:
    assert days(scene([point(19, **GONE), point(20), point(21)], suspend=True)) == []


def test_nothing_is_folded_for_a_job_with_problems() -> None:
    found = scene([point(19, **GONE), point(20), point(21)])
    mine = frozenset(each.id for each in found.desired.jobs.values())
    found.desired = replace(found.desired, protected_jobs=mine)
    assert days(found) == []


def test_nothing_is_folded_on_a_remote_that_the_job_has_left() -> None:
    found = scene([point(19, **GONE), point(20), point(21)])
    (left,) = found.desired.jobs.values()
    found.desired = wanting(replace(left, remotes=(RemoteName("off"),)), remotes={
        **found.desired.remotes, **wanting(job(remotes=(RemoteName("off"),))).remotes
    })  # fmt: skip
    assert days(found) == []


def test_files_of_an_unknown_job_are_left_alone() -> None:
    foreign = "{job: foreign, at: 2026-08-19 02:00:05, pruned: true}"
    found = scene([foreign, "{job: foreign, at: 2026-08-20 02:00:05}", point(21)])
    assert found.actions() == []
