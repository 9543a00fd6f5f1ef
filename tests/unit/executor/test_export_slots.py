"""No more streams are open at once than the pool allows, and the job for one VM."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime

from reconciler.desired.retention import Retention
from reconciler.desired.schedule import Schedule
from reconciler.desired.selector import Selector
from reconciler.desired.state import (
    Compression,
    Desired,
    Job,
    JobSchedule,
    Pool,
    SecretRef,
    Settings,
)
from reconciler.executor.export_slots import ExportSlot, ExportSlots
from reconciler.ids import (
    JobId,
    JobName,
    PoolName,
    RemoteName,
    ScheduleId,
    SnapshotUuid,
    Stamp,
    VmUuid,
)
from reconciler.latest import Latest
from reconciler.plan.actions import Archive
from reconciler.plan.reasons import Reason

EAST = PoolName("east")
JOB = Job(
    name=JobName("nightly"),
    id=JobId("job"),
    pools=(EAST,),
    remotes=(RemoteName("nas"),),
    selector=Selector(all=True),
    schedules=(
        JobSchedule("night", ScheduleId("night"), Schedule.parse("0 2 * * *"), Retention()),
    ),
)
ACTION = Archive(
    pool=EAST,
    remote=RemoteName("nas"),
    vm=VmUuid("web"),
    vm_name="web",
    job=JOB.name,
    job_id=JOB.id,
    schedules=(),
    snapshot=SnapshotUuid("snapshot"),
    stamp=Stamp("20260821T020000Z"),
    compression=Compression.NONE,
    due=datetime(2026, 8, 21, 2, tzinfo=UTC),
    reason=Reason.POINT_MISSING,
)


def slots(exports_max: int, disks_max: int = 0) -> ExportSlots:
    pool = Pool(EAST, ("https://x",), "root", SecretRef(), exports_max=exports_max)
    job = replace(JOB, settings=Settings(disks_max=disks_max))
    return ExportSlots(Latest(Desired(pools={EAST: pool}, jobs={job.name: job})))


async def open_at_once(*of_parties: ExportSlot) -> int:
    """Enter as many streams as anybody lets in, the parties in turn; none of them ends."""
    entered = 0

    async def stream(slot: ExportSlot) -> None:
        nonlocal entered
        async with slot(EAST):
            entered += 1
            await asyncio.Event().wait()

    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [group.create_task(stream(slot)) for _ in range(8) for slot in of_parties]
        for _ in range(20):
            await asyncio.sleep(0)  # until nobody gets any further
        for task in tasks:
            task.cancel()
    return entered


async def test_a_pool_is_read_by_as_many_as_it_allows() -> None:
    shared = slots(exports_max=3)
    assert await open_at_once(shared.of_party([ACTION]), shared.of_party([ACTION])) == 3
    assert await open_at_once(shared.of_party([ACTION])) == 3, "slots come back"


async def test_of_one_vm_as_many_disks_are_read_as_its_job_allows() -> None:
    shared = slots(exports_max=12, disks_max=2)
    assert await open_at_once(shared.of_party([ACTION])) == 2
    assert await open_at_once(shared.of_party([ACTION]), shared.of_party([ACTION])) == 4
    narrow = slots(exports_max=3, disks_max=2)
    assert await open_at_once(narrow.of_party([ACTION]), narrow.of_party([ACTION])) == 3


async def test_a_pool_that_nobody_describes_is_read_by_one_at_a_time() -> None:
    assert await open_at_once(ExportSlots(Latest(Desired())).of_party([ACTION])) == 1
