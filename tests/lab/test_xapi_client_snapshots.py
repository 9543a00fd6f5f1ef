"""Snapshots made, seen and cleaned on a pool, and what is left when something gets in the way."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from watching import (
    JOB,
    NOW,
    SCHEDULES,
    Death,
    clean_action,
    clean_of,
    everything,
    eyes_of,
    snapshot_action,
)

from reconciler.clock import SteppedClock, SystemClock
from reconciler.desired.state import Consistency
from reconciler.executor.refusal import Refused
from reconciler.executor.steps import clean_snapshot, snapshot
from reconciler.executor.tools import Tools
from reconciler.executor.transfers import Gauge
from reconciler.ids import (
    DiskSnapshotUuid,
    SnapshotUuid,
    VmUuid,
    stamp_of,
)
from reconciler.lab.faults import DropConnection, FailCall, KillToolstack
from reconciler.lab.values import NULL
from reconciler.observed.pool import SNAPSHOT_IN_PROGRESS, GivenUp, PoolView
from reconciler.observed.unknown import Unknown
from reconciler.plan.reasons import Reason
from reconciler.xapi.disks import open_export
from reconciler.xapi.errors import OutcomeUnknown, XapiError, XapiFailure
from reconciler.xapi.tasks import run_async


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


def dying(patch, client, broken):
    """Before the n-th changing call the process dies; None: it does not."""
    count = 0
    call = client.call

    async def die(method, *params, **settings):
        nonlocal count
        if method.startswith("Async.") or method.rpartition(".")[2].startswith(("set_", "add_")):
            count += 1
            if broken is not None and count == broken + 1:
                raise Death
        return await call(method, *params, **settings)

    patch.setattr(client, "call", die)


async def test_a_vm_is_seen_with_its_disks(eyes, vm, lab):
    view = await eyes.until(lambda view: isinstance(view, PoolView))
    assert set(view.vms) == {vm}
    seen = view.vms[vm]
    assert seen.tags == {"prod"}
    assert [disk.position for disk in seen.disks] == ["0", "1"]
    assert [disk.size_bytes for disk in seen.disks] == [16 << 20, 16 << 20]
    assert view.unreadable == ()
    lab.power("web", "Halted")
    await eyes.until(lambda view: view.vms[vm].power_state == "Halted")


async def test_a_snapshot_is_made_marked_seen_and_cleaned(eyes, tools, vm, client):
    await eyes.until(lambda view: isinstance(view, PoolView))
    before = await everything(client)
    await snapshot.run(snapshot_action(vm), tools)
    view = await eyes.now()
    (seen,) = view.vms[vm].snapshots
    assert seen.name == "[reconciler] web"
    assert seen.marks.job == JOB
    assert seen.marks.schedules == SCHEDULES
    assert seen.marks.stamp == "20260101T020000Z"
    assert seen.marks.vm == vm
    assert set(seen.marks.disks) == {disk.uuid for disk in view.vms[vm].disks}
    assert {disk.disk for disk in seen.disks} == {disk.uuid for disk in view.vms[vm].disks}
    assert view.orphans == view.strays == view.unreadable == ()

    ref = await client.call("VM.get_by_uuid", seen.uuid)
    config = await client.call("VM.get_other_config", ref)
    assert config["xo:backup:job"] == JOB
    assert config["xo:backup:datetime"] == "20260101T02:00:00Z"
    assert not await client.call("VM.get_is_a_template", ref)
    for disk in seen.disks:
        vdi = await client.call("VDI.get_by_uuid", disk.uuid)
        config = await client.call("VDI.get_other_config", vdi)
        assert config["xo:backup:contentKey"] == disk.uuid
        assert config["xo:backup:vm"] == vm

    await clean_snapshot.run(clean_of(vm, seen), tools)
    view = await eyes.now()
    assert view.vms[vm].snapshots == ()
    assert view.orphans == ()
    assert await everything(client) == before
    await clean_snapshot.run(clean_of(vm, seen), tools)  # again: all of it is done


async def test_what_is_given_up_is_noted_on_the_vm_until_there_is_a_newer_snapshot(
    eyes, tools, vm, client, clock
):
    await eyes.until(lambda view: isinstance(view, PoolView))
    asked = stamp_of(NOW)
    await snapshot.run(snapshot_action(vm, requested=asked), tools)
    (seen,) = (await eyes.now()).vms[vm].snapshots
    assert seen.marks.requested == asked
    clean = replace(clean_of(vm, seen), reason=Reason.TIMED_OUT)
    await clean_snapshot.run(clean, tools)
    view = await eyes.now()
    said = GivenUp(JOB, seen.marks.stamp, SCHEDULES, asked, "TimedOut")
    assert (view.vms[vm].snapshots, view.vms[vm].given_up) == ((), (said,))
    clock.step(timedelta(days=1))
    await snapshot.run(snapshot_action(vm), tools)
    view = await eyes.now()
    assert view.vms[vm].given_up == ()
    assert len(view.vms[vm].snapshots) == 1


@pytest.mark.parametrize("rolling", [False, True])
async def test_a_snapshot_says_whether_it_is_a_restore_point(eyes, tools, vm, rolling):
    await eyes.until(lambda view: isinstance(view, PoolView))
    await snapshot.run(snapshot_action(vm, rolling=rolling), tools)
    (seen,) = (await eyes.now()).vms[vm].snapshots
    assert seen.marks.rolling is rolling


async def test_stamps_are_strictly_above_what_is_there(eyes, tools, vm, clock):
    running = asyncio.create_task(
        snapshot.run(snapshot_action(vm, after=stamp_of(NOW + timedelta(seconds=3))), tools)
    )
    await eyes.until(lambda view: isinstance(view, PoolView))
    assert not running.done()
    clock.step_to(NOW + timedelta(seconds=4))
    await running
    (seen,) = (await eyes.now()).vms[vm].snapshots
    assert seen.marks.stamp == "20260101T020004Z"


async def test_a_point_from_the_future_stops_snapshots(tools, vm):
    with pytest.raises(Refused, match="clocks is wrong"):
        await snapshot.run(snapshot_action(vm, after=stamp_of(NOW + timedelta(days=1))), tools)


async def test_a_lost_answer_leaves_what_the_next_plan_can_clean(eyes, tools, vm, lab, client):
    before = await everything(client)
    lab.faults.add("rpc:Async.VM.snapshot", DropConnection(reset=True))
    with pytest.raises(OutcomeUnknown):
        await snapshot.run(snapshot_action(vm), tools)
    view = await eyes.until(lambda view: bool(view.vms[vm].snapshots))
    (seen,) = view.vms[vm].snapshots
    assert seen.name == f"{SNAPSHOT_IN_PROGRESS}-{JOB}"
    assert seen.marks is None
    await clean_snapshot.run(clean_of(vm, seen), tools)
    assert (await eyes.now()).vms[vm].snapshots == ()
    after = await everything(client)
    assert after == before


@pytest.mark.parametrize("broken", range(7))
async def test_a_snapshot_interrupted_anywhere_is_whole_or_known_to_be_ours(
    eyes, tools, vm, client, monkeypatch, broken
):
    """Before the n-th changing call after the snapshot was made, the process dies."""
    before = await everything(client)
    count = 0
    call = client.call

    async def die(method, *params, **settings):
        nonlocal count
        if method.rpartition(".")[2].startswith("set_"):
            count += 1
            if count == broken + 1:
                raise Death
        return await call(method, *params, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(client, "call", die)
        with suppress(Death):
            await snapshot.run(snapshot_action(vm), tools)
    (seen,) = (await eyes.now()).vms[vm].snapshots
    if seen.marks is None:
        assert seen.name.startswith(SNAPSHOT_IN_PROGRESS)
    else:
        assert len(seen.disks) == len(seen.marks.disks) == 2
    await clean_snapshot.run(clean_of(vm, seen), tools)
    view = await eyes.now()
    assert view.vms[vm].snapshots == ()
    assert view.orphans == view.strays == ()
    assert await everything(client) == before


@pytest.mark.parametrize("last", ["VM.set_other_config", "VM.set_name_label"])
async def test_a_cancel_does_not_part_the_last_marks_from_the_name(
    eyes, tools, vm, client, monkeypatch, last
):
    call = client.call
    running = asyncio.create_task(snapshot.run(snapshot_action(vm), tools))

    async def cancelled_within(method, *params, **settings):
        if method == last:
            running.cancel()
            await asyncio.sleep(0)
        return await call(method, *params, **settings)

    monkeypatch.setattr(client, "call", cancelled_within)
    with pytest.raises(asyncio.CancelledError):
        await running
    (seen,) = (await eyes.now()).vms[vm].snapshots
    assert seen.marks is not None
    assert seen.name == "[reconciler] web"


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("broken", range(8))
async def test_a_clean_interrupted_anywhere_is_finished_by_the_next(
    eyes, tools, vm, client, lab, monkeypatch, broken, marked
):
    before = await everything(client)
    if marked:
        await snapshot.run(snapshot_action(vm), tools)
    else:
        ref = await client.call("VM.get_by_uuid", vm)
        await run_async(client, "VM.snapshot", [ref, f"{SNAPSHOT_IN_PROGRESS}-{JOB}"], 30)
    (seen,) = (await eyes.now()).vms[vm].snapshots
    count = 0
    call = client.call

    async def die(method, *params, **settings):
        nonlocal count
        if method.startswith("Async.") or method.rpartition(".")[2].startswith("set_"):
            count += 1
            if count == broken + 1:
                raise Death
        return await call(method, *params, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(client, "call", die)
        with suppress(Death):
            await clean_snapshot.run(clean_of(vm, seen), tools)
    view = await eyes.now()
    for left in view.vms[vm].snapshots:
        await clean_snapshot.run(clean_of(vm, left), tools)
    if orphans := [orphan.uuid for orphan in view.orphans]:
        await clean_snapshot.run(clean_action(vm, None, orphans), tools)
    view = await eyes.now()
    assert view.vms[vm].snapshots == ()
    assert view.orphans == ()
    assert await everything(client) == before


async def test_what_is_not_ours_is_never_destroyed(eyes, tools, vm, client):
    ref = await client.call("VM.get_by_uuid", vm)
    await run_async(client, "VM.snapshot", [ref, "by hand"], 30)
    (seen,) = (await eyes.now()).vms[vm].snapshots
    assert seen.marks is None
    before = await everything(client)
    with pytest.raises(Refused, match="not marked as ours"):
        await clean_snapshot.run(clean_of(vm, seen), tools)
    for disk in seen.disks:
        with pytest.raises(Refused):
            await clean_snapshot.run(clean_action(vm, None, [disk.uuid]), tools)
    with pytest.raises(Refused, match="no snapshot"):
        await clean_snapshot.run(clean_action(vm, SnapshotUuid(vm)), tools)
    live = (await eyes.now()).vms[vm].disks[0].uuid
    with pytest.raises(Refused):
        await clean_snapshot.run(clean_action(vm, None, [DiskSnapshotUuid(live)]), tools)
    assert await everything(client) == before


async def test_a_snapshot_taken_after_a_revert_is_not_ours(eyes, tools, vm, client, lab, clock):
    await snapshot.run(snapshot_action(vm), tools)
    (seen,) = (await eyes.now()).vms[vm].snapshots
    lab.power("web", "Halted")
    await run_async(client, "VM.revert", [await client.call("VM.get_by_uuid", seen.uuid)], 30)
    ref = await client.call("VM.get_by_uuid", vm)
    assert "reconciler:owner" in await client.call("VM.get_other_config", ref)
    await run_async(client, "VM.snapshot", [ref, "by hand"], 30)
    view = await eyes.now()
    marked = {each.name: each.marks is not None for each in view.vms[vm].snapshots}
    assert marked == {"[reconciler] web": True, "by hand": False}
    assert view.orphans == ()
    (by_hand,) = [each for each in view.vms[vm].snapshots if each.name == "by hand"]
    with pytest.raises(Refused):
        await clean_snapshot.run(clean_of(vm, by_hand), tools)

    clock.step(timedelta(minutes=1))
    await snapshot.run(snapshot_action(vm, after=seen.marks.stamp), tools)
    stamps = [each.marks.stamp for each in (await eyes.now()).vms[vm].snapshots if each.marks]
    assert stamps == ["20260101T020000Z", "20260101T020100Z"]


async def test_leaked_marks_are_replaced(eyes, tools, vm, client):
    ref = await client.call("VM.get_by_uuid", vm)
    await client.call("VM.add_to_other_config", ref, "xo:backup:exported", "true")
    await client.call("VM.add_to_other_config", ref, "mine", "kept")
    await snapshot.run(snapshot_action(vm), tools)
    (seen,) = (await eyes.now()).vms[vm].snapshots
    made = await client.call("VM.get_by_uuid", seen.uuid)
    config = await client.call("VM.get_other_config", made)
    assert "xo:backup:exported" not in config
    assert config["mine"] == "kept"


async def test_disks_not_to_be_backed_up_are_left_out(eyes, tools, vm, client):
    view = await eyes.now()
    swap = view.vms[vm].disks[1].uuid
    vdi = await client.call("VDI.get_by_uuid", swap)
    await client.call("VDI.set_name_label", vdi, "[NOBAK] swap")
    await snapshot.run(snapshot_action(vm), tools)
    (seen,) = (await eyes.now()).vms[vm].snapshots
    assert {disk.disk for disk in seen.disks} == {view.vms[vm].disks[0].uuid}
    assert seen.marks.disks == (view.vms[vm].disks[0].uuid,)


async def test_disks_that_the_action_leaves_out_are_not_in_the_snapshot(eyes, tools, vm, client):
    first, second = (disk.uuid for disk in (await eyes.now()).vms[vm].disks)
    await snapshot.run(snapshot_action(vm, without=(first,)), tools)
    (seen,) = (await eyes.now()).vms[vm].snapshots
    assert [disk.disk for disk in seen.disks] == [second]
    assert seen.marks.disks == (second,)
    with pytest.raises(Refused) as caught:
        await snapshot.run(snapshot_action(vm, without=(first, second)), tools)
    assert caught.value.reason is Reason.NO_DISKS


@pytest.mark.parametrize("broken", [None, *range(8)])
async def test_an_older_pool_takes_what_is_left_out_and_loses_it_again(
    eyes, tools, vm, client, lab, monkeypatch, broken
):
    before = await everything(client)
    first, second = (disk.uuid for disk in (await eyes.now()).vms[vm].disks)
    code = "MESSAGE_PARAMETER_COUNT_MISMATCH"
    lab.faults.add("rpc:Async.VM.snapshot", FailCall(code, ("VM.snapshot", "2", "3")))
    with monkeypatch.context() as patch, suppress(Death):
        dying(patch, client, broken)
        await snapshot.run(snapshot_action(vm, without=(second,)), tools)
    for seen in (await eyes.now()).vms[vm].snapshots:
        assert broken is not None or seen.marks is not None
        if seen.marks is not None:
            assert [disk.disk for disk in seen.disks] == [first]
            assert seen.marks.disks == (first,)
        await clean_snapshot.run(clean_of(vm, seen), tools)
    view = await eyes.now()
    assert view.vms[vm].snapshots == view.orphans == view.strays == ()
    assert await everything(client) == before


async def test_memory_comes_is_kept_and_goes_with_its_snapshot(eyes, tools, vm, client):
    before = await everything(client)
    second = (await eyes.now()).vms[vm].disks[1].uuid
    memory = snapshot_action(vm, consistency=Consistency.MEMORY, without=(second,))
    await snapshot.run(memory, tools)
    view = await eyes.now()
    (seen,) = view.vms[vm].snapshots
    assert len(seen.disks) == 2, "memory without a disk that it knows is worth nothing"
    assert second not in seen.marks.disks
    assert len(seen.marks.disks) == 1
    assert view.orphans == ()
    ref = await client.call("VM.get_by_uuid", seen.uuid)
    assert await client.call("VM.get_power_state", ref) == "Suspended"
    image = await client.call("VM.get_suspend_VDI", ref)
    config = await client.call("VDI.get_other_config", image)
    assert (config["xo:backup:vm"], config["reconciler:owner"]) == (vm, "reconciler")
    uuid = DiskSnapshotUuid(await client.call("VDI.get_uuid", image))
    with pytest.raises(Refused, match="belongs to a VM"):
        await clean_snapshot.run(clean_action(vm, None, [uuid]), tools)
    assert (await client.call("VM.get_power_state", await client.call("VM.get_by_uuid", vm))) == (
        "Running"
    )
    await clean_snapshot.run(clean_of(vm, seen), tools)
    view = await eyes.now()
    assert view.vms[vm].snapshots == view.orphans == ()
    assert await everything(client) == before


@pytest.mark.parametrize("state", ["Halted", "Paused"])
async def test_where_there_is_no_memory_to_be_had_the_disks_are_taken(eyes, tools, vm, lab, state):
    lab.power("web", "Halted")
    if state == "Paused":
        lab.call("VM.start", lab.call("VM.get_by_uuid", vm), True, False)
    await snapshot.run(snapshot_action(vm, consistency=Consistency.MEMORY), tools)
    (seen,) = (await eyes.now()).vms[vm].snapshots
    assert len(seen.disks) == 2
    assert lab.call("VM.get_suspend_VDI", lab.call("VM.get_by_uuid", seen.uuid)) == NULL


@pytest.mark.parametrize("step", ["make", "clean"])
@pytest.mark.parametrize("broken", range(9))
async def test_memory_interrupted_anywhere_is_cleaned_by_the_next(
    eyes, tools, vm, client, monkeypatch, broken, step
):
    before = await everything(client)
    taking = snapshot_action(vm, consistency=Consistency.MEMORY)
    if step == "clean":
        await snapshot.run(taking, tools)
        (seen,) = (await eyes.now()).vms[vm].snapshots
    with monkeypatch.context() as patch, suppress(Death):
        dying(patch, client, broken)
        if step == "make":
            await snapshot.run(taking, tools)
        else:
            await clean_snapshot.run(clean_of(vm, seen), tools)
    view = await eyes.now()
    for left in view.vms[vm].snapshots:
        await clean_snapshot.run(clean_of(vm, left), tools)
    if orphans := [orphan.uuid for orphan in view.orphans]:
        await clean_snapshot.run(clean_action(vm, None, orphans), tools)
    view = await eyes.now()
    assert view.vms[vm].snapshots == view.orphans == view.strays == ()
    assert view.vms[vm].power_state == "Running"
    assert await everything(client) == before


async def test_a_vm_without_a_disk_to_back_up_is_refused(eyes, tools, vm, client):
    for disk in (await eyes.now()).vms[vm].disks:
        vdi = await client.call("VDI.get_by_uuid", disk.uuid)
        await client.call("VDI.set_name_label", vdi, "[NOBAK]")
    with pytest.raises(Refused) as caught:
        await snapshot.run(snapshot_action(vm), tools)
    assert caught.value.reason is Reason.NO_DISKS


async def test_a_vm_that_is_gone_is_said(tools):
    gone = VmUuid("99999999-9999-4999-8999-999999999999")
    with pytest.raises(XapiFailure) as caught:
        await snapshot.run(snapshot_action(gone), tools)
    assert caught.value.code == "UUID_INVALID"


async def test_a_disk_in_use_is_waited_for(eyes, tools, vm, client):
    await snapshot.run(snapshot_action(vm), tools)
    (seen,) = (await eyes.now()).vms[vm].snapshots
    vdi = await client.call("VDI.get_by_uuid", seen.disks[0].uuid)
    stream = await open_export(client, vdi)
    await stream.read_exactly(memoryview(bytearray(512)))
    cleaning = asyncio.create_task(clean_snapshot.run(clean_of(vm, seen), tools))
    await asyncio.sleep(0.5)
    await stream.abort()
    await cleaning
    view = await eyes.now()
    assert view.vms[vm].snapshots == view.orphans == ()


async def test_a_killed_toolstack_is_survived_by_the_observer(eyes, vm, lab, tools):
    await eyes.until(lambda view: isinstance(view, PoolView))
    lab.kill_toolstack(refuse_s=0.5)
    unknown = await eyes.until(lambda view: isinstance(view, Unknown))
    assert unknown.reason == Reason.POOL_UNREACHABLE
    view = await eyes.until(lambda view: isinstance(view, PoolView))
    assert set(view.vms) == {vm}
    await snapshot.run(snapshot_action(vm), tools)
    assert (await eyes.now()).vms[vm].snapshots


@pytest.mark.parametrize(
    "call",
    [
        "Async.VM.snapshot",
        "VM.set_is_a_template",
        "VDI.set_other_config",
        "VM.set_other_config",
        "VM.set_name_label",
    ],
)
async def test_a_toolstack_killed_within_a_snapshot_leaves_nothing_unknown(
    eyes, vm, lab, tools, client, call
):
    await eyes.until(lambda view: isinstance(view, PoolView))
    lab.faults.add(f"rpc:{call}", KillToolstack(refuse_s=0.3))
    with suppress(XapiError):
        await snapshot.run(snapshot_action(vm), tools)
    lab.faults.clear()
    await eyes.until(lambda view: isinstance(view, PoolView))
    async with asyncio.timeout(120):
        while True:
            view = await eyes.now()
            if not view.vms[vm].snapshots:
                break
            for left in view.vms[vm].snapshots:
                assert left.marks is not None or left.name.startswith(SNAPSHOT_IN_PROGRESS)
                with suppress(XapiError):
                    await clean_snapshot.run(clean_of(vm, left), tools)
    assert view.orphans == view.strays == ()


async def test_looking_changes_nothing(served, connect, lab, vm):
    client = connect(served)
    await client.session()  # a session is an object too
    generation = lab.pool.database.generation
    async with eyes_of(client, SystemClock()) as eyes:
        for _ in range(5):
            await eyes.now()
    assert lab.pool.database.generation == generation
