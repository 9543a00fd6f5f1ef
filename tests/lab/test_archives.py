"""Mode Full from end to end: a VM out of a pool as an archive, kept on a remote, and back."""

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.catalog.lock import vm_lock
from reconciler.catalog.read import read_vm
from reconciler.catalog.write import clean_files
from reconciler.clock import SteppedClock
from reconciler.desired.state import Compression
from reconciler.executor.dispatch import carry_out
from reconciler.executor.readings import Readings
from reconciler.executor.tools import Tools
from reconciler.executor.transfers import Gauge
from reconciler.ids import (
    DiskUuid,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    SnapshotUuid,
    VmUuid,
)
from reconciler.lab.faults import DropConnection, FailCall
from reconciler.observed.chain import Chains, PointKind
from reconciler.observed.marks import read_marks
from reconciler.plan.actions import (
    Archive,
    Prune,
    Snapshot,
)
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import RestoreDisk, RestoreVm
from reconciler.remotes.open import open_remote
from reconciler.transfer.errors import ChainBroken
from reconciler.xapi.archives import open_vm_export, open_vm_import
from reconciler.xapi.errors import StreamBroken, XapiError, XapiFailure
from reconciler.xva.errors import XvaError

MIB = 1 << 20
NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
JOB = JobId("33333333-3333-4333-8333-333333333333")
EXPORT = "http:GET /export"
IMPORT = "http:PUT /import"
START = {"None": b"ova.xml\0", "Gzip": b"\x1f\x8b", "Zstd": b"\x28\xb5\x2f\xfd"}


@dataclass
class Place:
    """A lab with a VM that has two disks, a client of it, a remote, and a clock."""

    lab: object
    client: object
    remote: object
    directory: Path
    clock: SteppedClock
    vm: str = ""

    async def carry_out(self, action) -> list[str]:
        slots, made = asyncio.Semaphore(4), []

        async def pool(_):
            return self.client

        async def remote(_):
            return self.remote

        gauge = Gauge(action, self.clock.now())
        failure = None
        async with asyncio.TaskGroup() as group:
            readings = Readings(group, [action])
            tools = Tools(self.clock, gauge, pool, remote, lambda _: slots, readings, made.append)
            try:
                await carry_out(action, tools)
            except Exception as error:  # carried around the group, which would wrap it
                failure = error
        if failure is not None:
            raise failure
        return made

    async def archive(self, compression=Compression.NONE) -> Archive:
        """Take the day's snapshot; return the archive that is to be made of it."""
        self.clock.step(timedelta(days=1))
        records = await self.client.call("VM.get_all_records")
        self.vm = VmUuid(next(vm["uuid"] for vm in records.values() if vm["name_label"] == "web"))
        names = {"pool": PoolName("lab"), "vm": self.vm, "vm_name": "web"}
        names |= {"job": JobName("weekly"), "job_id": JOB, "schedules": ()}
        await self.carry_out(Snapshot(**names, due=NOW, reason=Reason.REQUESTED))
        records = await self.client.call("VM.get_all_records")
        stamp, uuid = max(
            (marks.stamp, vm["uuid"])
            for vm in records.values()
            if vm["is_a_snapshot"] and (marks := read_marks(vm["other_config"], vm["uuid"]))
        )
        return Archive(
            **names,
            remote=RemoteName("cellar"),
            snapshot=SnapshotUuid(uuid),
            stamp=stamp,
            compression=compression,
            due=NOW,
            reason=Reason.POINT_MISSING,
        )

    async def points(self):
        history = await read_vm(self.remote, self.vm, self.clock.now())
        assert history.unreadable == ()
        return history.points

    def content(self, position: int, vm: str = "web") -> bytes:
        return self.lab.read_disk(vm, position, 0, 16 * MIB)

    def files(self) -> list[str]:
        root = self.directory / "xo-vm-backups" / self.vm
        return sorted(path.name for path in root.iterdir()) if root.exists() else []

    def xva(self, stamp) -> Path:
        return self.directory / "xo-vm-backups" / self.vm / f"{stamp}.xva"

    async def restored(self, stamp, disk, output: Path, file_format="raw") -> bytes:
        await self.carry_out(
            RestoreDisk(
                remote=RemoteName("cellar"),
                vm=self.vm,
                vm_name="web",
                stamp=stamp,
                disk=DiskUuid(disk),
                output=str(output),
                format=file_format,
                due=NOW,
            )
        )
        return output.read_bytes()

    async def restore(self, stamp, **wanted) -> str:
        """Restore as a new VM; return its uuid."""
        settings = {"sr": None, "name": None, "start": False, **wanted}
        (made,) = await self.carry_out(
            RestoreVm(
                remote=RemoteName("cellar"),
                vm=self.vm,
                vm_name="web",
                stamp=stamp,
                pool=PoolName("lab"),
                due=NOW,
                **settings,
            )
        )
        return made

    async def all(self, kind: str) -> set[str]:
        records = await self.client.call(f"{kind}.get_all_records")
        return {record["uuid"] for record in records.values()}


@pytest.fixture
async def place(lab, client, tmp_path: Path):
    (tmp_path / "remote").mkdir()
    remote = await open_remote("cellar", str(tmp_path / "remote"))
    yield Place(lab, client, remote, tmp_path / "remote", SteppedClock(NOW))
    await remote.close()


@pytest.mark.parametrize("compression", Compression)
async def test_a_vm_goes_to_a_remote_and_comes_back(place, compression, tmp_path):
    action = await place.archive(compression)
    before = [place.content(0), place.content(1)]
    await place.carry_out(action)
    stamp = action.stamp
    assert place.files() == [f"{stamp}.json", f"{stamp}.xva", f"{stamp}.xva.checksum"]
    assert place.xva(stamp).read_bytes().startswith(START[compression])
    (point,) = await place.points()
    assert (point.kind, point.flaw) == (PointKind.ARCHIVE, "")
    assert point.size_bytes == place.xva(stamp).stat().st_size
    assert [disk.position for disk in point.disks] == ["0", "1"]
    for disk, content in zip(point.disks, before, strict=True):
        output = tmp_path / f"{disk.position}.raw"
        assert await place.restored(stamp, disk.disk, output) == content
    uuid = await place.restore(stamp)
    name = f"web ({stamp})"
    assert [place.content(0, name), place.content(1, name)] == before
    ref = await place.client.call("VM.get_by_uuid", uuid)
    vm = await place.client.call("VM.get_record", ref)
    assert vm["name_label"] == name
    assert "restored from backup" in vm["tags"]
    assert vm["other_config"]["reconciler:restored-from"] == f"{place.vm}/{stamp}"
    assert read_marks(vm["other_config"], uuid) is None, "it is nobody's snapshot"
    assert not vm["is_a_snapshot"]
    assert not vm["is_a_template"]
    assert await place.client.call("task.get_all_records") == {}


async def test_it_starts_if_asked_to_and_carries_the_name_asked_for(place):
    action = await place.archive()
    await place.carry_out(action)
    uuid = await place.restore(action.stamp, name="web again", start=True)
    ref = await place.client.call("VM.get_by_uuid", uuid)
    assert await place.client.call("VM.get_name_label", ref) == "web again"
    assert await place.client.call("VM.get_power_state", ref) == "Running"


async def test_a_second_try_finds_the_point_there(place):
    action = await place.archive()
    await place.carry_out(action)
    inode = place.xva(action.stamp).stat().st_ino
    await place.carry_out(action)
    assert place.xva(action.stamp).stat().st_ino == inode
    assert len(await place.points()) == 1


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("after", [0, 100, 5000, 3 * MIB, 6 * MIB])
async def test_an_export_that_breaks_leaves_no_point_and_the_next_try_makes_it(
    place, compression, after
):
    action = await place.archive(compression)
    place.lab.faults.add(EXPORT, DropConnection(after))
    with pytest.raises((StreamBroken, XapiFailure, XvaError, XapiError)):
        await place.carry_out(action)
    assert await place.points() == ()
    assert not place.xva(action.stamp).exists()
    await place.carry_out(action)
    assert [point.flaw for point in await place.points()] == [""]


async def test_a_refused_export_says_what_the_pool_said(place):
    action = await place.archive()
    place.lab.faults.add(EXPORT, FailCall("VDI_IO_ERROR", ("Device I/O errors",)))
    with pytest.raises(XapiError, match="VDI_IO_ERROR"):
        await place.carry_out(action)
    assert not place.xva(action.stamp).exists()


async def test_what_an_interrupted_try_left_is_cleaned(place):
    action = await place.archive()
    place.lab.faults.add(EXPORT, DropConnection(3 * MIB))
    with pytest.raises(XapiError):
        await place.carry_out(action)
    history = await read_vm(place.remote, place.vm, NOW)
    assert history.partials
    async with vm_lock(place.remote, place.vm, place.clock) as lock:
        await clean_files(lock, history.partials)
    assert place.files() == []


async def test_pruned_points_take_their_archives_with_them(place):
    first = await place.archive()
    await place.carry_out(first)
    second = await place.archive()
    await place.carry_out(second)
    action = Prune(
        remote=RemoteName("cellar"),
        vm=place.vm,
        vm_name="web",
        job=JobName("weekly"),
        stamp=first.stamp,
        freed_bytes=0,
        due=NOW,
        reason=Reason.REQUESTED,
    )
    await place.carry_out(action)
    stamp = second.stamp
    assert place.files() == [f"{stamp}.json", f"{stamp}.xva", f"{stamp}.xva.checksum"]


# ── what is wrong on the remote ──────────────────────────────────────────────────────────────────


def damage(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_SET if at >= 0 else os.SEEK_END)
        file.write(content)


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("at", [4 * MIB, -300])
async def test_a_damaged_archive_is_restored_by_nobody(place, compression, at, tmp_path):
    action = await place.archive(compression)
    await place.carry_out(action)
    damage(place.xva(action.stamp), at, os.urandom(64))
    before = await place.all("VM"), await place.all("VDI")
    with pytest.raises((ChainBroken, XapiError)):
        await place.restore(action.stamp)
    for _ in range(2000):  # the pool notices the closed socket by itself
        if (await place.all("VM"), await place.all("VDI")) == before:
            break
        await asyncio.sleep(0.05)
    assert (await place.all("VM"), await place.all("VDI")) == before
    (point,) = await place.points()
    for file_format in ("raw", "vhd", "qcow2"):
        with pytest.raises(ChainBroken, match=r"\.xva: "):
            output = tmp_path / "disk"
            await place.restored(action.stamp, point.disks[0].disk, output, file_format)
    assert list(tmp_path.glob("*disk*")) == []


async def test_a_shortened_archive_is_no_good_point(place):
    action = await place.archive()
    await place.carry_out(action)
    os.truncate(place.xva(action.stamp), 3 * MIB)
    (point,) = await place.points()
    assert "instead of" in point.flaw
    assert not Chains({}).is_whole(point)
    with pytest.raises(Exception, match="instead of"):
        await place.restore(action.stamp)


async def test_a_failing_import_leaves_nothing(place):
    action = await place.archive()
    await place.carry_out(action)
    before = await place.all("VM"), await place.all("VDI")
    place.lab.faults.add(IMPORT, FailCall("SR_BACKEND_FAILURE_44", ("", "no space", "")))
    with pytest.raises(XapiError, match="SR_BACKEND_FAILURE_44"):
        await place.restore(action.stamp)
    for _ in range(2000):
        if (await place.all("VM"), await place.all("VDI")) == before:
            break
        await asyncio.sleep(0.05)
    assert (await place.all("VM"), await place.all("VDI")) == before


async def test_a_vm_that_cannot_be_dressed_is_removed_with_its_disks(place):
    action = await place.archive()
    await place.carry_out(action)
    before = await place.all("VM"), await place.all("VDI")
    place.lab.faults.add("rpc:VM.add_tags", FailCall("INTERNAL_ERROR", ("no",)))
    with pytest.raises(XapiFailure, match="INTERNAL_ERROR"):
        await place.restore(action.stamp)
    assert (await place.all("VM"), await place.all("VDI")) == before


# ── streams ──────────────────────────────────────────────────────────────────────────────────────


async def read_all(stream) -> bytes:
    got, buffer = bytearray(), memoryview(bytearray(MIB))
    while count := await stream.read_up_to(buffer):
        got += buffer[:count]
    await stream.finish()
    return bytes(got)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("compression", Compression)
async def test_a_stream_goes_from_pool_to_pool(place, make_lab, connect, compression, known):
    """What disaster recovery does: out of one pool and into another."""
    action = await place.archive(compression)
    ref = await place.client.call("VM.get_by_uuid", action.snapshot)
    async with await open_vm_export(place.client, ref, compression, label="web") as stream:
        content = await read_all(stream)
    other = make_lab("other")
    with other.serve() as served:
        client = connect(served)
        (sr,) = {
            sr
            for sr, record in (await client.call("SR.get_all_records")).items()
            if record["content_type"] == "user"
        }
        length = len(content) if known else None
        stream = await open_vm_import(client, sr, length=length, label="web")
        async with stream:
            for start in range(0, len(content), MIB):
                await stream.write(content[start : start + MIB])
            (vm,) = await stream.finish()
        await client.call("VM.set_name_label", vm, "copy")
        assert other.read_disk("copy", 0, 0, 16 * MIB) == place.content(0)
        assert await client.call("task.get_all_records") == {}


async def test_an_import_is_told_of_exactly_what_comes(place):
    sr = next(iter(await place.client.call("SR.get_all_records")))
    async with await open_vm_import(place.client, sr, length=10) as stream:
        with pytest.raises(ValueError, match="more to send"):
            await stream.write(b"x" * 11)
    async with await open_vm_import(place.client, sr, length=10) as stream:
        await stream.write(b"x" * 9)
        with pytest.raises(ValueError, match="1 bytes less"):
            await stream.finish()


async def test_a_cancelled_export_stops_at_once(make_lab, connect):
    lab = make_lab(bandwidth_bytes_per_s=64 * 1024)  # it would take some minutes
    with lab.serve() as served:
        client = connect(served)
        lab.power("web", "Halted")
        (vm,) = await client.call("VM.get_by_name_label", "web")
        async with asyncio.timeout(120):
            async with await open_vm_export(client, vm, "None") as stream:
                await stream.read_up_to(memoryview(bytearray(100)))
        for _ in range(2000):
            if not await client.call("task.get_all_records"):
                break
            await asyncio.sleep(0.05)
        assert await client.call("task.get_all_records") == {}
