"""A VM's directory on a model of a file system, filled the way the product fills it."""

import gzip
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from reconciler.catalog import archives, layout, read, write
from reconciler.catalog.errors import NotSafe
from reconciler.catalog.lock import vm_lock
from reconciler.catalog.metadata import PointRecords, compose, compose_full
from reconciler.clock import SteppedClock
from reconciler.ids import DiskSnapshotUuid, DiskUuid, JobId, ScheduleId, Stamp, VmUuid
from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.remote import Remote, Traits
from reconciler.remotes.threads import Threads
from reconciler.vhd.encoder import Layout
from reconciler.vhd.layout import BLOCK

VM = VmUuid("11111111-2222-3333-4444-555555555555")
DISK = DiskUuid("dddddddd-0000-0000-0000-000000000001")
OTHER_DISK = DiskUuid("dddddddd-0000-0000-0000-000000000002")
JOB = JobId("aaaaaaaa-0000-0000-0000-00000000000a")
SCHEDULE = ScheduleId("eeeeeeee-0000-0000-0000-00000000000e")
SIZE = 4 * BLOCK
STAMPS = [Stamp(f"2026010{day}T020000Z") for day in range(1, 8)]


def snapshot_of(stamp: str, disk: str = DISK) -> DiskSnapshotUuid:
    """The uuid that the disk's snapshot at this instant has in all these tests."""
    return DiskSnapshotUuid(f"{stamp[:8]}-{stamp[9:13]}-0000-0000-{disk[-12:]}")


async def put_disk(remote, key, uuid, blocks: Mapping[int, int], parent=None, size=SIZE):
    """Write a whole VHD. blocks: number to the byte it is filled with. parent: uuid and name."""
    plan = Layout.of_disk(size, list(blocks), uuid, parent)
    async with remote.create(key) as file:
        await file.write([plan.preamble()], 0)
        for index, fill in enumerate(blocks.values()):
            piece = [plan.slot_head, bytes([fill]) * BLOCK]
            await file.write(piece, plan.slot_offset(index))
        await file.write([plan.trailer()], plan.trailer_offset)
        await file.sync()


def records_of(disks: Mapping[str, str]) -> PointRecords:
    """XAPI's records, as short as they may be. disks: reference to snapshot uuid."""
    return PointRecords(
        vm={"uuid": VM, "name_label": "web", "name_description": "", "tags": []},
        snapshot={"uuid": "5e5e", "suspend_VDI": "OpaqueRef:NULL"},
        vbds={"OpaqueRef:b": {"uuid": "x", "bootable": True, "userdevice": "0"}},
        vdis={
            ref: {"uuid": uuid, "name_label": f"root {ref}", "virtual_size": SIZE}
            for ref, uuid in disks.items()
        },
        vifs={},
        vtpms=[None],
    )


@dataclass
class Shelf:
    """One VM on one remote, with what steps do to it."""

    remote: Remote
    filesystem: MemoryFilesystem
    vm: VmUuid = VM
    disk: DiskUuid = DISK
    other_disk: DiskUuid = OTHER_DISK
    job: JobId = JOB
    stamps: list[Stamp] = field(default_factory=lambda: STAMPS)
    clock: SteppedClock = field(
        default_factory=lambda: SteppedClock(datetime(2026, 2, 1, tzinfo=UTC))
    )

    snapshot_of = staticmethod(snapshot_of)

    def lock(self):
        return vm_lock(self.remote, VM, self.clock)

    def path(self, stamp, disk=DISK, job=JOB):
        return layout.disk_path(job, disk, stamp)

    def key(self, path):
        return layout.key_of(VM, path)

    async def upload(self, stamp, blocks, parent=None, disk=DISK, job=JOB):
        """Put a disk under its temporary name. parent: stamp of the file below."""
        path = self.path(stamp, disk, job)
        below = parent and (snapshot_of(parent, disk), f"{parent}.vhd")
        key = self.key(layout.partial_of(path))
        await self.remote.delete(key)
        await put_disk(self.remote, key, snapshot_of(stamp, disk), blocks, below)
        return path

    def metadata(self, stamp, disks=(DISK,), job=JOB, schedules=(SCHEDULE,)):
        refs = {f"OpaqueRef:{index}": disk for index, disk in enumerate(disks)}
        return compose(
            stamp,
            job,
            schedules,
            "revision-1",
            records_of({ref: snapshot_of(stamp, disk) for ref, disk in refs.items()}),
            {ref: self.path(stamp, disk, job) for ref, disk in refs.items()},
        )

    async def point(self, stamp, blocks, parent=None, disks=(DISK,), job=JOB):
        """Make a restore point. blocks: as `put_disk`, the same for all disks."""
        async with self.lock() as lock:
            for disk in disks:
                await write.publish_disk(lock, await self.upload(stamp, blocks, parent, disk, job))
            return await write.publish_point(lock, self.metadata(stamp, disks, job))

    def full_metadata(self, stamp, size_bytes, job=JOB, disks=(DISK,)):
        records = records_of({f"OpaqueRef:{disk}": snapshot_of(stamp, disk) for disk in disks})
        return compose_full(stamp, job, (SCHEDULE,), records, size_bytes)

    async def archive(self, stamp, content=b"archive", md5="0" * 32, job=JOB):
        """Make a restore point of kind Archive."""
        async with self.lock() as lock:
            key = await archives.begin_archive(lock, job, stamp)
            if key is not None:
                async with self.remote.upload(key) as upload:
                    await upload.write(content)
                metadata = self.full_metadata(stamp, len(content), job)
                await archives.publish_archive(lock, metadata, md5)

    async def chain(self, count=3):
        """A full and deltas on it, oldest first."""
        for index, stamp in enumerate(STAMPS[:count]):
            below = STAMPS[index - 1] if index else None
            await self.point(stamp, {0: index + 1, index % 4: index + 1}, below)

    async def cache(self):
        """What Xen Orchestra's cache says; None if there is none."""
        try:
            packed = self.filesystem.content(layout.cache_key(VM)).whole()
        except FileNotFoundError:
            return None
        return json.loads(gzip.decompress(packed))

    async def put_cache(self):
        """A right cache, as Xen Orchestra makes it."""
        names = [path for path in self.filesystem.paths() if path.endswith("Z.json")]
        entries = {f"/{name}": {"id": f"/{name}"} for name in names}
        packed = gzip.compress(json.dumps(entries).encode())
        await self.remote.put(layout.cache_key(VM), packed)

    async def history(self, headers=None):
        return await read.read_vm(self.remote, VM, self.clock.now(), headers)

    async def put_disk(self, path, uuid, blocks, parent=None, size=SIZE):
        """Put a whole disk file right under its name, as another program might."""
        await put_disk(self.remote, self.key(path), uuid, blocks, parent, size)

    def calls(self):
        """What was called since the last time it was asked, as (kind, path)."""
        called = [(call.kind, call.path) for call in self.filesystem.calls]
        self.filesystem.calls.clear()
        return called

    def changes(self):
        """What was changed but the lock, as (kind, path in the VM's directory)."""
        prefix = f"{layout.vm_key(VM)}/"
        return [
            (call.kind, (call.target or call.path).removeprefix(prefix))
            for call in self.filesystem.calls
            if call.changes and not call.path.endswith(".lock") and call.kind != "make_directory"
        ]

    async def does(self, step, *arguments):
        """Take a step of catalog.write; `changes` are its own afterwards."""
        async with self.lock() as lock:
            self.filesystem.calls.clear()
            return await step(lock, *arguments)

    async def refuses(self, step, *arguments, match=None):
        """The step is refused, and nothing was changed."""
        with pytest.raises(NotSafe, match=match):
            await self.does(step, *arguments)
        assert self.changes() == []

    async def orphans(self):
        """Two files above the chain whose points are gone, and a partial upload beside them."""
        for number in (3, 4):
            await self.point(STAMPS[number], {0: 9, 2: 9}, STAMPS[number - 1])
        for number in (3, 4):
            await self.does(write.prune_point, STAMPS[number])
        await self.upload(STAMPS[5], {0: 9})
        files = [self.path(STAMPS[number]) for number in (3, 4)]
        return [*files, layout.partial_of(self.path(STAMPS[5]))]

    def names(self):
        """Every file of the VM, relative to its directory."""
        prefix = f"{layout.vm_key(VM)}/"
        return [path.removeprefix(prefix) for path in self.filesystem.paths()]


@pytest.fixture
def shelf():
    numbers = itertools.count()
    filesystem = MemoryFilesystem()
    remote = FileRemote(
        "cellar",
        filesystem,
        Threads("cellar", None),
        Traits(reflink=False),
        lambda: f"x{next(numbers)}",
        read_only=False,
    )
    return Shelf(remote, filesystem)


@pytest.fixture
async def chain(shelf):
    """A shelf with three points: a full and two deltas on it."""
    await shelf.chain(3)
    shelf.filesystem.calls.clear()
    return shelf
