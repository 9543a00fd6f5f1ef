"""Copies of whole VMs: each a point of its own, marked before it can be whole."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from reconciler.desired.state import Compression
from reconciler.executor.refusal import Refused
from reconciler.ids import JobId, JobName, PoolName
from reconciler.lab.faults import DropConnection, FailCall
from reconciler.observed.replica import ReplicaKind, ReplicaState
from reconciler.observed.replica_marks import BLOCKED
from reconciler.plan.actions import CopyVm
from reconciler.plan.reasons import Reason
from reconciler.transfer.source import StreamError
from reconciler.xapi.errors import XapiError, XapiFailure
from reconciler.xapi.tasks import run_async

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
JOB = JobId("33333333-3333-4333-8333-333333333333")
EXPORT, IMPORT = "http:GET /export", "http:PUT /import"


async def copy_of(site, compression=Compression.NONE) -> CopyVm:
    stamp, snapshot, _ = await site.snapshot()
    return CopyVm(
        pool=PoolName("east"),
        target_pool=PoolName("west"),
        sr=site.sr,
        vm=site.vm,
        vm_name="web",
        job=JobName("weekly"),
        job_id=JOB,
        schedules=(),
        snapshot=snapshot,
        stamp=stamp,
        compression=compression,
        due=NOW,
        reason=Reason.POINT_MISSING,
    )


@pytest.mark.parametrize("compression", list(Compression))
async def test_copies_are_points_byte_for_byte(site, compression):
    for _ in range(2):
        await site.carry_out(action := await copy_of(site, compression))
        await site.assert_points_are_right()
        site.write()
    points = await site.points()
    assert {point.kind for point in points} == {ReplicaKind.COPIED}
    assert len({point.replica for point in points}) == 2
    ref = await site.target.call("VM.get_by_uuid", points[-1].replica)
    vm = await site.target.call("VM.get_record", ref)
    assert vm["name_label"] == f"web - weekly - ({action.stamp})"
    assert {"prod", "Disaster Recovery"} <= set(vm["tags"])
    assert vm["blocked_operations"] == {"start": BLOCKED, "start_on": BLOCKED}
    assert vm["other_config"]["xo:copy_of"] == action.snapshot
    assert {one.name for one in (await site.view(site.client)).vms.values()} == {"web"}
    for disk in await site.disks_of(vm):
        assert await site.target.call("SR.get_uuid", disk["SR"]) == site.sr
    before = await site.everything()
    await site.carry_out(action)
    assert await site.everything() == before, "it was there"


async def test_a_copy_starts_once_it_is_unblocked_and_is_no_point_then(west):
    await west.carry_out(await copy_of(west))
    (point,) = await west.points()
    ref = await west.target.call("VM.get_by_uuid", point.replica)
    with pytest.raises(XapiFailure, match="OPERATION_BLOCKED"):
        await run_async(west.target, "VM.start", [ref, False, False], 30)
    for operation in ("start", "start_on"):
        await west.target.call("VM.remove_from_blocked_operations", ref, operation)
    with pytest.raises(Refused) as refused:
        await west.carry_out(west.prune_of(point))
    assert refused.value.reason is Reason.REPLICA_CHANGED
    await run_async(west.target, "VM.start", [ref, False, False], 30)
    assert await west.points() == []
    with pytest.raises(Refused):
        await west.carry_out(west.prune_of(point))


async def test_old_copies_are_pruned_whole(site):
    for _ in range(2):
        await site.carry_out(await copy_of(site))
    old, new = await site.points()
    before = await site.everything()
    await site.carry_out(site.prune_of(old))
    await site.assert_points_are(new.stamp)
    after = await site.everything()
    assert before["disks"] - after["disks"] == 2
    assert before["VM"] - after["VM"] == 1


@pytest.mark.parametrize("fault", ["export", "import", "refused"])
async def test_what_fails_leaves_nothing(site, fault):
    action = await copy_of(site)
    before = await site.everything()
    match fault:
        case "export":
            site.lab.faults.add(EXPORT, DropConnection(after_bytes=3 << 20, reset=True))
        case "import":
            site.target_lab.faults.add(IMPORT, DropConnection(after_bytes=3 << 20, reset=True))
        case _:
            site.target_lab.faults.add(IMPORT, FailCall("SR_BACKEND_FAILURE_44", ("", "full", "")))
    with pytest.raises((ExceptionGroup, XapiError, StreamError)):
        await site.carry_out(action)
    site.lab.faults.clear()
    site.target_lab.faults.clear()
    async with asyncio.timeout(120):
        while site.target_lab.transfers.open:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await site.clean()
    assert await site.everything() == before
    await site.carry_out(action)
    await site.assert_points_are_right()


class Died(BaseException):
    """Not for anybody to catch."""


@pytest.mark.parametrize("number", range(14))
async def test_a_process_that_dies_anywhere_leaves_what_the_next_look_cleans(
    west, monkeypatch, number
):
    action = await copy_of(west)
    before = await west.everything()
    call, left, dead = west.target.call, number, False

    async def die(method, *params, **settings):
        nonlocal left, dead
        changes = not any(word in method for word in (".get_", "task.", "session.", "host."))
        if dead or (changes and left == 0):
            dead = True
            raise Died
        left -= changes
        return await call(method, *params, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(west.target, "call", die)
        with suppress(Died, BaseExceptionGroup):
            await west.carry_out(action)
    async with asyncio.timeout(120):
        while west.target_lab.transfers.open:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    view = await west.view()
    assert view.vms == {}, "what is in the making, or half made, is nobody's VM to back up"
    assert {one.state for one in view.replicas} <= set(ReplicaState)
    stands = await west.points()
    await west.clean()
    if stands:
        await west.assert_points_are_right()
    else:
        assert dead
        assert await west.everything() == before
        await west.carry_out(action)
        await west.assert_points_are_right()
