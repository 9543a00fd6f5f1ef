import threading

import pytest

from reconciler.remotes.workers import Workers


def test_calls_run_in_order_on_no_more_threads_than_allowed():
    workers, seen, barrier = Workers(2, "cellar"), [], threading.Barrier(2)
    first = [workers.submit(lambda: barrier.wait(120)) for _ in range(2)]  # both at once
    for future in first:
        future.result(10)
    futures = [workers.submit(lambda index=index: seen.append(index)) for index in range(50)]
    for future in futures:
        future.result(10)
    assert sorted(seen) == list(range(50))
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("cellar-")]
    assert len(ours) == 2
    workers.close()
    for thread in ours:
        thread.join(10)
        assert not thread.is_alive()


def test_what_a_call_raises_is_the_callers():
    workers = Workers(1, "cellar")
    with pytest.raises(KeyError):
        workers.submit(lambda: {}["absent"]).result(10)
    assert workers.submit(lambda: 7).result(10) == 7
    workers.close()


def test_closed_it_takes_and_begins_nothing_more():
    workers, gate = Workers(1, "cellar"), threading.Event()
    entered = threading.Event()
    running = workers.submit(lambda: (entered.set(), gate.wait(120)))
    assert entered.wait(120)
    waiting = workers.submit(lambda: 1)
    workers.close()
    assert waiting.cancelled()
    with pytest.raises(RuntimeError):
        workers.submit(lambda: 1)
    gate.set()
    running.result(10)
