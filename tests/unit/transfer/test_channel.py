"""Buffers go round; the slower side sets the pace; the first failure ends both sides."""

import asyncio

import pytest

from reconciler.transfer.channel import Channel, fill_and_empty


async def test_everything_arrives_in_order_through_few_buffers():
    channel = Channel([bytearray(1), bytearray(1)])
    seen, buffers = [], set()

    async def fill():
        for number in range(100):
            buffer = await channel.free()
            buffers.add(id(buffer))
            buffer[0] = number
            channel.put(buffer)
            if number % 3 == 0:
                await asyncio.sleep(0)
        channel.close()

    async def empty():
        while (buffer := await channel.get()) is not None:
            seen.append(buffer[0])
            if len(seen) % 7 == 0:
                await asyncio.sleep(0)
            channel.give_back(buffer)
        return "done"

    assert await fill_and_empty(fill(), empty()) == "done"
    assert seen == list(range(100))
    assert len(buffers) == 2
    assert 1 <= channel.peak <= 2


async def test_the_filling_side_waits_for_the_emptying_side():
    channel = Channel(["a", "b"])
    filled = []

    async def fill():
        for number in range(5):
            await channel.free()
            filled.append(number)
            channel.put("x")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(fill())
        for _ in range(10):
            await asyncio.sleep(0)
        assert filled == [0, 1]
        assert channel.peak == 2
        await channel.get()
        channel.give_back("a")
        for _ in range(10):
            await asyncio.sleep(0)
        assert filled == [0, 1, 2]
        task.cancel()


@pytest.mark.parametrize("side", ["fill", "empty"])
async def test_the_first_error_comes_out_as_it_was_raised(side):
    channel = Channel(["a"])
    cause = OSError("below")
    cancelled = []

    async def fails():
        await asyncio.sleep(0)
        raise ValueError("broken") from cause

    async def waits():
        try:
            await channel.get()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    sides = (fails(), waits()) if side == "fill" else (waits(), fails())
    with pytest.raises(ValueError, match="broken") as caught:
        await fill_and_empty(*sides)
    assert caught.value.__cause__ is cause
    assert cancelled == [True]


async def test_cancelling_reaches_both_sides():
    channel = Channel(["a"])
    cancelled = []
    begun = asyncio.Event()

    async def waits():
        begun.set()
        try:
            await channel.get()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async with asyncio.TaskGroup() as group:
        task = group.create_task(fill_and_empty(waits(), waits()))
        await begun.wait()
        task.cancel()
    assert cancelled == [True, True]
