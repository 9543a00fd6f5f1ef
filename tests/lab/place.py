"""A lab, a client, a remote, and the actions that a planner would make of them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

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
from reconciler.observed.chain import History, disk_name
from reconciler.observed.marks import read_marks
from reconciler.plan.actions import (
    DiskExport,
    Export,
    ExportKind,
    Snapshot,
)
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import RestoreDisk

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
JOB = JobId("33333333-3333-4333-8333-333333333333")


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
