"""A process that dies at any call of a replication: what stood stands, and the next look repairs.

Dying means that no further call goes out. The toolstack of the target may die instead.
"""

import asyncio
import itertools
from contextlib import suppress
from dataclasses import replace

import pytest

from reconciler.lab.faults import KillToolstack
from reconciler.observed.replica import ReplicaState
from reconciler.plan.actions import ExportKind
from reconciler.xapi.errors import XapiError

READING = (".get_", "task.", "session.", "event.", "host.")
CALLS_MAX = 80


class Died(BaseException):
    """Not for anybody to catch."""


class Dying:
    """Stands in for a client's `call`: from the n-th changing call on, the process is dead."""

    def __init__(self, call, alive_for):
        self.call = call
        self.left = alive_for
        self.dead = False

    async def __call__(self, method, *params, **settings):
        changes = not any(word in method for word in READING)
        if self.dead or (changes and self.left == 0):
            self.dead = True
            raise Died
        self.left -= changes
        return await self.call(method, *params, **settings)


async def die_at(client, monkeypatch, number, work) -> bool:
    """Do some work as a process that dies before its n-th changing call; tell whether it did."""
    dying = Dying(client.call, number)
    with monkeypatch.context() as patch:
        patch.setattr(client, "call", dying)
        try:
            await work
        except BaseException:
            if not dying.dead:
                raise
    return dying.dead


async def assert_clean(site, stamps):
    """The points of these stamps and no trace of anything else."""
    await site.clean()
    view = await site.view()
    assert {one.state for one in view.replicas} <= {ReplicaState.WHOLE}
    await site.assert_points_are(*stamps)
    ask = site.target_lab.call
    sr = ask("SR.get_by_uuid", site.sr)
    for vdi in ask("VDI.get_all_records").values():
        if vdi["managed"] and vdi["SR"] == sr:
            assert vdi["VBDs"], f"{vdi['name_label']} is left over"
    names = [vm["name_label"] for vm in ask("VM.get_all_records").values()]
    assert not [name for name in names if "reconciler" in name and "[reconciler]" not in name]
    assert not [name for name in names if name.startswith("[Importing…]")]


async def test_a_first_replication_may_die_anywhere(west, monkeypatch):
    action = await west.replication()
    stamp = action.stamp
    before = await west.everything()
    for number in itertools.count():
        died = await die_at(west.target, monkeypatch, number, west.carry_out(action))
        stands = [point.stamp for point in await west.points()]
        await assert_clean(west, stands)
        if not stands:
            assert await west.everything() == before, number
        else:
            break
    assert died
    assert stands == [stamp]
    assert 15 < number < CALLS_MAX
    west.write()
    again = await west.replicate()
    await west.live_equals(again.stamp)
    assert len({point.replica for point in await west.points()}) == 1
    vm = await west.replica_record()
    assert vm["name_label"] == "web - nightly", "what the dead one had not done is done"


@pytest.mark.parametrize("part", range(4))
async def test_an_update_may_die_anywhere(west, monkeypatch, part):
    """Each try dies one call later than the last one, on what that left."""
    first = await west.replicate()
    west.write()
    await west.carry_out(second := await west.replication())
    replica = (await west.points())[0].replica
    west.write()
    finished = [first.stamp, second.stamp]
    for number in itertools.count(part, 4):
        action = await west.replication()
        died = await die_at(west.target, monkeypatch, number, west.carry_out(action))
        stands = [point.stamp for point in await west.points()]
        if action.stamp not in stands:
            del west.contents[action.stamp]
        await west.assert_points_are_right()
        await assert_clean(west, stands)
        finished = finished if action.stamp not in stands else [*finished, action.stamp]
        assert stands == finished
        west.write()
        if not died:
            break
        assert number < CALLS_MAX
    again = await west.replicate()
    await west.assert_points_are_right()
    await west.live_equals(again.stamp)
    assert {point.replica for point in await west.points()} == {replica}, "one VM all along"
    vm = await west.replica_record()
    assert vm["name_label"] == "web - nightly"
    count = 1 + 1 + 1 + len(await west.points())  # control domain, template, replica, points
    assert (await west.everything())["VM"] == count
    assert (await west.everything())["disks"] == 2 + 2 * len(await west.points())


async def test_a_prune_may_die_anywhere(west, monkeypatch):
    for _ in range(2):
        await west.replicate()
        west.write()
    oldest, newest = await west.points()
    for number in itertools.count():
        wish = west.prune_of(oldest)
        died = await die_at(west.target, monkeypatch, number, west.carry_out(wish))
        stands = [point.stamp for point in await west.points()]
        await west.assert_points_are(*stands)
        if oldest.stamp not in stands:
            break
    assert number == 1, "the first change takes it from the points"
    assert died
    await assert_clean(west, [newest.stamp])
    for number in itertools.count(2):
        await west.replicate()
        (oldest, newest) = await west.points()
        wish = west.prune_of(oldest)
        died = await die_at(west.target, monkeypatch, number, west.carry_out(wish))
        await assert_clean(west, [newest.stamp])
        if not died:
            break
    assert number > 3


@pytest.mark.parametrize("number", range(9))
async def test_a_prune_with_the_replica_may_die_anywhere(west, monkeypatch, number):
    await west.replicate()
    (old,) = await west.points()
    west.write()
    action = await west.replication()
    whole = tuple(replace(disk, kind=ExportKind.FULL, base=None) for disk in action.disks)
    await west.carry_out(replace(action, replica=None, base=None, disks=whole))
    wish = west.prune_of(old, with_replica=True)
    await die_at(west.target, monkeypatch, number, west.carry_out(wish))
    stands = [point.stamp for point in await west.points()]
    assert action.stamp in stands
    await assert_clean(west, stands)
    if old.stamp in stands:
        await west.carry_out(wish)
    await assert_clean(west, [action.stamp])
    with pytest.raises(XapiError):
        await west.target.call("VM.get_by_uuid", old.replica)


@pytest.mark.parametrize("number", range(0, 24, 3))
async def test_a_cancelled_replication_ends_at_once_and_leaves_nothing(site, number, monkeypatch):
    await site.replicate()
    site.write()
    action = await site.replication()
    before = await site.everything()
    reached, call, left = asyncio.Event(), site.target.call, number

    async def count(method, *params, **settings):
        nonlocal left
        left -= not any(word in method for word in READING)
        if left < 0:
            reached.set()
        return await call(method, *params, **settings)

    monkeypatch.setattr(site.target, "call", count)
    task = asyncio.create_task(site.carry_out(action))
    async with asyncio.timeout(60):
        await reached.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    stands = [point.stamp for point in await site.points()]
    async with asyncio.timeout(120):
        while site.target_lab.transfers.open or site.lab.transfers.open:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await site.assert_points_are(*stands)
    was_changing = await changed_over(site)
    await site.clean()
    assert not await changed_over(site), "it has its name back"
    if action.stamp not in stands and not was_changing:
        assert await site.everything() == before
    again = await site.replicate()
    await site.assert_points_are(*stands, again.stamp)
    await site.live_equals(again.stamp)


async def changed_over(site) -> bool:
    """Whether the replica was on its way to the next point; then its own disks are gone."""
    return (await site.replica_record())["name_label"].startswith("[Importing…]")


@pytest.mark.parametrize(
    "call",
    [
        "Async.VM.clone",
        "VM.set_blocked_operations",
        "VDI.set_name_label",
        "Async.VDI.destroy",
        "VBD.create",
        "Async.VM.destroy",
        "VIF.create",
        "Async.VM.snapshot",
        "VDI.set_other_config",
        "VM.set_other_config",
    ],
)
async def test_the_targets_toolstack_may_die_anywhere(west, call):
    await west.replicate()
    west.write()
    action = await west.replication()
    west.target_lab.faults.add(f"rpc:{call}", KillToolstack(refuse_s=0.2))
    with suppress(XapiError, ExceptionGroup):
        await west.carry_out(action)
    west.target_lab.faults.clear()
    await asyncio.sleep(0.3)  # it refuses for so long
    stands = [point.stamp for point in await west.points()]
    await assert_clean(west, stands)
    west.write()
    again = await west.replicate()
    await west.assert_points_are(*stands, again.stamp)
    await west.live_equals(again.stamp)
