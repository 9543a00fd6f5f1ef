"""Rates over a clock that the test moves: nothing here waits."""

import asyncio
import heapq
import itertools

import pytest

from reconciler.remotes.file import FileRemote
from reconciler.remotes.limited import LimitedRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.rate import Rate
from reconciler.remotes.remote import Move

MIB = 1024 * 1024


class Steps:
    """Time that goes to the next sleeper's instant once everybody sleeps."""

    def __init__(self):
        self.time_s = 1000.0
        self._sleepers = []
        self._numbers = itertools.count()

    def now_s(self):
        return self.time_s

    async def sleep(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time_s + seconds, next(self._numbers), woken))
        await woken

    async def run(self, *tasks):
        """Let time pass until all tasks are done."""
        while not all(task.done() for task in tasks):
            for _ in range(20):
                await asyncio.sleep(0)
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            if self._sleepers:
                self.time_s, _, woken = heapq.heappop(self._sleepers)
                woken.set_result(None)
        for task in tasks:
            if not task.cancelled():
                await task


async def test_the_average_is_the_rate():
    steps = Steps()
    rate = Rate(10 * MIB, steps)
    began_s = steps.now_s()
    await steps.run(asyncio.create_task(rate.take(50 * MIB)))
    assert 4.85 <= steps.now_s() - began_s <= 5.0


async def test_idling_is_not_saved_up():
    steps = Steps()
    rate = Rate(MIB, steps)
    await steps.run(asyncio.create_task(rate.take(MIB)))
    steps.time_s += 3600
    began_s = steps.now_s()
    await steps.run(asyncio.create_task(rate.take(2 * MIB)))
    assert 1.8 <= steps.now_s() - began_s <= 2.0


async def test_all_users_share_it_and_take_turns():
    steps = Steps()
    rate = Rate(10 * MIB, steps)
    began_s, ended_s = steps.now_s(), {}

    async def use(name, count):
        await rate.take(count)
        ended_s[name] = steps.now_s() - began_s

    long = asyncio.create_task(use("long", 40 * MIB))
    shorts = [asyncio.create_task(use(f"short {index}", 5 * MIB)) for index in range(2)]
    await steps.run(long, *shorts)
    assert 4.8 <= ended_s["long"] <= 5.0
    assert all(1.3 <= ended_s[f"short {index}"] <= 1.6 for index in range(2))


async def test_who_is_cancelled_takes_nothing_and_holds_up_nobody():
    steps = Steps()
    rate = Rate(MIB, steps)
    began_s = steps.now_s()
    long = asyncio.create_task(rate.take(1000 * MIB))
    for _ in range(50):
        await asyncio.sleep(0)
    long.cancel()
    await steps.run(long, asyncio.create_task(rate.take(MIB)))
    assert steps.now_s() - began_s <= 1.2


async def test_a_limit_that_changes_holds_for_those_who_wait_already():
    steps = Steps()
    limit = MIB
    rate = Rate(lambda: limit, steps)
    began_s = steps.now_s()
    slow = asyncio.create_task(rate.take(100 * MIB))

    async def hurry():
        nonlocal limit
        await steps.sleep(10)
        limit = 90 * MIB

    await steps.run(slow, asyncio.create_task(hurry()))
    assert 10.9 <= steps.now_s() - began_s <= 11.1
    limit = None
    assert not rate.is_limited
    began_s = steps.now_s()
    await rate.take(1000 * MIB)
    assert steps.now_s() == began_s


@pytest.fixture
async def inner():
    remote = await FileRemote.attach("cellar", MemoryFilesystem(), threads=None)
    yield remote
    await remote.close()


async def took_s(remote, steps, operation):
    began_s = steps.now_s()
    await steps.run(asyncio.create_task(operation))
    return steps.now_s() - began_s


async def test_whatever_goes_over_the_wire_counts(inner):
    steps = Steps()
    remote = LimitedRemote(inner, Rate(MIB, steps))

    async def upload():
        async with remote.upload("up") as upload:
            for _ in range(4):
                await upload.write(bytes(MIB))

    async def download():
        async with remote.download("up") as pieces:
            assert sum([len(piece) async for piece in pieces]) == 4 * MIB

    async def write():
        async with remote.create("f") as file:
            await file.write([bytes(MIB)] * 4, 0)

    async def read():
        async with remote.open("f") as file:
            await file.read(0, MIB)
            await file.read_into(memoryview(bytearray(MIB)), MIB)
            await file.read_many([0, MIB], MIB)

    for operation in (
        remote.put("put", bytes(4 * MIB)),
        remote.put_new("new", bytes(4 * MIB)),
        remote.get("put", 4 * MIB),
        upload(),
        download(),
        write(),
        read(),
    ):
        assert 3.8 <= await took_s(remote, steps, operation) <= 4.01


async def test_what_the_remote_does_by_itself_does_not(inner):
    steps = Steps()
    remote = LimitedRemote(inner, Rate(MIB, steps))
    await inner.put("a", bytes(50 * MIB))

    async def move():
        async with remote.open("a") as source, remote.create("b") as target:
            await target.move([Move(source, 0, 0, 50 * MIB)])

    assert await took_s(remote, steps, remote.copy("a", "c")) == 0
    assert await took_s(remote, steps, move()) == 0
    assert (await remote.stat("b")).size_bytes == 50 * MIB
