"""Restore points of one VM on a remote, and what each must read as, at any moment.

`World.check` is the checker for the harness: it reads the catalog as the operator does and every
disk of every point through its chain, and compares with what was put in. Between the crash and the
end of recovery a point may be missing only if it is being added, and there only if it must not go.
"""

import asyncio
import functools
import gzip
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from reconciler.catalog import layout, read, write
from reconciler.catalog.chains import chain_keys_of
from reconciler.catalog.errors import CatalogError
from reconciler.catalog.incoming import sink_for
from reconciler.catalog.lock import vm_lock
from reconciler.catalog.metadata import PointRecords, compose
from reconciler.clock import SteppedClock
from reconciler.ids import DiskSnapshotUuid, DiskUuid, JobId, ScheduleId, Stamp, VmUuid
from reconciler.observed.chain import disk_name
from reconciler.remotes.errors import RemoteError
from reconciler.transfer.block_codec import BlockWorkers, pack
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.errors import TransferError
from reconciler.transfer.fanout import fan_out
from reconciler.transfer.sink import Identity
from reconciler.transfer.source import StreamError
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.layout import BLOCK

VM = VmUuid("11111111-2222-3333-4444-555555555555")
DISKS = [DiskUuid(f"dddddddd-0000-0000-0000-00000000000{number}") for number in (1, 2)]
JOB = JobId("aaaaaaaa-0000-0000-0000-00000000000a")
SCHEDULE = ScheduleId("eeeeeeee-0000-0000-0000-00000000000e")
STAMPS = [Stamp(f"2026010{day}T020000Z") for day in range(1, 6)]
NOW = datetime(2026, 2, 1, tzinfo=UTC)
SIZE = 4 * BLOCK
FAILING = (RemoteError, CatalogError, TransferError, StreamError)


def snapshot_of(stamp, disk):
    return DiskSnapshotUuid(f"{stamp[:8]}-{stamp[9:13]}-0000-0000-{disk[-12:]}")


@functools.cache
def stream_of(blocks, uuid, parent):
    plan = Layout.of_disk(
        SIZE, [block for block, _ in blocks], uuid, parent, packing=Packing.PACKED
    )
    pieces = [plan.slot_head + bytes([fill]) * BLOCK for _, fill in blocks]
    return b"".join([plan.preamble(), *pieces, plan.trailer()])


class Sent:
    """A stream as a pool sends it."""

    def __init__(self, blocks, uuid, parent):
        self._content = memoryview(stream_of(tuple(blocks.items()), uuid, parent))
        self._position = 0

    async def read_exactly(self, view):
        view[:] = self._content[self._position : self._position + len(view)]
        self._position += len(view)

    async def finish(self):
        assert self._position == len(self._content)

    async def abort(self):
        pass


class InPlace(BlockWorkers):
    """Packs and unpacks where it is asked to: a model that does one thing after the other gains
    nothing by threads, and would wait for them most of its time."""

    async def pack(self, packing, record):
        packed = asyncio.get_running_loop().create_future()
        packed.set_result(pack(packing, record))
        return packed

    async def run(self, call):
        return call()


@dataclass
class World:
    """truth: what each disk of each point reads as, block to the byte it is filled with.

    must: points that are there whatever happens. may: points that may be there or not until
    recovery. finally_: points that are there in the end. disks: two, so that a point can be half
    there.
    """

    truth: dict = field(default_factory=dict)
    must: set = field(default_factory=set)
    may: set = field(default_factory=set)
    finally_: set = field(default_factory=set)
    verdicts: dict = field(default_factory=dict)
    vm: str = VM
    now: datetime = NOW
    disks: list = field(default_factory=lambda: DISKS)
    blocks: bool = False
    workers: BlockWorkers = field(default_factory=lambda: InPlace(1))

    def lock(self, remote):
        return vm_lock(remote, VM, SteppedClock(NOW))

    def path(self, stamp, disk):
        return layout.disk_path(JOB, disk, stamp, blocks=self.blocks)

    # ── what steps do ────────────────────────────────────────────────────────────────────────

    async def publish(self, remote, stamp, blocks, parent=None):
        """Export a point, as the step does: a disk that is there already is not sent again."""
        async with self.lock(remote) as lock:
            for disk in self.disks:
                uuid, path = snapshot_of(stamp, disk), self.path(stamp, disk)
                if await write.find_disk(lock, path, uuid):
                    continue
                name = disk_name(parent, blocks=self.blocks) if parent else None
                below = (snapshot_of(parent, disk), name) if parent else (None, None)
                stream = Sent(blocks, uuid, below if parent else None)
                sink = await sink_for(lock, path, Identity(uuid, *below), self.workers)
                outcome = (await fan_out(stream, {"cellar": sink}))["cellar"]
                if isinstance(outcome, Exception):
                    raise outcome
                await write.publish_disk(lock, path)
            refs = {f"OpaqueRef:{disk[-1]}": disk for disk in self.disks}
            records = PointRecords(
                vm={"uuid": VM, "name_label": "web", "name_description": "", "tags": []},
                snapshot={"suspend_VDI": "OpaqueRef:NULL"},
                vbds={},
                vdis={
                    ref: {"uuid": snapshot_of(stamp, disk), "name_label": "root"}
                    for ref, disk in refs.items()
                },
                vifs={},
                vtpms=[],
            )
            paths = {ref: self.path(stamp, disk) for ref, disk in refs.items()}
            metadata = compose(stamp, JOB, (SCHEDULE,), "r", records, paths)
            await write.publish_point(lock, metadata)

    async def prune(self, remote, stamp):
        async with self.lock(remote) as lock:
            await write.prune_point(lock, stamp)

    async def clean(self, remote):
        """Remove what a plan would: partial uploads, and files on which nothing stands."""
        history = await read.read_vm(remote, VM, NOW)
        paths = [*history.partials, *unneeded(history)]
        async with self.lock(remote) as lock:
            await write.clean_files(lock, paths)

    # ── the world before ─────────────────────────────────────────────────────────────────────

    async def build(self, remote, count=2, *, cache=True):
        """A full and deltas on it, and Xen Orchestra's cache of them."""
        for index in range(count):
            stamp = STAMPS[index]
            blocks = {0: index + 1, index + 1: index + 1}
            self.knows(stamp, blocks, STAMPS[index - 1] if index else None)
            await self.publish(remote, stamp, blocks, STAMPS[index - 1] if index else None)
        self.must = set(STAMPS[:count])
        self.finally_ = set(STAMPS[:count])
        if cache:
            keys = [f"/{layout.metadata_key(VM, stamp)}" for stamp in STAMPS[:count]]
            content = json.dumps({key: {"id": key} for key in keys}).encode()
            await remote.put(layout.cache_key(VM), gzip.compress(content))

    def knows(self, stamp, blocks, parent=None):
        for disk in self.disks:
            below = self.truth.get((parent, disk), {})
            self.truth[stamp, disk] = {**below, **blocks}

    # ── the checker ──────────────────────────────────────────────────────────────────────────

    async def check(self, remote, filesystem, stage):
        history = await read.read_vm(remote, VM, NOW)
        listed = {point.stamp for point in history.points}
        assert history.unreadable == (), history.unreadable
        assert self.must <= listed <= self.must | self.may | self.finally_, listed
        for point in history.points:
            for disk in point.disks:
                await self.reads_back(remote, filesystem, point.stamp, disk)
        self.check_cache(filesystem)
        if stage != "before":
            assert listed == self.finally_, listed
        if stage == "after":
            assert history.partials == ()
            assert unneeded(history) == []

    async def reads_back(self, remote, filesystem, stamp, disk):
        """Read a disk through its chain; where the files are the same, so is what they say."""
        directory = layout.key_of(VM, disk.path.rpartition("/")[0])
        files = [path for path in filesystem.paths() if path.startswith(directory)]
        case = (disk.path, *((path, filesystem.content(path).key) for path in files))
        if case not in self.verdicts:
            keys = await chain_keys_of(remote, VM, disk.path)
            buffer, found = bytearray(BLOCK), {}
            async with open_chain(remote, keys, self.workers) as reader:
                for block in reader.blocks():
                    await reader.read_block_into(memoryview(buffer), block)
                    assert buffer == buffer[:1] * BLOCK, f"block {block} is mixed up"
                    found[block] = buffer[0]
            self.verdicts[case] = found
        assert self.verdicts[case] == self.truth[stamp, disk.disk]

    def check_cache(self, filesystem):
        """Xen Orchestra's cache is right or absent, never stale."""
        paths = filesystem.paths()
        if layout.cache_key(VM) in paths:
            packed = filesystem.content(layout.cache_key(VM)).whole()
            present = {f"/{path}" for path in paths if path.endswith("Z.json")}
            assert set(json.loads(gzip.decompress(packed))) == present


def unneeded(history):
    """Paths of files that no point stands on, directly or through others."""
    waiting = [disk.path for point in history.points for disk in point.disks]
    needed = set()
    while waiting:
        path = waiting.pop()
        if path in history.files and path not in needed:
            needed.add(path)
            waiting += filter(None, [history.files[path].parent_path])
    return sorted(history.files.keys() - needed)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def stamps():
    return STAMPS


@pytest.fixture
def failing():
    return FAILING
