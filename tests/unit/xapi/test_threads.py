import asyncio
import threading

import pytest

from reconciler.xapi.errors import Unreachable
from reconciler.xapi.threads import Cuttable, Threads


class Blocked(Cuttable):
    """Blocks until it is cut."""

    def __init__(self, slow=False):
        self.begun = threading.Event()
        self.cut_ = threading.Event()
        self.linger = threading.Event()
        self.ended = False
        if not slow:
            self.linger.set()

    def cut(self):
        self.cut_.set()

    def block(self):
        self.begun.set()
        self.cut_.wait()
        self.linger.wait()
        self.ended = True


@pytest.fixture
def threads():
    threads = Threads(2)
    yield threads
    threads.close()


async def until(event):
    while not event.is_set():  # noqa: ASYNC110 (a thread sets it)
        await asyncio.sleep(0.001)


async def test_results_and_errors_come_back(threads):
    assert await threads.run(Blocked(), lambda: 3) == 3

    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        await threads.run(Blocked(), fail)


async def test_a_cancelled_call_has_ended_when_it_returns(threads):
    blocked = Blocked()
    task = asyncio.create_task(threads.run(blocked, blocked.block))
    await until(blocked.begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert blocked.ended


async def test_cancelling_again_does_not_let_go_earlier(threads):
    blocked = Blocked(slow=True)
    task = asyncio.create_task(threads.run(blocked, blocked.block))
    await until(blocked.begun)
    for _ in range(3):
        task.cancel()
        await until(blocked.cut_)
        await asyncio.sleep(0.01)
        assert not task.done()
    blocked.linger.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert blocked.ended


async def test_a_call_that_waits_for_a_thread_is_cancelled_without_beginning(threads):
    holders = [Blocked() for _ in range(6)]
    holding = [asyncio.create_task(threads.run(held, held.block)) for held in holders]
    for held in holders:
        await until(held.begun)
    waiting = Blocked()
    task = asyncio.create_task(threads.run(waiting, waiting.block))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not waiting.begun.is_set()
    for held in holders:
        held.cut()
    await asyncio.gather(*holding)


async def test_closing_cuts_and_takes_no_more(threads):
    blocked = Blocked()
    task = asyncio.create_task(threads.run(blocked, blocked.block))
    await until(blocked.begun)
    threads.close()
    await task
    assert blocked.ended
    with pytest.raises(Unreachable):
        await threads.run(blocked, lambda: 3)
