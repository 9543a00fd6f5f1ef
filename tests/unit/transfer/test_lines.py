"""Buffers are few; every line gets all of it; one that is left behind holds up nobody."""

import asyncio

import pytest
from virtual_time import on_virtual_time

from reconciler.remotes.pacing import held_back
from reconciler.transfer.lines import Lines
from reconciler.transfer.sink import SlowSink, StalledSink


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


async def fill(lines, count, seen=None):
    for number in range(count):
        buffer = await lines.free()
        if seen is not None:
            seen.add(id(buffer.content))
        buffer.content[0] = number
        lines.put(buffer.content, buffer)
    lines.close()


async def empty(line):
    found = []
    while (content := await line.get()) is not None:
        await asyncio.sleep(0)
        found.append(content[0])
    return found


async def test_every_line_gets_everything_in_order_through_few_buffers():
    lines, seen = Lines("abc", 3, 1), set()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(empty(lines.line(name))) for name in "abc"]
        group.create_task(fill(lines, 100, seen))
    assert [task.result() for task in tasks] == [list(range(100))] * 3
    assert len(seen) == 3
    assert all(1 <= lines.line(name).peak <= 3 for name in "abc")


async def test_the_slowest_line_sets_the_pace():
    lines = Lines("ab", 3, 1)
    slow = lines.line("b")
    async with asyncio.TaskGroup() as group:
        filling = group.create_task(fill(lines, 5))
        quick = group.create_task(empty(lines.line("a")))
        await turns()
        assert slow.peak == 3
        assert lines.line("a").peak <= 3
        assert not filling.done()
        found = []
        while (content := await slow.get()) is not None:
            found.append(content[0])
            await turns()
    assert found == quick.result() == [0, 1, 2, 3, 4]


async def test_what_a_dropped_line_waited_for_is_free_and_what_it_holds_is_given_up():
    lines, seen = Lines("ab", 2, 1), set()
    hanging, other = lines.line("a"), lines.line("b")
    async with asyncio.TaskGroup() as group:
        group.create_task(fill(lines, 10, seen))
        others = group.create_task(empty(other))
        in_hand = await hanging.get()
        await turns()
        assert not others.done(), "it waits for the one that hangs"
        lines.drop("a", ValueError("enough"))
        async with asyncio.timeout(120):
            assert await others == list(range(10))
    assert in_hand[0] == 0, "nobody writes to a buffer that somebody may still read"
    assert len(seen) == 3, "one fresh buffer took its place"
    with pytest.raises(ValueError, match="enough"):
        await hanging.get()


async def test_a_buffer_that_is_given_up_is_replaced_once_the_others_have_read_it():
    lines = Lines("ab", 1, 1)
    buffer = await lines.free()
    lines.put(buffer.content, buffer)
    await lines.line("a").get()
    await lines.line("b").get()
    lines.drop("a", ValueError())
    assert not lines._free, "the other still reads it"
    lines.close()
    await lines.line("b").get()
    (fresh,) = lines._free
    assert fresh.content is not buffer.content


async def test_the_filling_side_goes_on_when_nobody_is_left_and_can_tell():
    lines = Lines("ab", 1, 1)
    async with asyncio.TaskGroup() as group:
        deserted = group.create_task(lines.deserted())
        lines.drop("a", ValueError())
        await turns()
        assert not deserted.done()
        lines.drop("b", ValueError())
    for _ in range(3):
        lines.put("nobody wants it", await lines.free())


async def test_a_line_that_has_it_all_cannot_be_dropped():
    lines = Lines("a", 1, 1)
    lines.line("a").finish()
    lines.drop("a", ValueError())
    assert lines.living == ("a",)


async def test_the_first_reason_counts():
    lines = Lines("a", 1, 1)
    lines.drop("a", ValueError("first"))
    lines.fail(ValueError("second"))
    with pytest.raises(ValueError, match="first"):
        await lines.line("a").get()


@on_virtual_time
async def test_who_alone_holds_up_the_others_for_too_long_is_dropped():
    lines = Lines("abc", 2, 1, detach_s=0.05)
    async with asyncio.TaskGroup() as group:
        group.create_task(fill(lines, 10))
        others = [group.create_task(empty(lines.line(name))) for name in "bc"]
        await lines.line("a").get()
        async with asyncio.timeout(120):
            assert [await other for other in others] == [list(range(10))] * 2
    with pytest.raises(SlowSink, match=r"a alone held up the others for 0\.\d s"):
        await lines.line("a").get()
    assert lines.line("a").held_up_s >= 0.05
    assert lines.line("b").held_up_s == lines.line("c").held_up_s == 0


@on_virtual_time
async def test_time_is_counted_in_all_and_not_at_once():
    """Five waits of less than the limit are together more than it."""
    lines = Lines("ab", 1, 1, detach_s=0.1)
    slow = lines.line("a")
    async with asyncio.TaskGroup() as group:
        group.create_task(fill(lines, 10))
        other = group.create_task(empty(lines.line("b")))
        with pytest.raises(SlowSink):
            while await slow.get() is not None:
                assert slow.held_up_s < 0.1
                await asyncio.sleep(0.025)
        assert await other == list(range(10))


@on_virtual_time
async def test_two_that_are_slow_together_are_not_blamed():
    lines = Lines("abc", 1, 1, detach_s=0.02)
    async with asyncio.TaskGroup() as group:
        group.create_task(fill(lines, 2))
        quick = group.create_task(empty(lines.line("c")))
        for name in "ab":
            await lines.line(name).get()
        await asyncio.sleep(0.1)
        assert lines.living == ("a", "b", "c")
        slow = [group.create_task(empty(lines.line(name))) for name in "ab"]
    assert quick.result() == [0, 1]
    assert [task.result() for task in slow] == [[1], [1]]


@on_virtual_time
async def test_the_only_one_left_may_take_its_time():
    lines = Lines("ab", 1, 1, detach_s=0.01)
    lines.drop("b", ValueError())
    async with asyncio.TaskGroup() as group:
        group.create_task(fill(lines, 3))
        await lines.line("a").get()
        await asyncio.sleep(0.05)
        assert await empty(lines.line("a")) == [1, 2]
    assert lines.line("a").held_up_s == 0


@on_virtual_time
async def test_those_who_take_nothing_for_too_long_are_dropped_together():
    lines = Lines("abc", 2, 1, stall_s=0.05)
    async with asyncio.TaskGroup() as group:
        group.create_task(fill(lines, 10))
        other = group.create_task(empty(lines.line("c")))
        for name in "ab":
            await lines.line(name).get()
        async with asyncio.timeout(120):
            assert await other == list(range(10))
    for name in "ab":
        with pytest.raises(StalledSink, match=r"took nothing for 0\.05 s"):
            await lines.line(name).get()


@on_virtual_time
async def test_where_nobody_takes_anything_nobody_is_blamed():
    lines = Lines("ab", 1, 1, stall_s=0.01)
    async with asyncio.TaskGroup() as group:
        group.create_task(fill(lines, 3))
        for name in "ab":
            await lines.line(name).get()
        await asyncio.sleep(0.1)
        assert lines.living == ("a", "b")
        both = [group.create_task(empty(lines.line(name))) for name in "ab"]
    assert [task.result() for task in both] == [[1, 2], [1, 2]]


@on_virtual_time
async def test_who_is_held_to_a_rate_does_not_stall():
    lines = Lines("ab", 1, 1, stall_s=0.02)
    paced = lines.line("a")
    async with asyncio.TaskGroup() as group:
        group.create_task(fill(lines, 3))
        other = group.create_task(empty(lines.line("b")))
        found = []
        with paced.pacing.felt():
            while (content := await paced.get()) is not None:
                found.append(content[0])
                with held_back():
                    await asyncio.sleep(0.1)
    assert found == other.result() == list(range(3))


@on_virtual_time
async def test_beside_one_that_is_held_to_a_rate_a_stalled_one_is_left_behind():
    lines = Lines("abc", 1, 1, stall_s=0.02)
    paced, stalled = lines.line("a"), lines.line("b")
    async with asyncio.TaskGroup() as group:
        group.create_task(fill(lines, 3))
        other = group.create_task(empty(lines.line("c")))
        await stalled.get()
        with paced.pacing.felt(), held_back():
            await paced.get()
            async with asyncio.timeout(60):
                await stalled.dropped()
        assert await empty(paced) == [1, 2]
        assert await other == [0, 1, 2]


@on_virtual_time
async def test_who_is_slow_but_moves_does_not_stall():
    lines = Lines("ab", 1, 1, stall_s=0.2)
    slow = lines.line("a")
    async with asyncio.TaskGroup() as group:
        group.create_task(fill(lines, 12))
        other = group.create_task(empty(lines.line("b")))
        found = []
        while (content := await slow.get()) is not None:
            found.append(content[0])
            await asyncio.sleep(0.03)
    assert found == other.result() == list(range(12))
    assert slow.held_up_s > 0.2
