"""Steps that span pool and remote: exports that continue, refusals, restores that leave nothing."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.catalog.chains import chain_keys
from reconciler.catalog.read import read_vm
from reconciler.clock import SteppedClock
from reconciler.executor.dispatch import carry_out
from reconciler.executor.readings import Readings
from reconciler.executor.tools import Tools
from reconciler.executor.transfers import Gauge
from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    SnapshotUuid,
    Stamp,
    VmUuid,
)
from reconciler.lab.faults import DropConnection, FailCall
from reconciler.observed.chain import FileState, History, disk_name
from reconciler.observed.marks import read_marks
from reconciler.plan.actions import (
    DiskExport,
    Export,
    ExportKind,
    Snapshot,
)
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import RestoreDisk, RestoreVm
from reconciler.remotes.open import open_remote
from reconciler.xapi.errors import StreamBroken, XapiError

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
JOB = JobId("33333333-3333-4333-8333-333333333333")
EXPORT = "http:GET /export_raw_vdi"
IMPORT = "http:PUT /import_raw_vdi"


class Place:
    """A lab, a client, a remote, and the actions that a planner would make of them."""

    def __init__(self, lab, client, remote, directory: Path) -> None:
        self.lab = lab
        self.client = client
        self.remote = remote
        self.directory = directory
        self.clock = SteppedClock(NOW)
        self.vm = VmUuid("")

    async def carry_out(self, action) -> int:
        gauge = Gauge(action, self.clock.now())
        slots = asyncio.Semaphore(4)

        async def pool(_):
            return self.client

        async def remote(_):
            return self.remote

        failure = None
        async with asyncio.TaskGroup() as group:
            readings = Readings(group, [action])
            tools = Tools(self.clock, gauge, pool, remote, lambda _: slots, readings)
            try:
                await carry_out(action, tools)
            except Exception as error:  # carried around the group, which would wrap it
                failure = error
        if failure is not None:
            raise failure
        return gauge.done_bytes

    async def snapshot(self) -> Export:
        """Take a snapshot; return the export of it, whole."""
        self.clock.step(timedelta(days=1))
        records = await self.client.call("VM.get_all_records")
        self.vm = VmUuid(next(vm["uuid"] for vm in records.values() if _is_web(vm)))
        action = Snapshot(
            pool=PoolName("lab"),
            vm=self.vm,
            vm_name="web",
            job=JobName("nightly"),
            job_id=JOB,
            schedules=(),
            due=NOW,
            reason=Reason.REQUESTED,
            after=None,
        )
        await self.carry_out(action)
        records = await self.client.call("VM.get_all_records")
        marked = [
            (marks.stamp, vm)
            for vm in records.values()
            if vm["is_a_snapshot"] and (marks := read_marks(vm["other_config"], vm["uuid"]))
        ]
        stamp, newest = max(marked, key=lambda pair: pair[0])
        disks = [await self._disk(vbd) for vbd in newest["VBDs"]]
        return Export(
            pool=PoolName("lab"),
            remote=RemoteName("cellar"),
            vm=self.vm,
            vm_name="web",
            job=JobName("nightly"),
            job_id=JOB,
            schedules=(),
            snapshot=SnapshotUuid(newest["uuid"]),
            stamp=stamp,
            disks=tuple(disk for disk in disks if disk is not None),
            due=NOW,
            reason=Reason.POINT_MISSING,
        )

    async def _disk(self, vbd: str) -> DiskExport | None:
        record = await self.client.call("VBD.get_record", vbd)
        if record["type"] != "Disk":
            return None
        vdi = await self.client.call("VDI.get_record", record["VDI"])
        live = await self.client.call("VDI.get_uuid", vdi["snapshot_of"])
        return DiskExport(
            disk=DiskUuid(live),
            snapshot=DiskSnapshotUuid(vdi["uuid"]),
            kind=ExportKind.FULL,
            reason=Reason.FIRST_BACKUP,
        )

    async def history(self) -> History:
        return await read_vm(self.remote, self.vm, self.clock.now())

    def inode(self, path: str) -> int:
        return (self.directory / "xo-vm-backups" / self.vm / path).stat().st_ino

    def content(self, position: int) -> bytes:
        return self.lab.read_disk("web", position, 0, 16 << 20)

    async def restored(self, stamp: Stamp, disk: DiskUuid, output: Path) -> bytes:
        await self.carry_out(
            RestoreDisk(
                remote=RemoteName("cellar"),
                vm=self.vm,
                vm_name="web",
                stamp=stamp,
                disk=disk,
                output=str(output),
                format="raw",
                due=NOW,
            )
        )
        return output.read_bytes()

    async def vdis(self) -> set[str]:
        return {vdi["uuid"] for vdi in (await self.client.call("VDI.get_all_records")).values()}


def _is_web(vm) -> bool:
    return vm["name_label"] == "web" and not vm["is_a_snapshot"]


def on(base: Export, export: Export) -> Export:
    """The same export as deltas on an earlier one."""
    below = {disk.disk: disk for disk in base.disks}
    disks = tuple(
        replace(
            disk,
            kind=ExportKind.DELTA,
            reason=Reason.BASE_PRESENT,
            base=below[disk.disk].snapshot,
            base_file=disk_name(base.stamp, blocks=base.blocks),
            since_full=below[disk.disk].since_full + 1,
        )
        for disk in export.disks
    )
    return replace(export, disks=disks)


@pytest.fixture
async def place(lab, client, tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "remote").mkdir()
    remote = await open_remote("cellar", str(tmp_path / "remote"))
    yield Place(lab, client, remote, tmp_path / "remote")
    await remote.close()


async def test_an_interrupted_export_sends_only_the_disks_that_lack(place: Place) -> None:
    export = await place.snapshot()
    place.lab.faults.add(EXPORT, DropConnection(after_bytes=5 << 20), times=2)
    with pytest.raises(ExceptionGroup) as failure:
        await place.carry_out(export)
    assert isinstance(failure.value.exceptions[0], StreamBroken)
    history = await place.history()
    assert history.points == (), "no metadata, no point"
    whole = {path: place.inode(path) for path in history.files}
    sent = await place.carry_out(export)
    history = await place.history()
    assert len(history.points) == 1
    for path, inode in whole.items():
        assert place.inode(path) == inode, "it was not sent again"
    assert 0 < sent < 20 << 20
    assert await place.carry_out(export) == 0, "the point is there: nothing is sent"


async def test_in_block_mode_an_interrupted_export_goes_on_from_the_blocks_that_are_there(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.transfer.block_sink.SENT_MAX", 1)
    place.lab.random_write("web", 0, 0, 16 << 20)
    export = replace(await place.snapshot(), blocks=True)
    place.lab.faults.add(EXPORT, DropConnection(after_bytes=15 << 20), times=2)
    with pytest.raises(ExceptionGroup) as failure:
        await place.carry_out(export)
    assert isinstance(failure.value.exceptions[0], StreamBroken)
    assert (await place.history()).points == ()
    there = {path: path.stat().st_ino for path in place.directory.rglob("blocks/*/*")}
    assert there, "of seven that came most can have been on their way, and not all"
    await place.carry_out(export)
    for path, inode in there.items():
        assert path.stat().st_ino == inode, "it was not put again"
    place.lab.random_write("web", 0, 3 << 20, 1 << 20)
    second = on(export, replace(await place.snapshot(), blocks=True))
    before = place.content(0)
    await place.carry_out(second)
    history = await place.history()
    assert history.partials == history.unreadable == ()
    assert all(file.blocks and file.state is FileState.OK for file in history.files.values())
    disk = history.points[-1].disks[0]
    assert history.files[disk.path].parent == f"{export.stamp}.alias.vhd"
    restored = await place.restored(second.stamp, disk.disk, tmp_path / "disk.raw")
    assert restored[: len(before)] == before


async def test_a_delta_that_the_pool_cannot_make_is_sent_whole(
    place: Place, tmp_path: Path
) -> None:
    first = await place.snapshot()
    await place.carry_out(first)
    place.lab.random_write("web", 0, 3 << 20, 1 << 20)
    contents = [place.content(0), place.content(1)]
    second = on(first, await place.snapshot())
    refusal = FailCall("INTERNAL_ERROR", ("Cannot compute differences on non-VHD images",))
    place.lab.faults.add(EXPORT, refusal)  # whichever disk comes first
    await place.carry_out(second)
    history = await place.history()
    newest = [file for file in history.files.values() if second.stamp in file.path]
    assert sorted(file.parent is None for file in newest) == [False, True]
    said = {disk.path: disk.since_full for disk in history.points[-1].disks}
    assert {file.path: said[file.path] for file in newest} == {
        file.path: 0 if file.parent is None else 1 for file in newest
    }, "what came whole says so, whatever was planned"
    for number, disk in enumerate(second.disks):
        output = tmp_path / f"{number}.raw"
        assert await place.restored(second.stamp, disk.disk, output) in contents


async def test_a_delta_stands_on_its_base_and_both_come_back(place: Place, tmp_path: Path) -> None:
    wanted, exports = [], []
    for _ in range(3):
        wanted.append({0: place.content(0), 1: place.content(1)})
        export = await place.snapshot()
        exports.append(on(exports[-1], export) if exports else export)
        await place.carry_out(exports[-1])
        place.lab.random_write("web", 0, 5 << 20, 1 << 20)
        place.lab.random_write("web", 1, 1 << 20, 4096)
    for export, content in zip(exports, wanted, strict=True):
        for disk in export.disks:
            output = tmp_path / f"{export.stamp}-{disk.disk}.raw"
            assert await place.restored(export.stamp, disk.disk, output) in content.values()
    keys = await chain_keys(place.remote, place.vm, exports[2].stamp, exports[2].disks[0].disk)
    assert len(keys) == 3
    said = [{disk.since_full for disk in point.disks} for point in (await place.history()).points]
    assert said == [{0}, {1}, {2}]


async def test_a_restore_that_fails_leaves_nothing_on_the_pool(place: Place) -> None:
    export = await place.snapshot()
    await place.carry_out(export)
    before = (await place.vdis(), set(await place.client.call("VM.get_all")))
    restore = RestoreVm(
        remote=RemoteName("cellar"),
        vm=place.vm,
        vm_name="web",
        stamp=export.stamp,
        pool=PoolName("lab"),
        sr=None,
        name="again",
        start=False,
        due=NOW,
    )
    place.lab.faults.add(IMPORT, FailCall("VDI_IO_ERROR", ("Device I/O errors",)))
    with pytest.raises((XapiError, ExceptionGroup)):
        await place.carry_out(restore)
    assert (await place.vdis(), set(await place.client.call("VM.get_all"))) == before
    await place.carry_out(restore)
    for position in (0, 1):
        copy = place.lab.read_disk("again", position, 0, 16 << 20)
        assert copy == place.content(position)
    (again,) = await place.client.call("VM.get_by_name_label", "again")
    record = await place.client.call("VM.get_record", again)
    assert record["blocked_operations"] == {}
    assert "restored from backup" in record["tags"]
    assert not any(key.startswith("xo:backup") for key in record["other_config"])


async def test_a_file_that_is_there_is_never_overwritten(place: Place, tmp_path: Path) -> None:
    export = await place.snapshot()
    await place.carry_out(export)
    output = tmp_path / "precious"
    output.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        await place.restored(export.stamp, export.disks[0].disk, output)
    assert output.read_bytes() == b"precious"
