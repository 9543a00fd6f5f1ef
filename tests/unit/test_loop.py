"""The tick: a change or the clock wakes it, and each tick makes one report."""

import asyncio
from datetime import UTC, datetime, timedelta

from reconciler.clock import SteppedClock, wait_until
from reconciler.desired.state import Desired
from reconciler.latest import Latest
from reconciler.loop import Loop
from reconciler.observed.progress import Progress
from reconciler.observed.state import Observed
from reconciler.status.report import Report
from reconciler.status.tally import Tally

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)


async def test_every_change_makes_a_new_report() -> None:
    desired, observed, progress = Latest(Desired()), Latest(Observed()), Latest(Progress())
    loop = Loop(desired, observed, progress, Latest(Tally()), SteppedClock(NOW))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(loop.run())
        version, first = await loop.report.newer_than(0)
        assert isinstance(first, Report)
        assert first.plan.actions == ()
        changed = Desired()
        desired.put(changed)
        _, second = await loop.report.newer_than(version)
        assert second is not None
        assert second.desired is changed
        assert second.at > first.at
        running.cancel()


async def test_waiting_ends_by_the_clock_or_by_the_bell() -> None:
    clock, bell = SteppedClock(NOW), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait_until(bell, clock, NOW + timedelta(hours=1)))
        await asyncio.sleep(0)
        assert not waiting.done()
        clock.step(timedelta(hours=2))
    bell.clear()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait_until(bell, clock, None))
        await asyncio.sleep(0)
        assert not waiting.done()
        bell.set()
