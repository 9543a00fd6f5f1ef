"""Who wants the same reading waits for the others; nobody waits for those who will not come."""

import asyncio

import pytest

from reconciler.executor.rendezvous import Rendezvous


class Fan:
    """Stands for a fan-out: notes what becomes of it."""

    def __init__(self, members):
        self.members = dict(members)
        self.dropped = []
        self.failure = None

    async def while_wanted(self, work):
        await work

    def drop(self, part, error):
        self.dropped.append(part)

    def fail(self, error):
        self.failure = error


async def read(fan):
    pass


async def turns():
    for _ in range(10):
        await asyncio.sleep(0)


def rendezvous(group, *, join_s=60):
    return Rendezvous(group, Fan, join_s)


async def test_the_reading_begins_when_all_are_there():
    async with asyncio.TaskGroup() as group:
        place = rendezvous(group)
        place.expect("disk", "abc")
        first = [group.create_task(place.join(part, "disk", part.upper(), read)) for part in "ab"]
        await turns()
        assert not any(task.done() for task in first)
        fan = await place.join("c", "disk", "C", read)
    assert fan.members == {"a": "A", "b": "B", "c": "C"}
    assert [task.result() for task in first] == [fan, fan]


async def test_who_withdraws_is_not_waited_for():
    async with asyncio.TaskGroup() as group:
        place = rendezvous(group)
        place.expect("disk", "abc")
        place.withdraw("b", "disk")
        first = group.create_task(place.join("a", "disk", "A", read))
        await turns()
        assert not first.done()
        place.withdraw_from_all("c")
        assert (await first).members == {"a": "A"}


async def test_who_is_cancelled_while_it_waits_is_not_fed():
    async with asyncio.TaskGroup() as group:
        place = rendezvous(group)
        place.expect("disk", "abc")
        joining = {part: group.create_task(place.join(part, "disk", part, read)) for part in "ab"}
        await turns()
        joining["a"].cancel()
        await turns()
        assert not joining["b"].done()
        place.withdraw("c", "disk")
        assert (await joining["b"]).members == {"b": "b"}


async def test_a_part_that_is_cancelled_as_the_reading_begins_is_dropped():
    async with asyncio.TaskGroup() as group:
        place = rendezvous(group)
        place.expect("disk", "abc")
        fans = []

        async def join_first():
            fans.append(await place.join("a", "disk", "a", read))
            late.cancel()  # it was woken with us, and has not run yet

        group.create_task(join_first())
        await turns()
        late = group.create_task(place.join("b", "disk", "b", read))
        await turns()
        place.withdraw("c", "disk")
    assert late.cancelled()
    (fan,) = fans
    assert fan.members == {"a": "a", "b": "b"}
    assert fan.dropped == ["b"], "or the reading would wait for it for ever"


async def test_a_straggler_is_waited_for_only_so_long_and_reads_alone():
    async with asyncio.TaskGroup() as group:
        place = rendezvous(group, join_s=0.02)
        place.expect("disk", "abc")
        fans = [group.create_task(place.join(part, "disk", part, read)) for part in "ab"]
        first, second = [await fan for fan in fans]
        assert first is second
        assert first.members == {"a": "a", "b": "b"}
        late = await place.join("c", "disk", "c", read)
        assert late is not first
        assert late.members == {"c": "c"}


async def test_what_nobody_expects_begins_at_once():
    async with asyncio.TaskGroup() as group:
        fan = await rendezvous(group).join("a", "disk", "a", read)
    assert fan.members == {"a": "a"}


async def test_different_things_do_not_wait_for_each_other():
    async with asyncio.TaskGroup() as group:
        place = rendezvous(group)
        place.expect("one", "a")
        place.expect("two", "ab")
        assert (await place.join("a", "one", "a", read)).members == {"a": "a"}


async def test_a_reading_that_fails_is_the_failure_of_its_members_alone():
    async def fail(fan):
        raise OSError("gone")

    async with asyncio.TaskGroup() as group:
        fan = await rendezvous(group).join("a", "disk", "a", fail)
    assert str(fan.failure) == "gone"


async def test_when_all_is_cancelled_nothing_begins():
    """The last to withdraw would complete the meeting of others who were cancelled with it."""
    began = []

    async def noted(fan):
        began.append(fan)

    async def part_c(place):
        try:
            await asyncio.Event().wait()
        finally:
            place.withdraw_from_all("c")

    async def executor():
        async with asyncio.TaskGroup() as group:
            place = rendezvous(group)
            place.expect("disk", "abc")
            group.create_task(part_c(place))
            for part in "ab":
                group.create_task(place.join(part, "disk", part, noted))
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(executor())
        await turns()
        running.cancel()
    assert running.cancelled()
    assert began == []


async def test_a_reading_that_is_stopped_says_so():
    async def stuck(fan):
        await asyncio.Event().wait()

    fan = None

    async def executor():
        nonlocal fan
        async with asyncio.TaskGroup() as group:
            fan = await rendezvous(group).join("a", "disk", "a", stuck)

    async with asyncio.TaskGroup() as group:
        running = group.create_task(executor())
        await turns()
        running.cancel()
    with pytest.raises(Exception, match="stopped"):
        raise fan.failure
