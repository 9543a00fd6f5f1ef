"""The whole life of disks in block mode, through the catalog, on every kind of remote."""

from datetime import UTC, datetime

import pytest

from reconciler.catalog import layout, read, write
from reconciler.catalog.chains import chain_keys_of
from reconciler.catalog.incoming import sink_for
from reconciler.catalog.lock import vm_lock
from reconciler.catalog.metadata import PointRecords, compose
from reconciler.clock import SteppedClock
from reconciler.ids import DiskSnapshotUuid, DiskUuid, JobId, Stamp, VmUuid
from reconciler.observed.chain import FileState, disk_name
from reconciler.transfer.block_codec import BlockWorkers
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.sink import DiskHead, Identity
from reconciler.vhd.layout import BLOCK

VM = VmUuid("11111111-2222-3333-4444-555555555555")
DISK = DiskUuid("dddddddd-0000-0000-0000-000000000001")
JOB = JobId("aaaaaaaa-0000-0000-0000-00000000000a")
STAMPS = [Stamp(f"2026010{day}T020000Z") for day in range(1, 6)]
NOW = datetime(2026, 2, 1, tzinfo=UTC)
SIZE = 1100 * BLOCK
POINTS = [{0: 1, 5: 2, 999: 3, 1000: 4}, {5: 12, 1001: 13}, {5: 22, 0: 0}, {1099: 34}]


def snapshot_of(stamp):
    return DiskSnapshotUuid(f"{stamp[:8]}-0000-4000-8000-000000000000")


def path_of(number):
    return layout.disk_path(JOB, DISK, STAMPS[number], blocks=True)


def content_of(number):
    """Block to the byte that fills it."""
    content = {}
    for blocks in POINTS[: number + 1]:
        content.update(blocks)
    return content


@pytest.fixture
def workers():
    made = BlockWorkers(2)
    yield made
    made.close()


async def send(lock, number, workers, *, stop_after=None):
    stamp, blocks = STAMPS[number], POINTS[number]
    below = ()
    if number:
        name = disk_name(STAMPS[number - 1], blocks=True)
        below = (snapshot_of(STAMPS[number - 1]), name)
    sink = await sink_for(lock, path_of(number), Identity(snapshot_of(stamp), *below), workers)
    await sink.begin(DiskHead(SIZE, number > 0, list(blocks)))
    for count, (block, tag) in enumerate(blocks.items()):
        if count == stop_after:
            await sink.abort()
            return
        await sink.block(block, memoryview(b"\xff" * 512 + bytes([tag]) * BLOCK), tag == 0)
    await sink.end()
    await write.publish_disk(lock, path_of(number))


async def publish(lock, number):
    stamp = STAMPS[number]
    records = PointRecords(
        vm={"uuid": VM, "name_label": "web"},
        snapshot={"suspend_VDI": "OpaqueRef:NULL"},
        vbds={},
        vdis={"OpaqueRef:1": {"uuid": snapshot_of(stamp), "name_label": "root"}},
        vifs={},
        vtpms=[],
    )
    metadata = compose(stamp, JOB, (), "r", records, {"OpaqueRef:1": path_of(number)})
    await write.publish_point(lock, metadata)


async def reads_back(remote, number, workers):
    found, view = {}, bytearray(BLOCK)
    keys = await chain_keys_of(remote, VM, path_of(number))
    async with open_chain(remote, keys, workers) as reader:
        for block in reader.blocks():
            await reader.read_block_into(memoryview(view), block)
            assert view == view[:1] * BLOCK
            found[block] = view[0]
    assert found == content_of(number)


async def test_written_read_merged_and_removed(place, workers):
    async with place() as remote:
        async with vm_lock(remote, VM, SteppedClock(NOW)) as lock:
            for number in range(3):
                await send(lock, number, workers)
                await publish(lock, number)
            await send(lock, 3, workers, stop_after=1)
        history = await read.read_vm(remote, VM, NOW)
        assert len(history.points) == 3
        assert history.unreadable == ()
        assert all(file.state is FileState.OK for file in history.files.values())
        for number in range(3):
            await reads_back(remote, number, workers)

        # another process goes on with what was interrupted
        async with place() as other, vm_lock(other, VM, SteppedClock(NOW)) as lock:
            await send(lock, 3, workers)
            await publish(lock, 3)
            for number in (1, 0):  # from the middle, and from the full
                await write.prune_point(lock, STAMPS[number])
                await write.merge_disk(lock, path_of(number), path_of(2))
        for number in (2, 3):
            await reads_back(remote, number, workers)
        history = await read.read_vm(remote, VM, NOW)
        assert history.files[path_of(2)].parent is None
        assert history.partials == history.merges == history.unreadable == ()

        async with vm_lock(remote, VM, SteppedClock(NOW)) as lock:
            await write.prune_point(lock, STAMPS[3])
            await write.clean_files(lock, [path_of(3)])
        await reads_back(remote, 2, workers)
        directory = layout.key_of(VM, layout.disk_directory(JOB, DISK))
        names = [entry.name for entry in await remote.list(directory)]
        assert sorted(names) == [f"{STAMPS[2]}.alias.vhd", "data"]
        assert len(await remote.list(f"{directory}/data")) == 1
