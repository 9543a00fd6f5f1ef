import asyncio
from datetime import UTC, datetime, timedelta

from reconciler.clock import SteppedClock, SystemClock, wait_until

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_the_machine_says_utc() -> None:
    assert SystemClock().now().tzinfo is UTC


async def test_the_past_is_not_waited_for() -> None:
    async with asyncio.timeout(120):
        await SystemClock().sleep_until(NOON - timedelta(days=400_000))


async def test_a_clock_that_is_set_forward_is_noticed_within_a_slice() -> None:
    class SetForward(SystemClock):
        slice_s = 0.001
        looks = 0

        def now(self) -> datetime:
            self.looks += 1
            return NOON + (timedelta(days=1) if self.looks > 3 else timedelta())

    async with asyncio.timeout(120):
        await SetForward().sleep_until(NOON + timedelta(hours=1))


async def test_a_stepped_clock_stands_still_until_it_is_stepped() -> None:
    clock = SteppedClock(NOON)
    async with asyncio.TaskGroup() as tasks:
        sleeper = tasks.create_task(clock.sleep_until(NOON + timedelta(hours=2)))
        await asyncio.sleep(0)
        clock.step(timedelta(hours=1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not sleeper.done()
        clock.step_to(NOON + timedelta(hours=2))
    assert sleeper.done()
    assert clock.now() - (NOON + timedelta(hours=2)) < timedelta(seconds=1)


def test_no_two_looks_at_a_stepped_clock_are_equal() -> None:
    clock = SteppedClock(NOON)
    looks = [clock.now() for _ in range(5)]
    assert looks == sorted(set(looks))
    assert looks[-1] - NOON < timedelta(seconds=1)


def test_a_stepped_clock_never_goes_back() -> None:
    clock = SteppedClock(NOON)
    clock.step_to(NOON - timedelta(days=1))
    assert clock.now() >= NOON


async def test_a_bell_ends_the_waiting() -> None:
    bell = asyncio.Event()
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        clock = SteppedClock(NOON)
        tasks.create_task(wait_until(bell, clock, NOON + timedelta(days=1)))
        tasks.create_task(wait_until(bell, clock, None))
        await asyncio.sleep(0)
        bell.set()


async def test_the_instant_ends_the_waiting() -> None:
    clock = SteppedClock(NOON)
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        tasks.create_task(wait_until(asyncio.Event(), clock, NOON + timedelta(days=1)))
        await asyncio.sleep(0)
        clock.step(timedelta(days=2))
