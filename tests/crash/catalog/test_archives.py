"""Archives at every moment: a point is there with its whole archive, or not at all.

Where an archive lies without metadata, a mark lies beside it, unless somebody else put it there: so
what we leave behind is always cleaned, and nothing else ever is.
"""

import gzip
import json
from dataclasses import dataclass, field

import pytest

from reconciler.catalog import archives, layout, read, write
from reconciler.catalog.lock import vm_lock
from reconciler.catalog.metadata import PointRecords, compose_full
from reconciler.clock import SteppedClock
from reconciler.ids import JobId
from reconciler.observed.chain import Chains

JOB = JobId("aaaaaaaa-0000-0000-0000-00000000000a")
STRAY = "20250101T020000Z.xva"
PIECE = 4096


def content_of(stamp: str) -> bytes:
    return stamp.encode() * 700


@dataclass
class Shelf:
    """must: points that are there whatever happens. may: that may be there until recovery.
    finally_: that are there in the end."""

    vm: str
    now: object
    must: set = field(default_factory=set)
    may: set = field(default_factory=set)
    finally_: set = field(default_factory=set)

    def lock(self, remote):
        return vm_lock(remote, self.vm, SteppedClock(self.now))

    async def publish(self, remote, stamp):
        """What the step does."""
        content = content_of(stamp)
        records = PointRecords({"uuid": self.vm, "name_label": "web"}, {}, {}, {}, {}, [])
        async with self.lock(remote) as lock:
            key = await archives.begin_archive(lock, JOB, stamp)
            if key is None:
                return
            async with remote.upload(key) as upload:
                for start in range(0, len(content), PIECE):
                    await upload.write(content[start : start + PIECE])
            metadata = compose_full(stamp, JOB, (), records, len(content))
            await archives.publish_archive(lock, metadata, "0" * 32)

    async def prune(self, remote, stamp):
        async with self.lock(remote) as lock:
            await write.prune_point(lock, stamp)

    async def clean(self, remote):
        """What a plan would."""
        history = await read.read_vm(remote, self.vm, self.now)
        async with self.lock(remote) as lock:
            await write.clean_files(lock, history.partials)

    async def build(self, remote, stamps):
        for stamp in stamps:
            await self.publish(remote, stamp)
        keys = [f"/{layout.metadata_key(self.vm, stamp)}" for stamp in stamps]
        content = json.dumps({key: {"id": key} for key in keys}).encode()
        await remote.put(layout.cache_key(self.vm), gzip.compress(content))
        await remote.put(layout.key_of(self.vm, STRAY), b"somebody's")
        self.must, self.finally_ = set(stamps), set(stamps)

    async def check(self, remote, filesystem, stage):
        history = await read.read_vm(remote, self.vm, self.now)
        assert history.unreadable == ()
        listed = {point.stamp for point in history.points}
        assert self.must <= listed <= self.must | self.may | self.finally_, listed
        files = {path.rpartition("/")[2] for path in filesystem.paths()}
        for point in history.points:
            assert Chains({}).is_whole(point), point.flaw
            content = filesystem.content(layout.key_of(self.vm, point.archive)).whole()
            assert content == content_of(point.stamp)
        assert STRAY in files
        self._check_marks(files, listed)
        self._check_cache(filesystem)
        if stage != "before":
            assert listed == self.finally_, listed
        if stage == "after":
            assert history.partials == ()
            names = {f"{stamp}{end}" for stamp in listed for end in (".xva", ".xva.checksum")}
            assert {name for name in files if ".xva" in name} == names | {STRAY}

    def _check_marks(self, files, listed):
        for name in files - {STRAY}:
            stamp = name.removesuffix(".checksum").removesuffix(".xva")
            if ".xva" in name and not name.startswith(".") and stamp not in listed:
                assert layout.archive_mark_path(stamp) in files, f"{name} is nobody's"

    def _check_cache(self, filesystem):
        """Xen Orchestra's cache is right or absent, never stale."""
        paths = filesystem.paths()
        if layout.cache_key(self.vm) in paths:
            packed = filesystem.content(layout.cache_key(self.vm)).whole()
            present = {f"/{path}" for path in paths if path.endswith("Z.json")}
            assert set(json.loads(gzip.decompress(packed))) == present


@pytest.fixture
def shelf(world):
    return Shelf(world.vm, world.now)


def publishing(shelf, stamps):
    new = stamps[2]

    async def scenario(remote):
        await shelf.build(remote, stamps[:2])
        shelf.finally_.add(new)

    async def publish(remote):
        await shelf.publish(remote, new)

    async def recover(remote):
        await shelf.clean(remote)
        await shelf.publish(remote, new)

    return scenario, publish, recover


def pruning(shelf, stamps):
    old = stamps[0]

    async def scenario(remote):
        await shelf.build(remote, stamps[:3])
        shelf.must.remove(old)
        shelf.may.add(old)
        shelf.finally_.remove(old)

    async def prune(remote):
        await shelf.prune(remote, old)

    async def recover(remote):
        await shelf.prune(remote, old)
        await shelf.clean(remote)

    return scenario, prune, recover


def pruning_as_planned(shelf, stamps):
    """A plan sees that the point is gone, and has only debris cleaned."""
    scenario, prune, _ = pruning(shelf, stamps)

    async def recover(remote):
        history = await read.read_vm(remote, shelf.vm, shelf.now)
        if any(point.stamp == stamps[0] for point in history.points):
            await prune(remote)
        await shelf.clean(remote)

    return scenario, prune, recover


CASES = [publishing, pruning, pruning_as_planned]


@pytest.mark.parametrize("case", CASES)
async def test_archives_survive_every_crash(shelf, stamps, failing, enumerate_crashes, case):
    scenario, operation, recover = case(shelf, stamps)
    await enumerate_crashes(
        scenario,
        operation,
        shelf.check,
        recovery=recover,
        failing=failing,
        subsets_max=32,
        at_least=100,
    )


@pytest.mark.parametrize("case", CASES)
async def test_archives_survive_every_error(shelf, stamps, failing, enumerate_errors, case):
    scenario, operation, recover = case(shelf, stamps)
    await enumerate_errors(
        scenario, operation, shelf.check, recovery=recover, failing=failing, at_least=500
    )


async def test_trying_again_without_cleaning_first_ends_the_same(
    shelf, stamps, failing, enumerate_crashes
):
    scenario, publish, _ = publishing(shelf, stamps)

    async def recover(remote):
        await publish(remote)
        await shelf.clean(remote)

    await enumerate_crashes(
        scenario,
        publish,
        shelf.check,
        recovery=recover,
        failing=failing,
        subsets_max=16,
        at_least=100,
    )
