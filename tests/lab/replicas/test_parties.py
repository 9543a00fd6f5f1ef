"""Replications and exports of one snapshot: each block leaves the pool once, for all of them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.catalog.read import read_vm
from reconciler.executor.dispatch import carry_out
from reconciler.executor.readings import Readings
from reconciler.executor.tools import Tools
from reconciler.executor.transfers import Gauge
from reconciler.ids import RemoteName, SrUuid
from reconciler.lab.faults import FailCall
from reconciler.plan.actions import Export, ExportKind, Replicate, id_of
from reconciler.remotes.open import open_remote

IMPORT = "http:PUT /import_raw_vdi"


async def together(west, remote, actions):
    """Carry out the parts of a party; give the error of each, or None."""
    slots = asyncio.Semaphore(4)
    outcomes = {}

    async def pool(name):
        return west.client if name == "east" else west.target

    async def cellar(_):
        return remote

    async def one(action, readings):
        tools = Tools(
            west.clock, Gauge(action, west.clock.now()), pool, cellar, lambda _: slots, readings
        )
        with readings.taking_part(id_of(action)):
            try:
                await carry_out(action, tools)
            except Exception as error:
                outcomes[type(action), getattr(action, "sr", "")] = error

    async with asyncio.TaskGroup() as group:
        readings = Readings(group, actions)
        for action in actions:
            group.create_task(one(action, readings))
    return outcomes


def export_of(replication: Replicate) -> Export:
    return Export(
        pool=replication.pool,
        remote=RemoteName("cellar"),
        vm=replication.vm,
        vm_name="web",
        job=replication.job,
        job_id=replication.job_id,
        schedules=replication.schedules,
        snapshot=replication.snapshot,
        stamp=replication.stamp,
        disks=replication.disks,
        due=replication.due,
        reason=replication.reason,
    )


@pytest.fixture
async def remote(tmp_path: Path):
    (tmp_path / "remote").mkdir()
    opened = await open_remote("cellar", str(tmp_path / "remote"))
    yield opened
    await opened.close()


@pytest.fixture
def second_sr(west):
    return SrUuid(west.target_lab.add_sr("attic"))


async def test_each_block_is_read_once_for_remotes_and_replicas(west, remote, second_sr):
    first = await west.replication()
    parts = [first, replace(first, sr=second_sr), export_of(first)]
    assert await together(west, remote, parts) == {}
    for disk in first.disks:
        sent = west.lab.transfers.blocks_sent(disk.snapshot)
        assert set(sent.values()) <= {1}
    moved = [one for one in west.lab.transfers.all if one.kind == "export"]
    assert len(moved) == len(first.disks)
    points = await west.points()
    assert {point.sr for point in points} == {west.sr, second_sr}
    for point in points:
        for disk in point.disks:
            content = west.target_lab.read_vdi(disk.uuid, 0, disk.size_bytes)
            assert content == west.contents[first.stamp][disk.disk]
    assert len((await read_vm(remote, west.vm, west.clock.now())).points) == 1


async def test_a_replica_that_fails_does_not_hold_up_the_others(west, remote):
    first = await west.replication()
    west.target_lab.faults.add(IMPORT, FailCall("VDI_IO_ERROR", ("Device I/O errors",)), times=2)
    failed = await together(west, remote, [first, export_of(first)])
    assert set(failed) == {(Replicate, west.sr)}
    assert len((await read_vm(remote, west.vm, west.clock.now())).points) == 1
    west.target_lab.faults.clear()
    await west.clean()
    assert await west.points() == []
    await west.carry_out(first)
    await west.assert_points_are_right()


async def test_destinations_with_other_bases_are_right_and_share_the_reading(
    west, remote, second_sr
):
    await west.replicate()
    west.write()
    delta = await west.replication()
    whole = replace(
        delta,
        sr=second_sr,
        replica=None,
        base=None,
        disks=tuple(replace(disk, kind=ExportKind.FULL, base=None) for disk in delta.disks),
    )
    assert await together(west, remote, [delta, whole, export_of(whole)]) == {}
    for disk in delta.disks:
        sent = west.lab.transfers.blocks_sent(disk.snapshot, whole=True)
        assert sent
        assert set(sent.values()) == {1}
    points = await west.points()
    assert [point.stamp for point in points].count(delta.stamp) == 2
    for point in points:
        for disk in point.disks:
            content = west.target_lab.read_vdi(disk.uuid, 0, disk.size_bytes)
            assert content == west.contents[point.stamp][disk.disk]
