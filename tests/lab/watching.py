"""What the tests of snapshots share: an observer to look with, and the actions of a plan."""

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from reconciler.ids import JobId, JobName, PoolName, ScheduleId, VmUuid
from reconciler.observed.pool import PoolView
from reconciler.observers.pools import PoolObserver
from reconciler.plan.actions import CleanSnapshot, Snapshot
from reconciler.plan.reasons import Reason

NOW = datetime(2026, 1, 1, 2, 0, 0, tzinfo=UTC)
POOL = PoolName("east")
JOB = JobId("11111111-1111-4111-8111-111111111111")
SCHEDULES = (ScheduleId("22222222-2222-4222-8222-222222222222"), ScheduleId("nightly"))


class Death(BaseException):
    """The process ends here. (An interrupt from the keyboard would end the event loop itself.)"""


class Eyes:
    """An observer of the lab and what it last published."""

    def __init__(self, client, clock):
        self.client = client
        self.clock = clock
        self.view = None
        self.bell = asyncio.Event()
        self.observer = PoolObserver(POOL, self.connect, clock, self.publish)

    async def connect(self, _):
        return self.client

    def publish(self, view):
        self.view = view
        self.bell.set()
        self.bell = asyncio.Event()

    async def until(self, condition):
        async with asyncio.timeout(120):
            while not (self.view is not None and condition(self.view)):
                await self.bell.wait()
        return self.view

    async def now(self):
        """The pool as it is from now on."""
        at = self.clock.now()
        self.observer.poke([(VmUuid("x"), at)])
        return await self.until(lambda view: isinstance(view, PoolView) and view.as_of > at)


@asynccontextmanager
async def eyes_of(client, clock):
    eyes = Eyes(client, clock)
    task = asyncio.create_task(eyes.observer.run())
    try:
        yield eyes
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def snapshot_action(vm, **fields):
    return Snapshot(
        **{
            "pool": POOL,
            "vm": vm,
            "vm_name": "web",
            "job": JobName("job"),
            "job_id": JOB,
            "schedules": SCHEDULES,
            "due": NOW,
            "reason": Reason.SCHEDULED,
            **fields,
        }
    )


def clean_action(vm, snapshot=None, disks=()):
    return CleanSnapshot(
        pool=POOL,
        vm=vm,
        vm_name="web",
        snapshot=snapshot,
        disks=tuple(disks),
        due=NOW,
        reason=Reason.SNAPSHOT_SUPERSEDED,
    )


def clean_of(vm, seen):
    return clean_action(vm, seen.uuid, [disk.uuid for disk in seen.disks])


async def everything(client):
    """What is on the pool, but for what a snapshot's coming and going moves by itself.

    Of tasks, those that are still under way, which is none once they had time to end. One that is
    over is removed by whoever began it, if its answer came and its removal was not too slow, and
    else by the pool.
    """
    async with asyncio.timeout(120):
        while await _tasks_under_way(client):  # noqa: ASYNC110 (nobody rings)
            await asyncio.sleep(0.05)
    return {kind: len(await client.call(f"{kind}.get_all")) for kind in ("VM", "VBD", "VIF")} | {
        "disks": sum(vdi["managed"] for vdi in (await client.call("VDI.get_all_records")).values())
    }


async def _tasks_under_way(client):
    tasks = await client.call("task.get_all_records")
    return [ref for ref, task in tasks.items() if task["status"] == "pending"]
