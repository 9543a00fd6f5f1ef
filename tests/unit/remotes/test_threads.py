import asyncio
import errno
import threading

import pytest

from reconciler.remotes.errors import Missing, NoSpace, Unavailable
from reconciler.remotes.threads import Threads


def failing(number):
    def fail():
        raise OSError(number, "as told")

    return fail


@pytest.mark.parametrize("count", [None, 2])
async def test_errors_say_on_what_and_keep_the_number(count):
    threads = Threads("cellar", count)
    with pytest.raises(NoSpace) as raised:
        await threads.run("a/b", failing(errno.EDQUOT))
    assert (raised.value.remote, raised.value.key) == ("cellar", "a/b")
    assert raised.value.errno == errno.EDQUOT
    with pytest.raises(Missing):
        await threads.run("a/b", failing(errno.ENOENT))
    with pytest.raises(Unavailable):
        await threads.run("a/b", failing(errno.ESTALE))
    with pytest.raises(KeyError):
        await threads.run("a/b", {}.__getitem__, "absent")
    await threads.close()


async def test_calls_go_to_threads_of_the_remotes_own():
    threads = Threads("cellar", 1)
    assert (await threads.run("", threading.current_thread)).name.startswith("remote-cellar")
    await threads.close()


class Gate:
    """A system call that hangs until it is let go."""

    def __init__(self):
        self.entered = threading.Event()
        self.open = threading.Event()
        self.left = False

    def __call__(self):
        self.entered.set()
        assert self.open.wait(10)
        self.left = True


async def entered(gate):
    await asyncio.to_thread(gate.entered.wait, 10)


async def test_cancelling_waits_for_the_call_in_flight():
    """Whoever gave up holds its lock until nothing of it can happen any more."""
    threads, gate = Threads("cellar", 1), Gate()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(threads.run("", gate))
        await entered(gate)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()  # impatience changes nothing
        await asyncio.sleep(0)
        assert not task.done()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gate.left
    await threads.close()


async def test_a_cancelled_call_that_fails_is_still_cancelled():
    threads, gate = Threads("cellar", 1), Gate()

    def fail():
        gate()
        raise OSError(errno.EIO, "too late to matter")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(threads.run("", fail))
        await entered(gate)
        task.cancel()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    await threads.close()


async def test_a_call_that_was_not_begun_never_begins():
    threads, gate, calls = Threads("cellar", 1), Gate(), []
    async with asyncio.TaskGroup() as group:
        first = group.create_task(threads.run("", gate))
        await entered(gate)
        second = group.create_task(threads.run("", calls.append, 1))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.open.set()
        await first
    assert calls == []
    await threads.close()


async def test_a_long_call_hears_that_nobody_wants_it_any_more():
    threads, begun = Threads("cellar", 1), threading.Event()

    def work(flag):
        begun.set()
        while not flag.is_set():
            pass

    async with asyncio.TaskGroup() as group:
        task = group.create_task(threads.run_stoppable("", work))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await threads.close()


async def test_one_remote_that_hangs_holds_up_no_other():
    hung, other, gate = Threads("hung", 1), Threads("other", 1), Gate()
    async with asyncio.TaskGroup() as group:
        group.create_task(hung.run("", gate))
        await entered(gate)
        assert await other.run("", lambda: 7) == 7
        gate.open.set()
    await hung.close()
    await other.close()
