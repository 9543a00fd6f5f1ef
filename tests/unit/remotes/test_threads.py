import asyncio
import errno
import re
import subprocess
import sys
import threading
import time

import pytest

from reconciler.remotes import pulse
from reconciler.remotes.errors import Missing, NoSpace, Unavailable
from reconciler.remotes.threads import Patience, Threads, neighbourhood_of


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
        assert self.open.wait(120)
        self.left = True


async def entered(gate):
    await asyncio.to_thread(gate.entered.wait, 120)


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
        await asyncio.to_thread(begun.wait, 120)
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


# --- calls that hang


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


async def let_go(gate, threads):
    """Open the gate and wait until the thread that hung in it is back."""
    back = threading.Event()
    with threads._turn:
        threads._put_off.append(back.set)
    gate.open.set()
    assert await asyncio.to_thread(back.wait, 120)


def hanging(gate, what="write", path="vms/one/disk"):
    def call():
        pulse.begin(what, path)
        gate()

    return call


async def test_a_hanging_call_fails_and_says_what_hangs(gate):
    threads = Threads("cellar", 2, Patience(hang_after_s=0.2))
    with pytest.raises(Unavailable) as raised:
        await threads.run("vms/one/disk", hanging(gate))
    assert re.search(r"hanging for \d+ s: write on vms/one/disk", str(raised.value))
    assert raised.value.errno == errno.ETIMEDOUT
    await let_go(gate, threads)
    await threads.close()


async def test_behind_a_hanging_call_nothing_queues_up_and_nothing_is_begun(gate):
    threads, begun = Threads("cellar", 1, Patience(hang_after_s=0.3)), []
    async with asyncio.TaskGroup() as group:
        first = group.create_task(swallowed(threads.run("a/b", hanging(gate))))
        await entered(gate)
        second = group.create_task(swallowed(threads.run("other", begun.append, 1)))
    assert isinstance(first.result(), Unavailable)
    assert isinstance(second.result(), Unavailable)
    third = asyncio.create_task(swallowed(threads.run("elsewhere/entirely", begun.append, 2)))
    await asyncio.sleep(0)
    assert third.done(), "nothing is waited for"
    assert "hanging" in str(third.result())
    await let_go(gate, threads)
    assert await threads.run("elsewhere/entirely", lambda: 7) == 7
    assert begun == []
    await threads.close()


async def swallowed(awaitable):
    try:
        return await awaitable
    except Exception as error:
        return error


async def test_two_calls_that_hang_are_both_given_up(gate):
    threads = Threads("cellar", 2, Patience(hang_after_s=0.2))
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        tasks = [group.create_task(swallowed(threads.run(key, gate))) for key in ("a/b", "c/d")]
    assert all(isinstance(task.result(), Unavailable) for task in tasks)
    await let_go(gate, threads)
    await threads.close()


async def test_long_work_whose_system_calls_come_back_does_not_hang():
    hang_after_s, slowest_s = 0.2, 0.0

    def work():
        nonlocal slowest_s
        slowest_s, began_s = 0.0, time.monotonic()
        for _ in range(20):
            pulse.begin("read", "x")
            time.sleep(0.03)  # what the server takes for each
            now_s = time.monotonic()
            slowest_s, began_s = max(slowest_s, now_s - began_s), now_s
        return "done"

    while True:
        threads = Threads("cellar", 1, Patience(hang_after_s=hang_after_s))
        outcome = await swallowed(threads.run("x", work))
        await threads.close()
        if outcome == "done":
            break
        assert slowest_s > hang_after_s / 2, "only a machine that stood still is an excuse"


async def test_cancelling_waits_for_a_grace_only(gate):
    threads = Threads("cellar", 2, Patience(grace_s=0.2))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(threads.run("vms/one/disk", gate))
        await entered(gate)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not gate.left
    await let_go(gate, threads)
    await threads.close()


async def test_what_was_given_up_keeps_its_neighbourhood_until_it_is_back(gate):
    """Whoever let go of a lock because it gave up is not overtaken by what it began."""
    threads = Threads("cellar", 2, Patience(grace_s=0.0))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(threads.run("vms/one/disk", gate))
        await entered(gate)
        task.cancel()
    for key in ("vms/one/other", "vms/one.lock", "vms/one"):
        with pytest.raises(Unavailable, match="vms/one/disk"):
            await threads.run(key, int)
    assert await threads.run("vms/two/disk", int) == 0
    await let_go(gate, threads)
    assert await threads.run("vms/one.lock", int) == 0
    await threads.close()


@pytest.mark.parametrize(
    ("key", "neighbourhood"),
    [
        ("vms/one/disks/a.vhd", "vms/one"),
        ("vms/one.lock", "vms/one"),
        ("vms/.one.lock/x", "vms/.one"),
        ("vms", "vms/"),
        ("", "/"),
    ],
)
def test_neighbourhoods(key, neighbourhood):
    assert neighbourhood_of(key) == neighbourhood


async def test_work_that_was_given_up_begins_no_further_system_call(gate):
    threads, after = Threads("cellar", 1, Patience(hang_after_s=0.2)), []

    def work():
        hanging(gate)()
        pulse.begin("rename", "vms/one/disk")
        after.append("renamed")

    with pytest.raises(Unavailable):
        await threads.run("vms/one/disk", work)
    await let_go(gate, threads)
    assert gate.left
    assert after == []
    await threads.close()


async def test_a_file_stays_open_until_what_was_given_up_is_back(gate):
    threads, closed = Threads("cellar", 2, Patience(grace_s=0.0)), threading.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(threads.run("vms/one/disk", gate))
        await entered(gate)
        task.cancel()
    await threads.run_closing("vms/one/disk", closed.set)
    assert not closed.is_set()
    gate.open.set()
    assert await asyncio.to_thread(closed.wait, 120)
    await threads.close()


@pytest.mark.parametrize("how", ["cancelled", "hung"])
async def test_what_was_opened_for_nobody_is_closed(gate, how):
    threads = Threads(
        "cellar", 1, Patience(hang_after_s=60 if how == "cancelled" else 0.2, grace_s=0.0)
    )
    closed = threading.Event()

    def open_late():
        gate()
        return "handle"

    def close(handle):
        assert handle == "handle"
        closed.set()

    async with asyncio.TaskGroup() as group:
        opening = threads.run_opening("a/b", open_late, close)
        task = group.create_task(swallowed(opening))
        await entered(gate)
        if how == "cancelled":
            task.cancel()
    gate.open.set()
    assert await asyncio.to_thread(closed.wait, 120)
    await threads.close()


async def test_what_was_opened_within_the_grace_for_nobody_is_closed_too(gate):
    threads, closed = Threads("cellar", 1), threading.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(threads.run_opening("a/b", gate, lambda _: closed.set()))
        await entered(gate)
        task.cancel()
        await asyncio.sleep(0)
        gate.open.set()
    assert await asyncio.to_thread(closed.wait, 120)
    await threads.close()


async def test_files_are_closed_though_the_remote_is():
    threads, closed = Threads("cellar", 1), threading.Event()
    await threads.run("x", int)
    await threads.close()
    with pytest.raises(Unavailable, match="closed"):
        await threads.run("x", int)
    with pytest.raises(Unavailable, match="closed"):
        await threads.run_closing("x", closed.set)
    assert await asyncio.to_thread(closed.wait, 120)


def test_a_process_ends_though_a_call_hangs():
    script = (
        "import asyncio, threading\n"
        "from reconciler.remotes.errors import Unavailable\n"
        "from reconciler.remotes.threads import Patience, Threads\n"
        "async def main():\n"
        "    try:\n"
        "        threads = Threads('r', 1, Patience(hang_after_s=0.2))\n"
        "        await threads.run('x', threading.Event().wait)\n"
        "    except Unavailable:\n"
        "        print('told')\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert (ended.stdout, ended.stderr) == ("told\n", "")
