"""VMs shut down for their snapshot: they run again, whatever happens in between."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from watching import (
    JOB,
    NOW,
    POOL,
    Death,
    clean_action,
    clean_of,
    everything,
    eyes_of,
    snapshot_action,
)

from reconciler.clock import SteppedClock
from reconciler.desired.state import Consistency
from reconciler.executor import power
from reconciler.executor.power import shut_down
from reconciler.executor.refusal import Refused
from reconciler.executor.steps import clean_snapshot, power_on, snapshot
from reconciler.executor.tools import Tools
from reconciler.executor.transfers import Gauge
from reconciler.ids import VmUuid
from reconciler.lab.faults import DropConnection, FailCall, KillToolstack
from reconciler.observed.marks import OFFLINE_KEY
from reconciler.observed.pool import PoolView, PowerState, ShutDown
from reconciler.plan.power_on import PowerOn
from reconciler.plan.reasons import Reason
from reconciler.xapi.errors import XapiError, XapiFailure
from reconciler.xapi.records import VmRecord

CALLS = 17
"""How many changing calls an offline snapshot makes at most; and a few more."""


@pytest.fixture
def clock():
    return SteppedClock(NOW)


@pytest.fixture
async def eyes(client, clock):
    async with eyes_of(client, clock) as eyes:
        yield eyes


@pytest.fixture
def tools(client, clock):
    async def pool(_):
        return client

    return Tools(clock, Gauge(None, NOW), pool, None, None)


@pytest.fixture
async def vm(client):
    (ref,) = await client.call("VM.get_by_name_label", "web")
    return VmUuid(await client.call("VM.get_uuid", ref))


def offline(vm, **fields):
    return snapshot_action(vm, consistency=Consistency.OFFLINE, **fields)


def power_on_action(vm):
    return PowerOn(POOL, vm, "web", NOW, Reason.SHUT_DOWN_FOR_SNAPSHOT)


async def record_of(client, vm):
    ref = await client.call("VM.get_by_uuid", vm)
    return VmRecord.of(ref, await client.call("VM.get_record", ref))


def noting(patch, client):
    """Note the changing calls."""
    calls = []
    call = client.call

    async def note(method, *params, **settings):
        if method.startswith("Async.") or "other_config" in method:
            calls.append(method)
        return await call(method, *params, **settings)

    patch.setattr(client, "call", note)
    return calls


def dying(patch, client, broken):
    """From before the n-th changing call on the process is dead: it calls nothing any more."""
    count = 0
    call = client.call

    async def die(method, *params, **settings):
        nonlocal count
        kind = method.rpartition(".")[2]
        if method.startswith("Async.") or kind.startswith(("set_", "add_", "remove_")):
            count += 1
        if count > broken:
            raise Death
        return await call(method, *params, **settings)

    patch.setattr(client, "call", die)


async def heal(eyes, tools, vm):
    """What the next plans do."""
    view = await eyes.now()
    if view.vms[vm].shut_down is not None:
        await power_on.run(power_on_action(vm), tools)
    for left in view.vms[vm].snapshots:
        await clean_snapshot.run(clean_of(vm, left), tools)
    if orphans := [orphan.uuid for orphan in view.orphans]:
        await clean_snapshot.run(clean_action(vm, None, orphans), tools)
    return await eyes.now()


async def test_the_vm_is_down_for_its_snapshot_and_runs_again(eyes, tools, vm, client, monkeypatch):
    before = await everything(client)
    with monkeypatch.context() as patch:
        calls = noting(patch, client)
        await snapshot.run(offline(vm), tools)
    order = ["VM.add_to_other_config", "Async.VM.clean_shutdown", "Async.VM.snapshot"]
    order += ["VM.set_other_config", "Async.VM.start", "VM.remove_from_other_config"]
    at = [calls.index(each, calls.index(order[0])) for each in order]
    assert at == sorted(at)
    assert "Async.VM.hard_shutdown" not in calls
    view = await eyes.now()
    assert view.vms[vm].power_state is PowerState.RUNNING
    assert view.vms[vm].shut_down is None
    (seen,) = view.vms[vm].snapshots
    assert len(seen.marks.disks) == 2
    taken = await record_of(client, seen.uuid)
    assert taken.raw["snapshot_info"]["power-state-at-snapshot"] == "Halted"
    assert OFFLINE_KEY not in taken.other_config
    assert await everything(client) != before
    await heal(eyes, tools, vm)
    assert await everything(client) == before


async def test_a_halted_vm_stays_halted(eyes, tools, vm, lab):
    lab.power("web", "Halted")
    await snapshot.run(offline(vm), tools)
    view = await eyes.now()
    assert view.vms[vm].power_state is PowerState.HALTED
    assert len(view.vms[vm].snapshots) == 1


async def test_a_vm_that_cannot_shut_down_is_refused(tools, vm, client):
    ref = await client.call("VM.get_by_uuid", vm)
    await client.call("VM.suspend", ref)
    with pytest.raises(Refused, match="suspended") as caught:
        await snapshot.run(offline(vm), tools)
    assert caught.value.reason is Reason.GUEST_STAYS_UP


@pytest.mark.parametrize("broken", range(CALLS))
async def test_a_process_that_dies_anywhere_leaves_what_the_next_one_heals(
    eyes, tools, vm, client, monkeypatch, broken
):
    before = await everything(client)
    with monkeypatch.context() as patch, suppress(Death):
        dying(patch, client, broken)
        await snapshot.run(offline(vm), tools)
    # what the pool was asked for last goes on without us
    async with asyncio.timeout(120):
        while (await record_of(client, vm)).operations:  # noqa: ASYNC110 (nobody rings)
            await asyncio.sleep(0.05)
    seen = (await eyes.now()).vms[vm]
    assert seen.power_state is PowerState.RUNNING or seen.shut_down == ShutDown(JOB, NOW)
    view = await heal(eyes, tools, vm)
    assert view.vms[vm].power_state is PowerState.RUNNING
    assert view.vms[vm].shut_down is None
    assert view.vms[vm].snapshots == view.orphans == view.strays == ()
    after = await everything(client)
    assert after == before


async def test_those_are_all_its_calls(tools, vm, client, monkeypatch):
    with monkeypatch.context() as patch:
        dying(patch, client, CALLS - 1)
        await snapshot.run(offline(vm), tools)


@pytest.mark.parametrize(
    "call", ["Async.VM.clean_shutdown", "Async.VM.snapshot", "VDI.set_other_config"]
)
async def test_a_refusal_on_the_way_leaves_it_running(eyes, tools, vm, lab, call):
    lab.faults.add(f"rpc:{call}", FailCall("INTERNAL_ERROR", ("no",)))
    with pytest.raises((Refused, XapiFailure)):
        await snapshot.run(offline(vm), tools)
    assert (await eyes.now()).vms[vm].power_state is PowerState.RUNNING


@pytest.mark.parametrize("call", ["VM.clean_shutdown", "VM.snapshot", "VM.start"])
async def test_a_lost_answer_leaves_it_running_in_the_end(eyes, tools, vm, lab, call):
    lab.faults.add(f"rpc:Async.{call}", DropConnection(reset=True))
    with suppress(XapiError, Refused):
        await snapshot.run(offline(vm), tools)
    async with asyncio.timeout(120):
        while True:
            with suppress(Refused):
                view = await heal(eyes, tools, vm)
                if view.vms[vm].shut_down is None:
                    break
    assert view.vms[vm].power_state is PowerState.RUNNING


@pytest.mark.parametrize("call", ["VM.clean_shutdown", "VM.snapshot", "VM.start"])
async def test_a_killed_toolstack_leaves_it_running_in_the_end(eyes, tools, vm, lab, call):
    await eyes.until(lambda view: isinstance(view, PoolView))
    lab.faults.add(f"rpc:Async.{call}", KillToolstack(refuse_s=0.3))
    with suppress(XapiError, Refused):
        await snapshot.run(offline(vm), tools)
    lab.faults.clear()
    await eyes.until(lambda view: isinstance(view, PoolView))
    async with asyncio.timeout(120):
        while True:
            with suppress(XapiError, Refused):
                view = await heal(eyes, tools, vm)
                if view.vms[vm].shut_down is None:
                    break
    assert view.vms[vm].power_state is PowerState.RUNNING


async def test_a_start_that_fails_is_left_to_the_plan(eyes, tools, vm, lab):
    lab.faults.add("rpc:Async.VM.start", FailCall("NO_HOSTS_AVAILABLE"))
    with pytest.raises(XapiFailure, match="NO_HOSTS_AVAILABLE"):
        await snapshot.run(offline(vm), tools)
    seen = (await eyes.now()).vms[vm]
    assert (seen.power_state, seen.shut_down) == (PowerState.HALTED, ShutDown(JOB, NOW))
    (whole,) = seen.snapshots
    assert len(whole.marks.disks) == 2, "the snapshot is good all the same"
    await power_on.run(power_on_action(vm), tools)
    seen = (await eyes.now()).vms[vm]
    assert (seen.power_state, seen.shut_down) == (PowerState.RUNNING, None)


@pytest.mark.parametrize("at", ["Async.VM.clean_shutdown", "Async.VM.snapshot", "VDI.get_uuid"])
async def test_cancelled_on_the_way_it_runs_again(eyes, tools, vm, client, monkeypatch, at):
    call = client.call
    there = asyncio.Event()

    async def hang(method, *params, **settings):
        answer = await call(method, *params, **settings)
        if method == at:
            there.set()
            await asyncio.sleep(60)
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(client, "call", hang)
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            running = group.create_task(snapshot.run(offline(vm), tools))
            await there.wait()
            running.cancel()
    async with asyncio.timeout(120):
        while (await heal(eyes, tools, vm)).vms[vm].shut_down is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (await record_of(client, vm)).power_state == "Running"


async def test_a_guest_that_does_not_go_down_is_not_forced(eyes, tools, vm, client, monkeypatch):
    """The pool's task never ends; later, when nobody expects it any more, the guest goes down."""
    call = client.call
    forced = []

    async def ignore(method, *params, **settings):
        if method == "Async.VM.clean_shutdown":
            return await call("task.create", "a guest that takes its time", "")
        forced.extend([method] if "hard" in method else [])
        return await call(method, *params, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(client, "call", ignore)
        patch.setattr(power, "_SHUTDOWN_S", 0.3)
        with pytest.raises(Refused, match="is not forced to") as caught:
            await snapshot.run(offline(vm), tools)
    assert caught.value.reason is Reason.GUEST_STAYS_UP
    assert forced == []
    seen = (await eyes.now()).vms[vm]
    assert (seen.power_state, seen.snapshots) == (PowerState.RUNNING, ())
    assert seen.shut_down == ShutDown(JOB, NOW), "it is looked after"
    await client.call("VM.clean_shutdown", (await record_of(client, vm)).ref)
    await power_on.run(power_on_action(vm), tools)
    seen = (await eyes.now()).vms[vm]
    assert (seen.power_state, seen.shut_down) == (PowerState.RUNNING, None)


async def test_a_vm_that_goes_down_right_now_is_not_forgotten(tools, vm, client):
    record = await record_of(client, vm)
    value = f"{vm} {JOB} 20260101T020000Z"
    await client.call("VM.add_to_other_config", record.ref, OFFLINE_KEY, value)
    call = client.call

    async def going(method, *params, **settings):
        answer = await call(method, *params, **settings)
        if method == "VM.get_record":
            answer = {**answer, "current_operations": {"task": "clean_shutdown"}}
        return answer

    client.call = going
    with pytest.raises(Refused) as caught:
        await power_on.run(power_on_action(vm), tools)
    client.call = call
    assert caught.value.reason is Reason.VM_BUSY
    assert OFFLINE_KEY in (await record_of(client, vm)).other_config


async def test_a_mark_that_was_copied_along_starts_nothing(tools, vm, client, lab):
    """A VM made of a snapshot that somebody took while ours was down has our mark, and is none."""
    lab.power("web", "Halted")
    ref = await client.call("VM.get_by_uuid", vm)
    await client.call("VM.add_to_other_config", ref, OFFLINE_KEY, f"{vm} {JOB} 20260101T020000Z")
    twin = await client.call("VM.clone", ref, "twin")
    uuid = VmUuid(await client.call("VM.get_uuid", twin))
    await power_on.run(power_on_action(uuid), tools)
    assert await client.call("VM.get_power_state", twin) == "Halted"
    await power_on.run(power_on_action(VmUuid("99999999-9999-4999-8999-999999999999")), tools)


async def test_what_was_marked_before_is_marked_anew(vm, client, clock):
    for _ in range(2):
        record = await record_of(client, vm)
        with suppress(Death):
            async with shut_down(client, record, JOB, clock):
                down = await record_of(client, vm)
                assert down.power_state == "Halted"
                assert down.other_config[OFFLINE_KEY].startswith(f"{vm} {JOB} ")
        clock.step(timedelta(minutes=1))
    await client.call("VM.add_to_other_config", record.ref, OFFLINE_KEY, "nonsense")
    async with shut_down(client, await record_of(client, vm), JOB, clock):
        pass
    assert OFFLINE_KEY not in (await record_of(client, vm)).other_config
