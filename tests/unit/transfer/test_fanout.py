"""One reading, many sinks: each gets all of it, and answers only for itself."""

import asyncio
import contextlib

import pytest

from reconciler.remotes.faults import Fault
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.fanout import BUFFERS, DiskFanOut, fan_out, fan_out_bytes
from reconciler.transfer.sink import Identity, Received, SlowSink
from reconciler.transfer.source import StreamError, StreamTruncated
from reconciler.transfer.vhd_sink import VhdFileSink
from reconciler.vhd.encoder import Packing
from reconciler.vhd.errors import VhdUnsupported
from reconciler.vhd.layout import BITMAP, BLOCK, BLOCK_RECORD

IDENTITY = Identity("11111111-0000-4000-8000-000000000001")
BLOCKS = {0: 1, 1: 0, 4: 3, 2: 9, 7: 7, 3: 5, 9: 4}


async def uninterrupted(work):
    """Wait as for a system call: whoever cancels has to wait too."""
    waiting, cancelled = asyncio.ensure_future(work), False
    while not waiting.done():
        try:
            await asyncio.wait({waiting})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


class Sink:
    """Keeps what it is given. at: the call before which it fails or hangs: "begin", "end", or a
    number of blocks."""

    def __init__(self, at=None, failure=None):
        self.at = at
        self.failure = failure
        self.head = None
        self.blocks = {}
        self.calls = []
        self.hanging = asyncio.Event()
        self.released = asyncio.Event()

    async def _reach(self, place):
        self.calls.append(place)
        if place != self.at:
            return
        if self.failure is not None:
            raise self.failure
        self.hanging.set()
        await uninterrupted(self.released.wait())

    @contextlib.contextmanager
    def let_go_after(self):
        """End what hangs after the body, however it ends: so that its failure is seen."""
        try:
            yield
        finally:
            self.released.set()

    async def begin(self, head):
        await self._reach("begin")
        self.head = head

    async def block(self, index, record, is_zero):
        await self._reach(len(self.blocks))
        assert bytes(record[:BITMAP]) == b"\xff" * BITMAP
        assert len(record) == BLOCK_RECORD
        assert is_zero == (not any(record[BITMAP : BITMAP + 2]))
        self.blocks[index] = bytes(record[BITMAP:])

    async def end(self):
        await self._reach("end")
        return Received(0, 0, len(self.blocks), self.head.virtual_bytes, self.head.differencing)

    async def abort(self):
        self.calls.append("abort")

    @property
    def aborted(self):
        return self.calls.count("abort") == 1


@pytest.fixture
def full(disk):
    return disk("s", 1, 20 * 2**20, BLOCKS, packing=Packing.PACKED)


def whole(sink, full):
    assert sink.blocks == {block: bytes([tag]) * BLOCK for block, tag in BLOCKS.items()}
    assert list(sink.blocks) == list(BLOCKS) == list(sink.head.blocks), "in the stream's order"
    assert sink.head.virtual_bytes == full.size
    assert "abort" not in sink.calls
    return True


async def test_every_sink_gets_the_whole_disk(stream, full):
    source, sinks = stream(full.file()), {name: Sink() for name in "abc"}
    seen, expected = [], []
    outcomes = await fan_out(source, sinks, on_progress=seen.append, on_expected=expected.append)
    assert all(whole(sink, full) for sink in sinks.values())
    assert {name: outcome.blocks for name, outcome in outcomes.items()} == dict.fromkeys("abc", 7)
    assert all(0 <= outcome.buffers_peak <= BUFFERS for outcome in outcomes.values())
    assert sum(seen) == len(full.file())
    assert expected == [len(BLOCKS) * BLOCK_RECORD]
    assert source.finished


async def test_each_remote_gets_a_file_of_its_own(stream, full, remote_with):
    remotes = {name: remote_with()[0] for name in "ab"}
    sinks = {name: VhdFileSink(remote, "t", IDENTITY) for name, remote in remotes.items()}
    outcomes = await fan_out(stream(full.file()), sinks)
    for name, remote in remotes.items():
        async with open_chain(remote, ["t"]) as reader:
            assert reader.layers[0].file_bytes == outcomes[name].file_bytes
            buffer = memoryview(bytearray(BLOCK))
            for block, tag in BLOCKS.items():
                await reader.read_block_into(buffer, block)
                assert buffer == bytes([tag]) * BLOCK
            assert reader.blocks() == sorted(set(BLOCKS) - {1}), "zeros of a full are not kept"


@pytest.mark.parametrize("at", ["begin", 0, 3, 6, "end"])
async def test_a_sink_that_fails_is_left_behind(stream, full, at):
    failure = OSError("no space")
    sinks = {"a": Sink(), "b": Sink(at, failure), "c": Sink()}
    outcomes = await fan_out(stream(full.file()), sinks)
    assert outcomes["b"] is failure
    assert sinks["b"].aborted
    assert whole(sinks["a"], full)
    assert whole(sinks["c"], full)


async def test_errors_of_one_remote_do_not_touch_the_other(stream, full, remote_with):
    good, bad = remote_with(), remote_with()
    bad[1].fault = Fault(4, 28, lasting=True)
    sinks = {
        "good": VhdFileSink(good[0], "t", IDENTITY),
        "bad": VhdFileSink(bad[0], "t", IDENTITY),
    }
    outcomes = await fan_out(stream(full.file()), sinks)
    assert isinstance(outcomes["bad"], Exception)
    assert bad[1].paths() == []
    assert outcomes["good"].blocks == 6


@pytest.mark.parametrize("at", ["begin", 0, 2])
async def test_the_sender_is_let_go_once_nobody_is_left(stream, disk, at):
    full = disk("s", 1, 40 * BLOCK, {n: n + 1 for n in range(40)}, packing=Packing.PACKED)
    source = stream(full.file(), stop_at=(BUFFERS + 4) * BLOCK_RECORD)
    sinks = {"a": Sink(at, OSError("a")), "b": Sink(at, OSError("b"))}
    async with asyncio.timeout(120):
        outcomes = await fan_out(source, sinks)
    assert {name: str(error) for name, error in outcomes.items()} == {"a": "a", "b": "b"}
    assert source.aborted


async def test_a_stream_that_breaks_is_everybodys_error(stream, full):
    sinks = {name: Sink() for name in "ab"}
    source = stream(full.file()[: 3 * BLOCK_RECORD])
    outcomes = await fan_out(source, sinks)
    assert all(isinstance(outcome, StreamTruncated) for outcome in outcomes.values())
    assert all(sink.aborted and "end" not in sink.calls for sink in sinks.values())
    assert source.aborted


async def test_the_senders_word_comes_before_any_end(stream, full):
    sinks = {name: Sink() for name in "ab"}
    outcomes = await fan_out(stream(full.file(), failure="VDI_IO_ERROR"), sinks)
    assert all(isinstance(outcome, StreamError) for outcome in outcomes.values())
    assert all(sink.aborted and "end" not in sink.calls for sink in sinks.values())


async def test_a_partial_block_of_a_delta_is_refused_for_all(stream, disk, full):
    delta = disk("t", 2, BLOCK, {0: 7}, full, bitmaps={0: b"\x0f" + bytes(511)})
    sinks = {name: Sink() for name in "ab"}
    outcomes = await fan_out(stream(delta.file()), sinks)
    assert all(isinstance(outcome, VhdUnsupported) for outcome in outcomes.values())


@pytest.mark.parametrize("at", ["begin", 0, 3, 6])
async def test_a_sink_that_hangs_can_be_dropped(stream, full, at):
    """The others end, while the call that hangs still hangs."""
    sinks = {"a": Sink(), "b": Sink(at)}
    source, fan = stream(full.file()), DiskFanOut(sinks)
    async with asyncio.TaskGroup() as group:
        group.create_task(fan.read_whole(source))
        other = group.create_task(fan.feed("a"))
        hung = group.create_task(refused(fan.feed("b")))
        await sinks["b"].hanging.wait()
        fan.drop("b", OSError("enough"))
        with sinks["b"].let_go_after():
            async with asyncio.timeout(120):
                await other
            assert whole(sinks["a"], full)
            assert source.finished
            assert not hung.done()
            assert "abort" not in sinks["b"].calls, "not while its call runs"
    assert str(hung.result()) == "enough"
    assert sinks["b"].aborted


async def refused(work):
    with pytest.raises(Exception) as caught:
        await work
    return caught.value


async def test_a_sink_that_hangs_and_is_cancelled_holds_up_nobody(stream, full):
    sinks = {"a": Sink(), "b": Sink(2)}
    fan = DiskFanOut(sinks)
    async with asyncio.TaskGroup() as group:
        group.create_task(fan.read_whole(stream(full.file())))
        other = group.create_task(fan.feed("a"))
        hung = group.create_task(fan.feed("b"))
        await sinks["b"].hanging.wait()
        hung.cancel()
        with sinks["b"].let_go_after():
            async with asyncio.timeout(120):
                await other
            assert whole(sinks["a"], full)
            assert not hung.done()
    assert hung.cancelled()
    assert sinks["b"].aborted


async def test_a_hanging_sink_is_detached(stream, full):
    sinks = {"a": Sink(), "b": Sink(1), "c": Sink()}
    fan = DiskFanOut(sinks, detach_s=0.05)
    async with asyncio.TaskGroup() as group:
        group.create_task(fan.read_whole(stream(full.file())))
        hung = group.create_task(refused(fan.feed("b")))
        others = [group.create_task(fan.feed(name)) for name in "ac"]
        with sinks["b"].let_go_after():
            async with asyncio.timeout(120):
                await asyncio.wait(others)
    assert isinstance(hung.result(), SlowSink)
    assert whole(sinks["a"], full)
    assert whole(sinks["c"], full)


async def test_a_reading_that_is_stopped_says_so_to_its_sinks(stream, full):
    source, sinks = stream(full.file(), stop_at=2 * BLOCK_RECORD), {"a": Sink()}
    fan = DiskFanOut(sinks)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(fan.read_whole(source))
        fed = group.create_task(refused(fan.feed("a")))
        await source.stopped.wait()
        reading.cancel()
    assert "stopped" in str(fed.result())
    assert source.aborted
    assert sinks["a"].aborted


async def test_a_stream_that_none_has_begun_can_be_replaced(stream, full):
    sinks = {"a": Sink(), "b": Sink()}
    fan = DiskFanOut(sinks)
    async with asyncio.TaskGroup() as group:
        fed = [group.create_task(fan.feed(name)) for name in sinks]
        with pytest.raises(StreamError, match="sent an error"):
            await fan.read(stream(b"HTTP/1.1 500 no\r\n\r\n".ljust(4096)))
        assert not fan.has_begun
        await fan.read(stream(full.file()))
        assert fan.has_begun
    assert all(task.done() for task in fed)
    assert all(whole(sink, full) for sink in sinks.values())


# ── plain bytes ──────────────────────────────────────────────────────────────────────────────────


class Tape:
    """A byte sink that keeps it all."""

    def __init__(self, fail_at=None):
        self.content = bytearray()
        self.fail_at = fail_at
        self.ended = self.aborted = False

    async def write(self, piece):
        assert piece.readonly
        if self.fail_at is not None and len(self.content) + len(piece) > self.fail_at:
            raise OSError("tape ends")
        await asyncio.sleep(0)
        self.content += piece

    async def end(self):
        self.ended = True

    async def abort(self):
        self.aborted = True


class OpenEnded:
    def __init__(self, content, failure=None):
        self.view = memoryview(content)
        self.failure = failure
        self.finished = self.aborted = False

    async def read_up_to(self, view):
        await asyncio.sleep(0)
        count = min(len(view), len(self.view))
        view[:count], self.view = self.view[:count], self.view[count:]
        return count

    async def finish(self):
        if self.failure is not None:
            raise self.failure
        self.finished = True

    async def abort(self):
        self.aborted = True


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK, 9 * BLOCK + 7])
async def test_plain_bytes_reach_every_sink(count):
    content = bytes(range(251)) * (count // 251 + 1)
    source, sinks, seen = OpenEnded(content[:count]), {name: Tape() for name in "abc"}, []
    outcomes = await fan_out_bytes(source, sinks, on_progress=seen.append)
    assert outcomes == dict.fromkeys("abc", count)
    assert all(sink.content == content[:count] and sink.ended for sink in sinks.values())
    assert sum(seen) == count
    assert source.finished


async def test_plain_bytes_that_end_badly_are_ended_nowhere():
    sinks = {name: Tape() for name in "ab"}
    outcomes = await fan_out_bytes(OpenEnded(b"x" * 100, StreamError("no")), sinks)
    assert all(isinstance(outcome, StreamError) for outcome in outcomes.values())
    assert all(sink.aborted and not sink.ended for sink in sinks.values())


async def test_a_tape_that_ends_leaves_the_others():
    sinks = {"a": Tape(), "b": Tape(fail_at=3 * BLOCK)}
    outcomes = await fan_out_bytes(OpenEnded(bytes(9 * BLOCK)), sinks)
    assert outcomes["a"] == 9 * BLOCK
    assert str(outcomes["b"]) == "tape ends"
    assert sinks["b"].aborted
