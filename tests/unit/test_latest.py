import asyncio

from reconciler.latest import Latest


async def test_the_newest_value_wins() -> None:
    latest = Latest(1)
    latest.put(2)
    latest.put(3)
    assert (latest.value, latest.version) == (3, 2)


async def test_a_reader_who_is_behind_is_answered_at_once() -> None:
    latest = Latest("a")
    latest.put("b")
    assert await latest.newer_than(0) == (1, "b")


async def test_a_reader_waits_for_a_newer_value() -> None:
    latest = Latest("a")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(latest.newer_than(0))
        await asyncio.sleep(0)
        assert not waiting.done()
        latest.put("b")
    assert waiting.result() == (1, "b")


async def test_every_waiting_reader_is_woken() -> None:
    latest = Latest(0)
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(latest.newer_than(0)) for _ in range(5)]
        await asyncio.sleep(0)
        latest.put(1)
    assert [task.result() for task in waiting] == [(1, 1)] * 5


async def test_a_slow_reader_skips_to_the_newest() -> None:
    latest = Latest(0)
    values = latest.follow()
    assert await anext(values) == 0
    for value in range(1, 100):
        latest.put(value)
    assert await anext(values) == 99
    latest.put(100)
    assert await anext(values) == 100
    await values.aclose()  # type: ignore[attr-defined]  # follow is a generator


async def test_an_equal_value_is_news_all_the_same() -> None:
    latest = Latest(0)
    latest.put(0)
    assert await latest.newer_than(0) == (1, 0)
