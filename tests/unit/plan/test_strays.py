"""Snapshots that no backup goes on from."""

from dataclasses import replace

import pytest
from scenes import Scene, job, wanting

from reconciler.observed.progress import Claims, Mode, Progress
from reconciler.plan.actions import CleanSnapshot
from reconciler.plan.claims import pool_place
from reconciler.plan.reasons import Reason

POINT = "{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}"


def scene(pool: str = "", snapshots: str = POINT, vm: str = "") -> Scene:
    return Scene(
        wanting(job()),
        f"""
now: 2026-08-21 12:00:00
pools: {{east: {{vms: {{web: {{snapshots: [{snapshots}]{vm}}}}}{pool}}}}}
remotes: {{nas: {{vms: {{web: {{points: [{POINT}]}}, gone: {{points: [{POINT}]}}}}}}}}
""",
    )


def unmarked(owner: str = "nightly") -> str:
    return f"{POINT}, {{job: {owner}, at: 2026-08-21 02:00:01, unmarked: true}}"


def test_a_snapshot_that_was_never_marked_goes() -> None:
    (clean,) = scene(snapshots=unmarked()).actions(CleanSnapshot)
    assert clean.reason is Reason.SNAPSHOT_ORPHANED
    assert clean.vm_name == "web"
    assert len(clean.disks) == 1


def test_it_stays_while_it_may_be_being_made() -> None:
    assert scene(snapshots=unmarked(), vm=", busy: [snapshot]").actions(CleanSnapshot) == []
    found = scene(snapshots=unmarked())
    (wanted,) = found.desired.jobs.values()
    (clean,) = found.actions(CleanSnapshot)
    claims = Claims(places=((pool_place(wanted.pools[0], clean.vm), Mode.APPEND),))
    progress = Progress(running={"x": found.now}, claims={"x": claims})  # type: ignore[dict-item]
    found.observed = replace(found.observed, progress=progress)
    assert found.actions(CleanSnapshot) == []


def test_another_reconcilers_stays() -> None:
    assert scene(snapshots=unmarked("foreign")).actions(CleanSnapshot) == []


def test_a_persons_snapshot_stays() -> None:
    found = scene(snapshots=unmarked())
    (view,) = found.observed.pools.values()
    (vm,) = view.vms.values()  # type: ignore[union-attr]
    renamed = tuple(replace(each, name="before the upgrade") for each in vm.snapshots)
    vms = {vm.uuid: replace(vm, snapshots=renamed)}
    pools = {"east": replace(view, vms=vms)}  # type: ignore[type-var]
    found.observed = replace(found.observed, pools=pools)  # type: ignore[arg-type]
    assert found.actions(CleanSnapshot) == []


ORPHANS = """, orphans: [
  {job: nightly, vm: web, disk: root, at: 2026-08-15 02:00:05},
  {job: nightly, vm: web, disk: data, at: 2026-08-15 02:00:05},
  {job: nightly, vm: web, disk: root, at: 2026-08-16 02:00:05},
  {job: foreign, vm: web, disk: root, at: 2026-08-16 02:00:05}]"""


def test_disks_of_half_removed_snapshots_go_together() -> None:
    cleans = scene(ORPHANS).actions(CleanSnapshot)
    assert [len(clean.disks) for clean in cleans] == [2, 1]
    assert {clean.snapshot for clean in cleans} == {None}


def test_a_snapshot_whose_vm_is_gone_goes_once_its_point_is_safe() -> None:
    found = scene(f", strays: [{POINT.replace('{', '{vm: gone, ')}]")
    (clean,) = found.actions(CleanSnapshot)
    assert clean.reason is Reason.SNAPSHOT_SUPERSEDED


def test_the_last_there_is_of_a_vm_is_a_persons_affair() -> None:
    found = scene(f", strays: [{POINT.replace('{', '{vm: lost, ')}]")
    assert found.actions(CleanSnapshot) == []
    (held,) = found.held()
    assert held.reason is Reason.SNAPSHOT_ORPHANED


def test_an_unmarked_stray_goes() -> None:
    stray = "{vm: lost, job: nightly, at: 2026-08-21 02:00:05, unmarked: true}"
    found = scene(f", strays: [{stray}]")
    (view,) = found.observed.pools.values()
    name = f"reconciler-snapshot-in-progress-{job().id}"
    strays = tuple(replace(each, name=name) for each in view.strays)  # type: ignore[union-attr]
    pools = {"east": replace(view, strays=strays)}  # type: ignore[type-var]
    found.observed = replace(found.observed, pools=pools)  # type: ignore[arg-type]
    (clean,) = found.actions(CleanSnapshot)
    assert clean.vm is None


def test_snapshots_of_an_unknown_job_stay_and_are_named() -> None:
    found = scene(snapshots=f"{POINT}, {POINT.replace('nightly', 'deleted')}")
    assert found.actions() == []
    (held,) = found.held()
    assert held.reason is Reason.JOB_UNKNOWN


def test_snapshots_of_a_job_that_cannot_be_read_stay_without_a_word() -> None:
    found = scene(snapshots=f"{POINT}, {POINT.replace('nightly', 'deleted')}")
    unknown = frozenset({job(name="deleted").id})
    found.desired = replace(found.desired, protected_jobs=unknown)
    assert found.held() == []


@pytest.mark.parametrize("words", ["disk 3 makes no sense"])
def test_what_the_pool_could_not_say_is_said(words: str) -> None:
    (held,) = scene(f", unreadable: [{words}]").held()
    assert held.reason is Reason.UNREADABLE_METADATA
    assert held.why == words
