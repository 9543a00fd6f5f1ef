"""The tick: a change or the clock wakes it, and each tick makes one report."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from reconciler.clock import SteppedClock, wait_until
from reconciler.desired.state import Desired
from reconciler.ids import PoolName, VmUuid
from reconciler.latest import Latest
from reconciler.loop import Loop
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Place, PlaceKind, Progress
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


async def test_a_look_that_finds_nothing_new_makes_no_report_for_a_minute() -> None:
    clock = SteppedClock(NOW)
    lab = PoolName("lab")
    place = Place(PlaceKind.POOL, lab, VmUuid("web"))

    def seen(version: str = "8.3") -> Observed:
        return Observed({lab: PoolView(lab, "u", "lab", "m", version, clock.now())})

    desired, observed, progress = Latest(Desired()), Latest(seen()), Latest(Progress())
    loop = Loop(desired, observed, progress, Latest(Tally()), clock)

    async def reports(what: Observed | Progress) -> bool:
        """Whether a change makes a new report; a loop that would make one does so by itself."""
        version = loop.report.version
        (progress if isinstance(what, Progress) else observed).put(what)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await loop.report.newer_than(version)
                return True
        return False

    async def must_report(what: Observed | Progress) -> None:
        version = loop.report.version
        (progress if isinstance(what, Progress) else observed).put(what)
        async with asyncio.timeout(60):
            await loop.report.newer_than(version)

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        running = group.create_task(loop.run())
        await loop.report.newer_than(0)
        assert not await reports(seen())
        await must_report(seen("8.4"))
        await must_report(Progress(touched={place: clock.now()}))
        await must_report(seen("8.4"))  # what our hands did may only be seen now
        assert not await reports(seen("8.4"))
        before = loop.report.value
        clock.step(timedelta(seconds=61))
        await must_report(seen("8.4"))
        after = loop.report.value
        assert before is not None
        assert after is not None
        assert after.at > before.at
        assert after.observed.pools[lab] != before.observed.pools[lab]  # as of later
        assert after.plan is before.plan  # nothing was planned anew
        running.cancel()
