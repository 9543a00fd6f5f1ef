"""Elections in a time of their own: seconds pass when everybody waits; nobody waits for real."""

import asyncio
import contextlib
import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from virtual_time import on_virtual_time

from reconciler.kube.election import Elector, Lease, Terms
from reconciler.kube.errors import Conflict, Unreachable
from reconciler.remotes.rate import LoopStopwatch

TERMS = Terms()


class LoopClock:
    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(
            seconds=asyncio.get_running_loop().time()
        )


class Server:
    """Keeps one Lease as an API server does, and may be out of reach or slow."""

    def __init__(self):
        self.lease = Lease()
        self.is_up = True
        self.latency_s = 0.01
        self.writes = 0

    async def read(self):
        await self._reach()
        return self.lease

    async def write(self, lease):
        await self._reach()
        if lease.version != self.lease.version:
            raise Conflict("another version", status=409)
        self.writes += 1
        self.lease = replace(lease, version=str(int(lease.version or 0) + 1))
        answered = self.lease
        await self._reach()
        return answered

    async def _reach(self):
        await asyncio.sleep(self.latency_s)
        if not self.is_up:
            raise Unreachable("no answer")


class Process:
    """A candidate that may stand still: nothing of it runs until it is continued."""

    def __init__(self, name, server, changes):
        self.name = name
        self.changes = changes
        self.is_working = False
        self._server = server
        self._running = asyncio.Event()
        self._running.set()
        self.elector = Elector(self, name, LoopClock(), TERMS, self)

    # a store and a stopwatch that stand still with the process

    async def read(self):
        return await self._while_running(self._server.read)

    async def write(self, lease):
        return await self._while_running(lambda: self._server.write(lease))

    def now_s(self):
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds):
        await self._while_running(lambda: asyncio.sleep(seconds))

    async def _while_running(self, wait):
        await self._running.wait()
        try:
            return await wait()
        finally:
            await self._running.wait()

    def stand_still(self):
        self._running.clear()

    def go_on(self):
        self._running.set()

    # what a leader does: change the world, as often as it may

    async def run(self):
        await self.elector.run(self._work)

    async def _work(self):
        self.is_working = True
        try:
            while True:
                await self.sleep(0.3)
                if self.elector.permit():
                    self.changes.append((self.name, self.now_s()))
        finally:
            self.is_working = False


@contextlib.asynccontextmanager
async def candidates(count, server=None):
    server = server or Server()
    changes = []
    processes = [Process(f"operator-{number}", server, changes) for number in range(count)]
    tasks = [asyncio.ensure_future(process.run()) for process in processes]
    yield server, processes, tasks, changes
    for process in processes:
        process.go_on()
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def leaders(processes):
    return [process.name for process in processes if process.elector.permit()]


@on_virtual_time
async def test_one_of_several_leads_and_goes_on_leading():
    async with candidates(3) as (_, processes, _, changes):
        await asyncio.sleep(300)
        assert len(leaders(processes)) == 1
        assert {name for name, _ in changes} == set(leaders(processes))
        assert [process.elector.leader.value for process in processes] == leaders(processes) * 3


@on_virtual_time
async def test_one_that_ends_hands_over_at_once_and_only_when_its_work_is_over():
    async with candidates(2) as (server, processes, tasks, _):
        await asyncio.sleep(10)
        (first,) = leaders(processes)
        index = [process.name for process in processes].index(first)
        tasks[index].cancel()
        await asyncio.sleep(TERMS.retry_s + 0.2)
        assert not processes[index].is_working
        assert leaders(processes) == [processes[1 - index].name]
        assert server.lease.transitions == 1


@on_virtual_time
async def test_one_that_stands_still_is_replaced_and_changes_nothing_when_it_wakes():
    async with candidates(2) as (server, processes, _, changes):
        await asyncio.sleep(10)
        old = next(each for each in processes if each.elector.permit())
        old.stand_still()
        await asyncio.sleep(TERMS.lease_s + 2 * TERMS.retry_s)
        (new,) = leaders(processes)
        assert new != old.name
        del changes[:]
        old.go_on()
        await asyncio.sleep(1)
        assert not old.is_working
        await asyncio.sleep(60)
        assert {name for name, _ in changes} == {new}
        assert server.lease.transitions == 1


@on_virtual_time
async def test_without_the_server_nobody_leads_for_long():
    async with candidates(2) as (server, processes, _, changes):
        await asyncio.sleep(10)
        server.is_up = False
        await asyncio.sleep(TERMS.renew_s + TERMS.retry_s)
        assert leaders(processes) == []
        assert not any(process.is_working for process in processes)
        del changes[:]
        await asyncio.sleep(600)
        assert changes == []
        server.is_up = True
        await asyncio.sleep(TERMS.lease_s + 2 * TERMS.retry_s)
        assert len(leaders(processes)) == 1


@on_virtual_time
async def test_a_renewal_whose_answer_is_lost_costs_nothing():
    async with candidates(2) as (server, processes, _, _):
        await asyncio.sleep(10)
        before = leaders(processes)
        answer, server.write = server.write, None

        async def lost(lease):
            server.write = answer
            await answer(lease)
            raise Unreachable("cut off")

        server.write = lost
        await asyncio.sleep(60)
        assert leaders(processes) == before
        assert server.lease.transitions == 0


@on_virtual_time
async def test_a_label_on_the_lease_costs_nothing():
    async with candidates(2) as (server, processes, _, _):
        await asyncio.sleep(10)
        before = leaders(processes)
        server.lease = replace(server.lease, version="1000")
        await asyncio.sleep(60)
        assert leaders(processes) == before


@on_virtual_time
async def test_one_whose_lease_was_taken_away_stops_at_the_next_renewal():
    async with candidates(1) as (server, processes, _, _):
        await asyncio.sleep(10)
        server.lease = replace(server.lease, holder="a person", lease_s=3600, version="1000")
        await asyncio.sleep(TERMS.retry_s + 0.1)
        assert leaders(processes) == []
        assert not processes[0].is_working
        assert processes[0].elector.leader.value == "a person"


@on_virtual_time
async def test_what_the_work_raises_comes_out_and_the_lease_is_given_back():
    server = Server()
    elector = Elector(server, "operator-0", LoopClock(), TERMS, LoopStopwatch())

    async def work():
        raise ValueError("broken")

    with pytest.raises(ExceptionGroup) as raised:
        await elector.run(work)
    assert raised.group_contains(ValueError, match="broken")
    assert server.lease.holder == ""
    assert not elector.permit()


@pytest.mark.parametrize("seed", range(30))
@on_virtual_time
async def test_however_they_stand_still_no_change_of_an_older_leader_follows_a_newer_ones(seed):
    chance = random.Random(seed)

    async with candidates(3) as (server, processes, _, changes):
        for _ in range(60):
            await asyncio.sleep(chance.choice([0.1, 1, 3, 9, 11, 14, 16, 25]))
            process = chance.choice(processes)
            match chance.randrange(5):
                case 0 | 1:
                    process.stand_still()
                case 2 | 3:
                    process.go_on()
                case _:
                    server.is_up = not server.is_up
            server.latency_s = chance.choice([0.01, 0.01, 0.5, 2, 12])
            assert len(leaders(processes)) <= 1
        turns = [name for name, _ in changes]
        shifts = sum(a != b for a, b in itertools.pairwise(turns))
        # Each change of hands in the world is one in the Lease: no late change lies between.
        assert shifts <= server.lease.transitions
        for process in processes:
            process.go_on()
        server.is_up, server.latency_s = True, 0.01
        await asyncio.sleep(60)
        assert len(leaders(processes)) == 1
