import asyncio
import random

import pytest

from reconciler.transfer.vm_import_sink import HELD_BACK_BYTES, VmImportSink


class Import:
    """What the pool would have got."""

    task = "OpaqueRef:task"

    def __init__(self):
        self.content = b""
        self.ended = self.aborted = False

    async def write(self, piece):
        self.content += bytes(piece)

    async def finish(self):
        self.ended = True
        return ("OpaqueRef:vm",)

    async def abort(self):
        self.aborted = True


def sink_of(stream):
    async def opened():
        return stream

    return VmImportSink(opened)


@pytest.mark.parametrize("seed", range(20))
async def test_all_of_it_goes_and_its_end_only_when_released(seed):
    rng = random.Random(seed)
    stream = Import()
    sink = sink_of(stream)
    sizes = [rng.choice([1, 500, HELD_BACK_BYTES, 3 * HELD_BACK_BYTES]) for _ in range(8)]
    pieces = [rng.randbytes(size) for size in sizes]
    whole = b"".join(pieces)
    sent = 0
    for piece in pieces:
        await sink.write(memoryview(piece))
        sent += len(piece)
        assert stream.content == whole[: max(0, sent - HELD_BACK_BYTES)]
    assert await sink.task() == stream.task
    async with asyncio.TaskGroup() as group:
        ending = group.create_task(sink.end())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not ending.done()
        assert len(stream.content) == len(whole) - min(len(whole), HELD_BACK_BYTES)
        sink.release()
    assert stream.content == whole
    assert sink.made == ("OpaqueRef:vm",)


async def test_what_was_not_begun_needs_no_end():
    stream = Import()
    sink = sink_of(stream)
    await sink.abort()
    assert not stream.aborted
    await sink.write(memoryview(b"x"))
    await sink.abort()
    assert stream.aborted and not stream.ended
