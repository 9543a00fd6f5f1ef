"""Tasks: the order of their ends, cancelling, and what is collected."""

import pytest

from reconciler.lab.calls_vms import snapshot_vm
from reconciler.lab.failures import Failure
from reconciler.lab.housekeeping import keep_house
from reconciler.lab.lab import Lab
from reconciler.lab.methods import Call


def test_an_end_is_final(lab: Lab) -> None:
    tasks = lab.pool.tasks
    task = tasks.create("one", "", lab.pool.master)
    tasks.progress(task.ref, 0.5)
    tasks.fail(task.ref, Failure("VDI_IO_ERROR", "Device I/O errors"))
    tasks.succeed(task.ref, "<value>x</value>")
    tasks.progress(task.ref, 0.7)
    record = task.record()
    assert (record["status"], record["result"], record["progress"]) == ("failure", "", 1.0)
    assert record["error_info"] == ["VDI_IO_ERROR", "Device I/O errors"]
    assert record["allowed_operations"] == []


def test_a_cancelled_task(lab: Lab) -> None:
    tasks = lab.pool.tasks
    task = tasks.create("one", "", lab.pool.master)
    tasks.check_cancelled(task.ref)
    lab.call("task.cancel", task.ref)
    with pytest.raises(Failure) as caught:
        tasks.check_cancelled(task.ref)
    tasks.fail(task.ref, caught.value)
    assert task.text("status") == "cancelled"
    with pytest.raises(Failure, match="OPERATION_NOT_ALLOWED"):
        lab.call("task.cancel", task.ref)


def test_a_cancelled_snapshot_leaves_nothing(lab: Lab, web: str) -> None:
    pool = lab.pool
    before = {name: len(pool.database.tables[name]) for name in ("VM", "VDI", "VBD")}
    task = pool.tasks.create("Async.VM.snapshot", "", pool.master)
    pool.tasks.cancel(task.ref, "caller")
    call = Call(pool, "VM.snapshot", "", pool.master, task.ref)
    with pytest.raises(Failure, match="TASK_CANCELLED"):
        snapshot_vm(call, pool.database.row("VM", web), "snap", frozenset())
    assert {name: len(pool.database.tables[name]) for name in before} == before


def test_old_and_surplus_tasks_are_collected(lab: Lab) -> None:
    tasks, settings = lab.pool.tasks, lab.pool.settings
    kept = [tasks.create("pending", "", lab.pool.master).ref for _ in range(2)]
    ended = [tasks.create("ended", "", lab.pool.master).ref for _ in range(5)]
    for ref in ended:
        tasks.succeed(ref)
    settings.tasks_max = 4
    tasks.collect()
    assert list(lab.pool.database.tables["task"]) == [*kept, *ended[3:]]
    settings.task_keep_s = -1.0
    tasks.collect()
    assert list(lab.pool.database.tables["task"]) == kept
    settings.task_pending_s = -1.0
    tasks.progress(kept[0], 0.5)
    tasks.collect()
    assert list(lab.pool.database.tables["task"]) == kept[:1]


def test_a_round_of_housekeeping_is_an_event(lab: Lab) -> None:
    token = lab.pool.events.current_id()
    keep_house(lab.pool)
    assert lab.pool.events.current_id() == token
    lab.pool.settings.heartbeat = True
    keep_house(lab.pool)
    assert lab.pool.record.modified > token
