"""Who is held back on purpose is known to whoever watches, and nobody else is."""

import asyncio

import pytest

from reconciler.remotes.pacing import Pacing, held_back
from reconciler.remotes.rate import Rate


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def test_what_waits_for_a_rate_is_held_back_and_so_is_what_it_lies_in() -> None:
    action, sink, other = Pacing(), Pacing(), Pacing()
    began_s = now_s()
    rate = Rate(4096)  # bytes per second
    with action.felt(), sink.felt():
        await rate.take(4096)
        task = asyncio.create_task(rate.take(4096))
    for _ in range(3):
        await asyncio.sleep(0)
    ask_s = now_s()
    assert [each.was_held_back_since(ask_s) for each in (action, sink, other)] == [
        True,
        True,
        False,
    ]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert action.was_held_back_since(began_s)
    assert not sink.was_held_back_since(now_s() + 1)


async def test_what_has_no_limit_is_never_held_back() -> None:
    work = Pacing()
    began_s = now_s()
    with work.felt():
        await Rate(lambda: None).take(1 << 30)
    assert not work.was_held_back_since(began_s)


async def test_who_is_not_watched_waits_as_well() -> None:
    work = Pacing()
    with work.felt():
        pass
    with held_back():
        assert not work.was_held_back_since(0.0)
