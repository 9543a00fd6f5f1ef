"""How each VM stands, read off world and plan."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from scenes import Scene, job, schedule, wanting

from reconciler.desired.selector import Selector
from reconciler.ids import RemoteName
from reconciler.status.standing import JobStanding, VmState, standings

LAST = "{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}"
TONIGHT = "{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}"


def scene(
    points: str, *, vm: str = "", off: str = "", now: str = "2026-08-21 02:10:00", **changes: Any
) -> Scene:
    return Scene(
        wanting(job(**changes)),
        f"""
now: {now}
pools: {{east: {{vms: {{web: {{snapshots: [{TONIGHT}]{vm}}}}}}}}}
remotes: {{nas: {{vms: {{web: {{points: [{points}]}}}}}}{off}}}
""",
    )


def standing(found: Scene) -> JobStanding:
    (only,) = standings(found.desired, found.observed, found.plan, found.now)
    return only


def state(found: Scene) -> VmState:
    (vm,) = standing(found).vms
    return vm.state


def test_a_vm_to_which_nothing_is_owed_is_protected() -> None:
    found = standing(scene(f"{LAST}, {TONIGHT}"))
    (vm,) = found.vms
    assert vm.state is VmState.PROTECTED
    assert vm.points == 2
    assert vm.last_taken_at == datetime(2026, 8, 21, 2, 0, 5, tzinfo=UTC)
    assert found.next_slot == datetime(2026, 8, 22, 2, tzinfo=UTC)


def test_a_vm_with_work_planned_is_due() -> None:
    (vm,) = standing(scene(LAST)).vms
    assert vm.state is VmState.DUE
    assert vm.behind_since == datetime(2026, 8, 21, 2, tzinfo=UTC)


def test_a_vm_whose_backup_is_held_says_why() -> None:
    found = scene(LAST, vm=", busy: [migrate_send]", now="2026-08-22 02:10:00")
    found.observed = replace(found.observed)
    (vm,) = standing(found).vms
    assert vm.state is VmState.HELD
    assert vm.reason == "VmBusy"
    assert "migrate_send" in vm.why


def test_a_vm_before_its_first_slot_is_new() -> None:
    found = Scene(
        wanting(job()),
        "now: 2026-08-21 12:00:00\npools: {east: {vms: {web: {}}}}\nremotes: {nas: {}}",
    )
    assert state(found) is VmState.NEW


def test_a_vm_of_a_remote_that_was_not_seen_is_unknown() -> None:
    both = (RemoteName("nas"), RemoteName("off"))
    found = scene(f"{LAST}, {TONIGHT}", off=", off: {unknown: no answer}", remotes=both)
    assert state(found) is VmState.UNKNOWN
    (unseen,) = standing(found).unseen
    assert unseen.startswith("remote off: no answer")


def test_a_vm_of_a_suspended_job_is_suspended() -> None:
    found = scene(LAST, suspend=True)
    assert state(found) is VmState.SUSPENDED
    assert standing(found).next_slot is None


def test_vms_that_the_job_does_not_choose_do_not_count() -> None:
    assert standing(scene(LAST, selector=Selector(names=("x",)))).vms == ()


@pytest.mark.parametrize("points", [LAST, f"{LAST}, {TONIGHT}"])
def test_counts_add_up(points: str) -> None:
    found = standing(scene(points))
    assert sum(found.count(each) for each in VmState) == len(found.vms) == 1


def test_a_job_without_a_slot_to_come_has_no_next() -> None:
    found = scene(LAST, schedules=(schedule("night", suspend=True),))
    assert standing(found).next_slot is None
