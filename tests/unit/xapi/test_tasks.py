import asyncio
from dataclasses import replace

import pytest

from reconciler.xapi.errors import BadAnswer, OutcomeUnknown, XapiFailure
from reconciler.xapi.tasks import run_async, wait_for_task


def begins(host, *error, result="", ended=True):
    """`Async.VM.snapshot` makes a task that ends like this."""

    def begin(*_):
        ref = host._usual("task.create", "")
        if ended:
            host.end_task(ref, *error, result=result)
        return ref

    host.handlers["Async.VM.snapshot"] = begin


async def test_the_result_is_parsed_and_the_task_destroyed(host, client):
    begins(host, result="<value>OpaqueRef:snapshot</value>")
    assert await run_async(client, "VM.snapshot", ["vm", "n"], 3) == "OpaqueRef:snapshot"
    assert host.tasks == {}
    assert ("vm", "n") in [params[1:] for name, params in host.calls if "snapshot" in name]


async def test_a_task_is_waited_for(host, client):
    begins(host, ended=False)
    looks = []

    def look(ref):
        looks.append(ref)
        if len(looks) == 4:
            host.end_task(ref, result="<value>x</value>")
        return host.tasks[ref]

    host.handlers["task.get_record"] = look
    assert await run_async(client, "VM.snapshot", ["vm", "n"], 3) == "x"
    assert len(looks) == 4


async def test_a_failed_task_raises_its_error(host, client):
    begins(host, "SR_BACKEND_FAILURE_44", "", "There is insufficient space")
    with pytest.raises(XapiFailure) as caught:
        await run_async(client, "VM.snapshot", ["vm", "n"], 3)
    assert caught.value.code == "SR_BACKEND_FAILURE_44"
    assert caught.value.call == "VM.snapshot"
    assert host.tasks == {}


async def test_a_cancelled_task_is_a_failure(host, client):
    begins(host, ended=False)

    def look(ref):
        return {"status": "cancelled", "error_info": []}

    host.handlers["task.get_record"] = look
    with pytest.raises(XapiFailure, match="TASK_CANCELLED"):
        await run_async(client, "VM.snapshot", ["vm", "n"], 3)


async def test_a_task_that_is_gone_says_nothing(host, client):
    begins(host, ended=False)

    def look(ref):
        host.tasks.clear()
        return host._usual("task.get_record", "", ref)

    host.handlers["task.get_record"] = look
    with pytest.raises(OutcomeUnknown, match=r"VM\.snapshot"):
        await run_async(client, "VM.snapshot", ["vm", "n"], 3)


async def test_a_task_that_takes_too_long_is_cancelled_and_unknown(host, client):
    begins(host, ended=False)
    with pytest.raises(OutcomeUnknown, match="longer than"):
        await run_async(client, "VM.snapshot", ["vm", "n"], 0.1)
    assert host.called("task.cancel") == 1
    assert host.tasks == {}


async def test_cancelling_cancels_the_task(host, client):
    begins(host, ended=False)
    looked = asyncio.Event()

    def look(ref):
        looked.set()
        return host.tasks[ref]

    host.handlers["task.get_record"] = look
    running = asyncio.create_task(run_async(client, "VM.snapshot", ["vm", "n"], 60))
    await looked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert host.called("task.cancel") == 1
    assert host.tasks == {}


async def test_a_toolstack_that_restarts_leaves_the_outcome_unknown(host, client):
    begins(host, ended=False)

    def look(ref):
        host.sessions.clear()
        host.tasks.clear()
        del host.handlers["task.get_record"]
        return {"status": "pending"}

    host.handlers["task.get_record"] = look
    with pytest.raises(OutcomeUnknown, match="its task is gone"):
        await run_async(client, "VM.snapshot", ["vm", "n"], 5)


async def test_a_short_cut_does_not_lose_a_task(host, connect, quick, hangup):
    begins(host, ended=False)
    looks = []

    def look(ref):
        looks.append(ref)
        if len(looks) < 6:
            raise hangup
        host.end_task(ref, result="<value>x</value>")
        return host.tasks[ref]

    host.handlers["task.get_record"] = look
    client = connect(host, deadlines=replace(quick, connect_s=1))
    assert await run_async(client, "VM.snapshot", ["vm", "n"], 5) == "x"


@pytest.mark.parametrize("record", ["", [], {}, {"status": 3}, None])
async def test_a_record_that_is_none_is_a_bad_answer(host, client, record):
    host.handlers["task.get_record"] = lambda ref: record
    with pytest.raises(BadAnswer):
        await wait_for_task(client, "OpaqueRef:t", "x")


async def test_a_task_reference_that_is_none_is_unknown(host, client):
    host.handlers["Async.VM.snapshot"] = lambda *_: 3
    with pytest.raises(OutcomeUnknown):
        await run_async(client, "VM.snapshot", [], 3)
