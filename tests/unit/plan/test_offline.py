"""VMs that a snapshot of ours shut down run again."""

from dataclasses import replace
from datetime import timedelta

import pytest
from scenes import Scene, job, wanting

from reconciler.desired.selector import Selector
from reconciler.ids import JobId
from reconciler.observed.pool import PoolView, ShutDown
from reconciler.observed.progress import Claims, Mode, Progress
from reconciler.plan.actions import Snapshot
from reconciler.plan.claims import pool_place
from reconciler.plan.power_on import PowerOn
from reconciler.plan.reasons import Reason

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
FOREIGN = JobId("99999999-9999-4999-8999-999999999999")


def scene(power: str, ago: timedelta, whose: JobId | None = None, **changes: object) -> Scene:
    found = Scene(
        wanting(job(**changes)),
        f"""
now: 2026-08-21 12:00:00
pools: {{east: {{vms: {{web: {{power: {power}}}}}}}}}
remotes: {{nas: {{}}}}
""",
    )
    (wanted,) = found.desired.jobs.values()
    (view,) = found.observed.pools.values()
    assert isinstance(view, PoolView)
    (vm,) = view.vms.values()
    marked = replace(vm, shut_down=ShutDown(whose or wanted.id, found.now - ago))
    pools = {view.name: replace(view, vms={vm.uuid: marked})}
    found.observed = replace(found.observed, pools=pools)
    return found


def test_what_is_down_is_started_at_once() -> None:
    (start,) = scene("Halted", MINUTE).actions(PowerOn)
    assert isinstance(start, PowerOn)
    assert (start.vm_name, start.reason) == ("web", Reason.SHUT_DOWN_FOR_SNAPSHOT)
    assert start.due == scene("Halted", MINUTE).now - MINUTE


def test_it_comes_before_all_else() -> None:
    found = scene("Halted", MINUTE, run_on_create=True)
    assert [type(action) for action in found.plan.actions[:2]] == [PowerOn, Snapshot]


@pytest.mark.parametrize(("power", "whose"), [("Running", None), ("Halted", FOREIGN)])
def test_what_may_still_change_is_looked_after_for_an_hour(power: str, whose: JobId | None) -> None:
    young = scene(power, HOUR - MINUTE, whose)
    assert young.actions(PowerOn) == []
    assert young.plan.wake_at == young.now + MINUTE
    assert len(scene(power, HOUR, whose).actions(PowerOn)) == 1


@pytest.mark.parametrize(("mode", "planned"), [(Mode.APPEND, 0), (Mode.READ, 1)])
def test_not_while_its_snapshot_is_being_made(mode: Mode, planned: int) -> None:
    found = scene("Halted", MINUTE)
    (view,) = found.observed.pools.values()
    assert isinstance(view, PoolView)
    (vm,) = view.vms
    claims = Claims(places=((pool_place(view.name, vm), mode),))
    progress = Progress(running={"x": found.now}, claims={"x": claims})  # type: ignore[dict-item]
    found.observed = replace(found.observed, progress=progress)
    assert len(found.actions(PowerOn)) == planned


def test_a_vm_is_chosen_as_running_while_it_is_down_for_us() -> None:
    running = Selector(all=True, power_states=frozenset({"Running"}))
    found = scene("Halted", MINUTE, run_on_create=True, selector=running)
    assert len(found.actions(Snapshot)) == 1
