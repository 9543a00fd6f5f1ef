"""A lab with a VM, an SR for its replicas on the same or another lab, and a planner by hand."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

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
    ScheduleId,
    SnapshotUuid,
    SrUuid,
    VmUuid,
)
from reconciler.observed.marks import read_marks
from reconciler.observed.replica import ReplicaKind, ReplicaState
from reconciler.observed.replica_marks import replica_name
from reconciler.observers.pool_fold import PoolFold
from reconciler.observers.pool_tables import WANTED
from reconciler.plan.actions import (
    CleanReplica,
    DiskExport,
    ExportKind,
    PruneReplica,
    Replicate,
    Snapshot,
)
from reconciler.plan.reasons import Reason
from reconciler.xapi.events import Change

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
JOB = JobId("33333333-3333-4333-8333-333333333333")
SCHEDULE = ScheduleId("44444444-4444-4444-8444-444444444444")
SIZE = 16 << 20
NULL = "OpaqueRef:NULL"
EXPORT = "http:GET /export_raw_vdi"
IMPORT = "http:PUT /import_raw_vdi"


class Site:
    """A lab with a VM, a client of it, another lab (or the same) with an SR for replicas.

    Actions ask by the clients; what a test wants to know it asks the labs themselves.
    """

    def __init__(self, lab, client, target_lab, target, sr) -> None:
        self.lab, self.client = lab, client
        self.target_lab, self.target, self.sr = target_lab, target, SrUuid(sr)
        self.clock = SteppedClock(NOW)
        self.vm = VmUuid("")
        self.contents: dict[str, dict[str, bytes]] = {}
        self.sent_bytes = 0
        self.served = None  # the target, for clients of others

    async def carry_out(self, action, target=None) -> None:
        slots = asyncio.Semaphore(4)
        gauge = Gauge(action, self.clock.now())

        async def pool(name):
            return self.client if name == "east" else target or self.target

        try:
            async with asyncio.TaskGroup() as group:
                readings = Readings(group, [action])
                tools = Tools(self.clock, gauge, pool, None, lambda _: slots, readings)
                await carry_out(action, tools)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        self.sent_bytes = gauge.done_bytes

    async def view(self, client=None):
        """The target pool as it is."""
        changes = []
        for kind in WANTED:
            method = f"{kind}.get_all_records"
            records = self.target_lab.call(method) if client is None else await client.call(method)
            changes += [Change(kind, ref, record) for ref, record in records.items()]
        return PoolFold(PoolName("west")).apply(changes, self.clock.now())

    async def points(self):
        replicas = (await self.view()).replicas
        return [one for one in replicas if one.state is ReplicaState.WHOLE]

    async def snapshot(self) -> tuple[str, SnapshotUuid, list[DiskExport]]:
        """Take a snapshot; give its stamp and what a full of it would be."""
        self.clock.step(timedelta(days=1))
        (ref,) = self.lab.call("VM.get_by_name_label", "web")
        self.vm = VmUuid(self.lab.call("VM.get_uuid", ref))
        wish = Snapshot(
            pool=PoolName("east"),
            vm=self.vm,
            vm_name="web",
            job=JobName("nightly"),
            job_id=JOB,
            schedules=(SCHEDULE,),
            due=NOW,
            reason=Reason.REQUESTED,
        )
        await self.carry_out(wish)
        records = self.lab.call("VM.get_all_records")
        stamp, newest = max(
            (
                (marks.stamp, vm)
                for vm in records.values()
                if vm["is_a_snapshot"] and (marks := read_marks(vm["other_config"], vm["uuid"]))
            ),
            key=lambda pair: pair[0],
        )
        disks = []
        for vbd in newest["VBDs"]:
            record = self.lab.call("VBD.get_record", vbd)
            if record["type"] != "Disk":
                continue
            vdi = self.lab.call("VDI.get_record", record["VDI"])
            live = self.lab.call("VDI.get_uuid", vdi["snapshot_of"])
            disks.append(
                DiskExport(
                    disk=DiskUuid(live),
                    snapshot=DiskSnapshotUuid(vdi["uuid"]),
                    kind=ExportKind.FULL,
                    reason=Reason.FIRST_BACKUP,
                )
            )
        self.contents[stamp] = {
            disk.disk: self.lab.read_vdi(disk.snapshot, 0, self.size_of(disk)) for disk in disks
        }
        return stamp, SnapshotUuid(newest["uuid"]), disks

    def size_of(self, disk) -> int:
        vdi = self.lab.pool.database.by_uuid("VDI", disk.snapshot)
        return vdi.number("virtual_size")

    async def replication(self) -> Replicate:
        """A snapshot, and what a planner would make of it and of what is on the target."""
        stamp, snapshot, disks = await self.snapshot()
        points = [one for one in await self.points() if one.kind is ReplicaKind.UPDATED]
        base = points[-1] if points else None
        known = {disk.disk: disk for disk in base.disks} if base is not None else {}
        return Replicate(
            pool=PoolName("east"),
            target_pool=PoolName("west"),
            sr=self.sr,
            vm=self.vm,
            vm_name="web",
            job=JobName("nightly"),
            job_id=JOB,
            schedules=(SCHEDULE,),
            snapshot=snapshot,
            stamp=stamp,
            replica=base.replica if base is not None and base.clean else None,
            base=base.stamp if base is not None else None,
            disks=tuple(
                replace(disk, kind=ExportKind.DELTA, base=known[disk.disk].source)
                if disk.disk in known
                else disk
                for disk in disks
            ),
            due=NOW,
            reason=Reason.POINT_MISSING,
        )

    async def replicate(self) -> Replicate:
        action = await self.replication()
        await self.carry_out(action)
        return action

    async def clean(self) -> None:
        """What a planner would do about what is left over."""
        for left in (await self.view()).replicas:
            if left.state is ReplicaState.INTERRUPTED:
                await self.carry_out(self.clean_of(left))
            elif left.importing and left.clean:
                rename = replica_name("web", "nightly")
                await self.carry_out(replace(self.clean_of(left), rename=rename))

    def clean_of(self, left) -> CleanReplica:
        return CleanReplica(
            target_pool=PoolName("west"),
            sr=left.sr,
            vm=left.vm,
            vm_name="web",
            job_id=left.job,
            replica=left.replica,
            due=NOW,
            reason=Reason.REPLICA_INTERRUPTED,
        )

    def prune_of(self, point, **fields) -> PruneReplica:
        return replace(
            PruneReplica(
                target_pool=PoolName("west"),
                sr=point.sr,
                vm=point.vm,
                vm_name="web",
                job=None,
                job_id=point.job,
                stamp=point.stamp,
                replica=point.replica,
                snapshot=point.snapshot,
                due=NOW,
                reason=Reason.RETENTION_EXCEEDED,
            ),
            **fields,
        )

    async def assert_points_are_right(self) -> None:
        """Each snapshot that was taken is a point, byte for byte."""
        await self.assert_points_are(*self.contents)

    async def assert_points_are(self, *stamps) -> None:
        """The points of these stamps are there, and no other, and each disk is byte-equal."""
        points = await self.points()
        assert [point.stamp for point in points] == sorted(stamps)
        for point in points:
            wanted = self.contents[point.stamp]
            assert {disk.disk for disk in point.disks} == set(wanted)
            for disk in point.disks:
                content = wanted[disk.disk]
                assert self.target_lab.read_vdi(disk.uuid, 0, disk.size_bytes) == content

    async def live_equals(self, stamp) -> None:
        """The replica itself is as its newest point, and halted."""
        vm = await self.replica_record()
        assert vm["power_state"] == "Halted"
        found = sorted(
            self.target_lab.read_vdi(vdi["uuid"], 0, int(vdi["virtual_size"]))
            for vdi in await self.disks_of(vm)
        )
        assert found == sorted(self.contents[stamp].values())

    async def replica_record(self):
        point = (await self.points())[-1]
        ref = self.target_lab.call("VM.get_by_uuid", point.replica)
        return {**self.target_lab.call("VM.get_record", ref), "ref": ref}

    async def disks_of(self, vm):
        vbds = [self.target_lab.call("VBD.get_record", ref) for ref in vm["VBDs"]]
        return [
            self.target_lab.call("VDI.get_record", vbd["VDI"])
            for vbd in vbds
            if vbd["type"] == "Disk"
        ]

    async def everything(self):
        """Counts of what is on the target pool, but for hidden disks and tasks."""
        counts = {}
        for kind in ("VM", "VBD", "VIF", "VTPM"):
            counts[kind] = len(self.target_lab.call(f"{kind}.get_all"))
        vdis = self.target_lab.call("VDI.get_all_records")
        return counts | {"disks": sum(vdi["managed"] for vdi in vdis.values())}

    def write(self) -> None:
        """A day in the guest's life."""
        self.lab.random_write("web", 0, 5 << 20, 1 << 20)
        self.lab.random_write("web", 1, 1 << 20, 4096)
        self.lab.write_disk("web", 0, 0, bytes(2 << 20))


@pytest.fixture(params=["same pool", "other pool"])
async def site(request, make_lab, connect):
    lab = make_lab()
    with lab.serve() as served:
        client = connect(served)
        if request.param == "same pool":
            yield Site(lab, client, lab, client, lab.add_sr("cellar"))
            return
        other = make_lab("west", vm=None)
        with other.serve() as there:
            yield Site(lab, client, other, connect(there), other.add_sr("cellar"))


@pytest.fixture
async def west(make_lab, connect):
    """A site with another pool as its target."""
    lab, other = make_lab(), make_lab("west", vm=None)
    with lab.serve() as served, other.serve() as there:
        site = Site(lab, connect(served), other, connect(there), other.add_sr("cellar"))
        site.served = there
        yield site
