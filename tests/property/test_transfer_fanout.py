"""Whatever the sinks do: who survives has exactly the stream, and buffers stay few."""

import asyncio
import gc

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.transfer import lines
from reconciler.transfer.fanout import BUFFERS, ByteFanOut, DiskFanOut
from reconciler.transfer.sink import Received
from reconciler.transfer.source import StreamTruncated
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.layout import BITMAP, BLOCK, BLOCK_RECORD

PIECES = 12  # more than buffers go round, so that slow sinks are waited for


class Enough(Exception):
    pass


# What a sink does before a call: (number of the call, what, and for how many turns of the loop).
acts = st.lists(
    st.tuples(
        st.integers(0, PIECES + 2),
        st.sampled_from(["slow", "slow", "fail", "hang", "drop", "cancel"]),
        st.integers(0, 12),
    ),
    max_size=4,
).map(lambda found: {number: (what, turns) for number, what, turns in found})
parties = st.lists(acts, min_size=1, max_size=4)


class Behaviour:
    """Plays the acts of one sink. world: hangs that are to be let go at the very end."""

    def __init__(self, name, script, world):
        self.name = name
        self.script = script
        self.world = world
        self.calls = 0
        self.aborted = 0
        self.ended = False

    async def play(self):
        assert not self.aborted, "nothing is asked of a sink that was aborted"
        what, turns = self.script.get(self.calls, ("slow", 0))
        self.calls += 1
        for _ in range(turns):
            await asyncio.sleep(0)
        match what:
            case "fail":
                raise Enough(self.name)
            case "hang":
                asyncio.get_running_loop().call_soon(self.world.drop, self.name)
                await self._uninterrupted()
            case "drop":
                self.world.drop(self.name)
            case "cancel":
                self.world.tasks[self.name].cancel()

    async def _uninterrupted(self):
        waiting, cancelled = asyncio.ensure_future(self.world.over.wait()), False
        while not waiting.done():
            try:
                await asyncio.wait({waiting})
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError

    async def abort(self):
        self.aborted += 1


class World:
    """Runs a fan-out; over is set when all but the hanging sinks have ended."""

    def __init__(self):
        self.over = asyncio.Event()
        self.tasks = {}
        self.fan = None
        self.buffers_max = 0

    def drop(self, name):
        self.fan.drop(name, Enough(name))

    async def run(self, fan, source, sinks):
        self.fan = fan
        hanging = {sink.name for sink in sinks if any(w == "hang" for w, _ in sink.script.values())}
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            reading = group.create_task(fan.read_whole(source))
            for sink in sinks:
                self.tasks[sink.name] = group.create_task(self._outcome(fan.feed(sink.name)))
            await asyncio.wait({reading})
            quick = {task for name, task in self.tasks.items() if name not in hanging}
            if quick:
                await asyncio.wait(quick)
            self.over.set()
        return {
            name: Enough("cancelled") if task.cancelled() else task.result()
            for name, task in self.tasks.items()
        }

    async def _outcome(self, feed):
        try:
            return await feed
        except Exception as error:
            return error


class Counted(bytearray):
    """The bytes of a buffer; tells how many of them are in memory, whoever holds them."""

    living = peak = 0

    def __init__(self, count):
        super().__init__(count)
        Counted.living += 1
        Counted.peak = max(Counted.peak, Counted.living)

    def __del__(self):
        Counted.living -= 1


def check(outcomes, sinks, source):
    for sink in sinks:
        failed = isinstance(outcomes[sink.name], Exception)
        assert sink.aborted == failed, "aborted once, or not at all"
        surely_whole = not any(what != "slow" for what, _ in sink.script.values())
        if surely_whole and not source.breaks:
            assert not failed, outcomes[sink.name]
        if source.breaks:
            assert failed
    assert source.finished or source.aborted


# ── disks ────────────────────────────────────────────────────────────────────────────────────────

TAGS = [7, 0, 3, 3, 0, 9, 1, 2, 4, 5, 6, 8]
LAYOUT = Layout.of_disk(
    PIECES * BLOCK,
    list(reversed(range(PIECES))),
    "22222222-0000-4000-8000-000000000001",
    packing=Packing.PACKED,
)


class DiskStream:
    """A disk whose blocks are made as they are asked for. breaks: at which one, or None."""

    def __init__(self, breaks):
        self.breaks = breaks is not None
        self.last = breaks
        self.preamble = memoryview(LAYOUT.preamble())
        self.sent = 0
        self.finished = self.aborted = False

    async def read_exactly(self, view):
        await asyncio.sleep(0)
        assert not self.aborted
        if len(view) != BLOCK_RECORD:
            rest = self.preamble or memoryview(LAYOUT.trailer())
            view[:], self.preamble = rest[: len(view)], rest[len(view) :] if self.preamble else b""
            return
        if self.sent == self.last:
            raise StreamTruncated(len(view), 0)
        view[:BITMAP] = b"\xff" * BITMAP
        view[BITMAP:] = bytes([TAGS[LAYOUT.blocks[self.sent]]]) * BLOCK
        self.sent += 1

    async def finish(self):
        self.finished = True

    async def abort(self):
        self.aborted = True


class DiskSink(Behaviour):
    def __init__(self, *args):
        super().__init__(*args)
        self.found = []

    async def begin(self, head):
        assert not self.found
        assert list(head.blocks) == list(LAYOUT.blocks)
        await self.play()

    async def block(self, index, record, is_zero):
        before = record[BITMAP], record[-1]
        await self.play()
        assert (record[BITMAP], record[-1]) == before, "nobody writes under a reader's eyes"
        assert bytes(record[BITMAP:]) == bytes([TAGS[index]]) * BLOCK
        assert is_zero == (TAGS[index] == 0)
        self.found.append(index)

    async def end(self):
        await self.play()
        self.ended = True
        return Received(0, 0, len(self.found), PIECES * BLOCK, False)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scripts=parties, breaks=st.one_of(st.none(), st.none(), st.integers(0, PIECES - 1)))
def test_who_survives_has_the_whole_disk(scripts, breaks):
    async def story():
        world, source = World(), DiskStream(breaks)
        sinks = [DiskSink(str(n), script, world) for n, script in enumerate(scripts)]
        fan = DiskFanOut({sink.name: sink for sink in sinks})
        outcomes = await world.run(fan, source, sinks)
        for sink in sinks:
            if not isinstance(outcomes[sink.name], Exception):
                assert sink.ended
                assert sink.found == list(LAYOUT.blocks)
                assert outcomes[sink.name].buffers_peak <= BUFFERS
        check(outcomes, sinks, source)

    gc.collect()
    Counted.living = Counted.peak = 0
    lines.bytearray = Counted
    try:
        asyncio.run(story())
    finally:
        del lines.bytearray
    left_in_use = sum(
        any(what in ("hang", "drop", "cancel") for what, _ in script.values()) for script in scripts
    )
    broken = len(scripts) if breaks is not None else 0
    assert BUFFERS <= Counted.peak <= BUFFERS + max(left_in_use, broken)


# ── plain bytes ──────────────────────────────────────────────────────────────────────────────────


class ByteStream:
    def __init__(self, count, breaks):
        self.count = count
        self.breaks = breaks
        self.sent = 0
        self.finished = self.aborted = False

    async def read_up_to(self, view):
        await asyncio.sleep(0)
        count = min(len(view), self.count - self.sent)
        view[:count] = piece_of(self.sent, count)
        self.sent += count
        return count

    async def finish(self):
        if self.breaks:
            raise Enough("the sender says no")
        self.finished = True

    async def abort(self):
        self.aborted = True


def piece_of(start, count):
    """Bytes that say where in the stream they are."""
    period = bytes(range(251))
    turn = start % 251
    return (period * (count // 251 + 2))[turn : turn + count]


class Tape(Behaviour):
    def __init__(self, *args):
        super().__init__(*args)
        self.length = 0

    async def write(self, piece):
        await self.play()
        assert bytes(piece) == piece_of(self.length, len(piece))
        self.length += len(piece)

    async def end(self):
        await self.play()
        self.ended = True


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scripts=parties, count=st.integers(0, 8 * BLOCK), breaks=st.booleans())
def test_who_survives_has_all_the_bytes(scripts, count, breaks):
    async def story():
        world, source = World(), ByteStream(count, breaks)
        sinks = [Tape(str(n), script, world) for n, script in enumerate(scripts)]
        outcomes = await world.run(ByteFanOut({sink.name: sink for sink in sinks}), source, sinks)
        for sink in sinks:
            if not isinstance(outcomes[sink.name], Exception):
                assert (sink.ended, sink.length, outcomes[sink.name]) == (True, count, count)
        check(outcomes, sinks, source)

    asyncio.run(story())
