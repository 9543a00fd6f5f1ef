"""One reading of a stream, many sinks.

    source ─▶ [2 MiB] ─┬─▶ sink a        received once, straight into a buffer that every sink is
           ─▶ [2 MiB] ─┼─▶ sink b        given to read from; the next is received meanwhile
           ─▶ [2 MiB] ─┴─▶ sink c

The slowest sink sets the pace (lines.py). One that fails, or is dropped from outside, is left
behind with its error, and the others go on; once nobody is left the sender is let go. What goes
wrong with the stream is every sink's error.

The reading and the sinks may run in tasks of different owners: `read` in one, `feed` for each
sink in its own, so that a sink that hangs holds up nobody but its own owner. `fan_out` and
`fan_out_bytes` run them all.

Knows streams, the format of disks and sinks; never what they are for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from reconciler.transfer.lines import Line, Lines
from reconciler.transfer.sink import ByteSink, DiskHead, DiskSink, Received
from reconciler.transfer.source import ByteSource, OpenSource, StreamError
from reconciler.vhd.bitmap import fill
from reconciler.vhd.decoder import Block, End, Preamble, Skip, StreamDecoder
from reconciler.vhd.errors import VhdUnsupported
from reconciler.vhd.layout import BITMAP, BLOCK, BLOCK_RECORD, DiskType

BUFFERS = 4
"""Of 2 MiB, a reading. One is received and one is written; the others are for sinks that stutter in
turn. Between 2 and 6 no difference was measured on one disk with three files; twelve readings at
once have 96 MiB of them, wherever they go."""

_ZEROS = bytes(BLOCK)
_ERROR_TEXT_BYTES = 300

T = TypeVar("T")
S = TypeVar("S", DiskSink, ByteSink)
P = TypeVar("P", ByteSource, OpenSource)
R = TypeVar("R")


def _no_matter(_count: int) -> None:
    return


async def fan_out(
    source: ByteSource,
    sinks: Mapping[str, DiskSink],
    *,
    expected_bytes: int | None = None,
    detach_s: float | None = None,
    on_progress: Callable[[int], None] = _no_matter,
    on_expected: Callable[[int], None] = _no_matter,
) -> dict[str, Received | Exception]:
    """Read a VHD stream once, and give it to every sink; say for each what came of it.

    The keyword arguments are DiskFanOut's. Returns when nothing touches source, sinks or buffers
    any more: for a sink that hangs, when it no longer does. Raises nothing but cancellation.
    """
    fan = DiskFanOut(
        sinks,
        expected_bytes=expected_bytes,
        detach_s=detach_s,
        on_progress=on_progress,
        on_expected=on_expected,
    )
    return await _all(fan.read_whole(source), {name: fan.feed(name) for name in sinks})


async def fan_out_bytes(
    source: OpenSource,
    sinks: Mapping[str, ByteSink],
    *,
    detach_s: float | None = None,
    on_progress: Callable[[int], None] = _no_matter,
) -> dict[str, int | Exception]:
    """Read a stream of plain bytes to its end; as `fan_out` otherwise, with the count of bytes."""
    fan = ByteFanOut(sinks, detach_s=detach_s, on_progress=on_progress)
    return await _all(fan.read_whole(source), {name: fan.feed(name) for name in sinks})


async def _all(
    reading: Coroutine[None, None, None], feeds: Mapping[str, Coroutine[None, None, R]]
) -> dict[str, R | Exception]:
    async with asyncio.TaskGroup() as group:
        group.create_task(reading)
        tasks = {name: group.create_task(_outcome_of(feed)) for name, feed in feeds.items()}
    return {name: task.result() for name, task in tasks.items()}


async def _outcome_of(work: Awaitable[R]) -> R | Exception:
    """Turn the error of some work into its result, so that a group it runs in goes on."""
    try:
        return await work
    except Exception as error:
        return error


async def _unless(
    stop: Coroutine[None, None, None],
    work: Coroutine[None, None, R],
    on_cancel: Callable[[], None] = lambda: None,
) -> R | None:
    """Run some work to its end, or until it is to stop: then None. Raises what it raises.

    on_cancel: called at once when this is cancelled, which may be long before the work has ended.
    """
    async with asyncio.TaskGroup() as group:
        working = group.create_task(_outcome_of(work))
        stopping = group.create_task(stop)
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            on_cancel()
            raise
        working.cancel()
        stopping.cancel()
    if working.cancelled():
        return None
    outcome = working.result()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class _FanOut(Generic[T, S, P, R]):
    """What readings of disks and of plain bytes share. T: what the lines carry. P: the source.

    sinks: by name, at least one. detach_s, stall_s: as in `Lines`. on_progress: told how many
    more bytes of the stream came.
    """

    def __init__(
        self,
        sinks: Mapping[str, S],
        buffer_bytes: int,
        detach_s: float | None,
        stall_s: float | None,
        on_progress: Callable[[int], None],
    ) -> None:
        self._sinks: dict[str, S] = dict(sinks)
        self._lines = Lines[T](sinks, BUFFERS, buffer_bytes, detach_s, stall_s)
        self._on_progress = on_progress

    @property
    def living(self) -> tuple[str, ...]:
        """The sinks that were not left behind."""
        return self._lines.living

    def drop(self, name: str, error: Exception) -> None:
        """Leave a sink behind: its `feed` stops what it is at, aborts it and raises the error."""
        self._lines.drop(name, error)

    def fail(self, error: Exception) -> None:
        """Leave all sinks behind, because nothing more will come."""
        self._lines.fail(error)

    async def while_wanted(self, work: Coroutine[None, None, None]) -> None:
        """Do what a reading needs, for as long as a sink is left. Raises what it raises."""
        await _unless(self._lines.deserted(), work)

    async def read(self, source: P) -> None:
        """Read the whole stream for all sinks, or for as long as there is one.

        Raises StreamError, VhdError and what the source raises, once the sender is let go. The
        sinks do not know of it: the caller fails them, or, if none has begun, reads another one.
        """
        try:
            await self.while_wanted(self._read(source))
        except BaseException:
            await source.abort()
            raise
        if not self.living:
            await source.abort()

    async def read_whole(self, source: P) -> None:
        """Read the whole stream; its failure is every sink's."""
        try:
            await self.read(source)
        except Exception as error:
            self.fail(error)
        except BaseException:
            self.fail(StreamError("the reading was stopped"))
            raise

    async def feed(self, name: str) -> R:
        """Give one sink all that is read, until it has all of it. Called once for each sink.

        A sink that failed, or was dropped, has been aborted when this raises its error. When
        cancelled, the others go on at once, and this returns when the sink has stopped.
        """
        line, sink = self._lines.line(name), self._sinks[name]

        def leave() -> None:
            self.drop(name, StreamError(f"{name} was cancelled"))

        try:
            outcome = await _unless(line.dropped(), self._fed_whole(line, sink), leave)
            if line.error is not None or outcome is None:
                raise line.error or StreamError(f"{name} stopped, and does not say why")
        except Exception as error:
            # First of all the sender, if this was the last: a remote that hangs must not keep it.
            self.drop(name, error)
            await sink.abort()
            raise
        except BaseException:
            await sink.abort()
            raise
        return outcome

    async def _fed_whole(self, line: Line[T], sink: S) -> R:
        try:
            with line.pacing.felt():
                outcome = await self._fed(line, sink)
        finally:
            line.put_down()
        line.finish()
        return outcome

    async def _read(self, source: P) -> None:
        raise NotImplementedError

    async def _fed(self, line: Line[T], sink: S) -> R:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Block:
    """record: lies in a buffer that the line holds."""

    index: int
    record: memoryview
    is_zero: bool


class DiskFanOut(_FanOut[DiskHead | _Block, DiskSink, ByteSource, Received]):
    """One reading of a disk, from a VHD stream.

    expected_bytes: length of the stream, if its sender said so. on_expected: told how many bytes
    of blocks will come, once that is known.
    """

    def __init__(
        self,
        sinks: Mapping[str, DiskSink],
        *,
        expected_bytes: int | None = None,
        detach_s: float | None = None,
        stall_s: float | None = None,
        on_progress: Callable[[int], None] = _no_matter,
        on_expected: Callable[[int], None] = _no_matter,
    ) -> None:
        super().__init__(sinks, BLOCK_RECORD, detach_s, stall_s, on_progress)
        self._expected_bytes = expected_bytes
        self._on_expected = on_expected
        self._head: DiskHead | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the sinks were told what comes: then no other stream can take its place."""
        return self._head is not None

    async def _read(self, source: ByteSource) -> None:
        assert not self.has_begun, "what was begun with one stream is not continued with another"
        decoder = StreamDecoder(self._expected_bytes, partial_blocks=True)
        while wanted := decoder.wanted:
            if self._head is not None and wanted == BLOCK_RECORD:
                await self._read_block(source, decoder, self._head)
            else:
                await self._read_tables(source, decoder, wanted)
            self._on_progress(wanted)
        # The sender's word that all is well costs time (the pool detaches the disk first); the
        # last blocks are being written meanwhile.
        await source.finish()
        self._lines.close()

    async def _read_tables(self, source: ByteSource, decoder: StreamDecoder, wanted: int) -> None:
        """Read whatever is no block: footers, header, table, gaps."""
        piece = bytearray(wanted)
        await source.read_exactly(memoryview(piece))
        if decoder.position == 0:
            _check_no_error_page(piece)
        match decoder.take(piece):
            case Preamble() as preamble:
                differencing = preamble.footer.disk_type is DiskType.DIFFERENCING
                size = preamble.footer.current_size
                self._head = DiskHead(size, differencing, preamble.blocks)
                self._lines.put(self._head)
                self._on_expected(len(preamble.blocks) * BLOCK_RECORD)
            case Skip() | End():
                pass
            case Block():
                raise AssertionError("blocks come after the tables")

    async def _read_block(self, source: ByteSource, decoder: StreamDecoder, head: DiskHead) -> None:
        buffer = await self._lines.free()
        record = memoryview(buffer.content)
        await source.read_exactly(record)
        match decoder.take(record):
            case Block(index, whole):
                if not whole:
                    _make_whole(index, record, head)
                is_zero = buffer.content.startswith(_ZEROS, BITMAP)
                self._lines.put(_Block(index, record.toreadonly(), is_zero), buffer)
            case Skip():
                self._lines.give_back(buffer)  # a gap, by chance as long as a block
            case Preamble() | End():
                raise AssertionError("tables come before blocks, and the end is shorter than one")

    async def _fed(self, line: Line[DiskHead | _Block], sink: DiskSink) -> Received:
        while (item := await line.get()) is not None:
            match item:
                case _Block(index, record, is_zero):
                    await sink.block(index, record, is_zero)
                case DiskHead():
                    await sink.begin(item)
        return replace(await sink.end(), buffers_peak=line.peak)


class ByteFanOut(_FanOut[memoryview, ByteSink, OpenSource, int]):
    """One reading of a stream of plain bytes, up to its end."""

    def __init__(
        self,
        sinks: Mapping[str, ByteSink],
        *,
        detach_s: float | None = None,
        stall_s: float | None = None,
        on_progress: Callable[[int], None] = _no_matter,
    ) -> None:
        super().__init__(sinks, BLOCK, detach_s, stall_s, on_progress)

    async def _read(self, source: OpenSource) -> None:
        count = BLOCK
        while count == BLOCK:
            buffer = await self._lines.free()
            view = memoryview(buffer.content)
            count = await source.read_up_to(view)
            self._lines.put(view[:count].toreadonly(), buffer)
            self._on_progress(count)
        await source.finish()
        self._lines.close()

    async def _fed(self, line: Line[memoryview], sink: ByteSink) -> int:
        total_bytes = 0
        while (piece := await line.get()) is not None:
            if piece:
                await sink.write(piece)
            total_bytes += len(piece)
        await sink.end()
        return total_bytes


def _make_whole(block: int, record: memoryview, head: DiskHead) -> None:
    """Complete a block of which only some sectors came. Raises VhdUnsupported for a delta."""
    if head.differencing:
        raise VhdUnsupported(
            f"block {block} of the delta holds only some of its sectors; take a full instead"
        )
    fill(record)


def _check_no_error_page(piece: bytearray) -> None:
    """XAPI says 200 before it attaches the disk; if that fails, a second response is the body."""
    if piece.startswith(b"HTTP/"):
        text = piece[:_ERROR_TEXT_BYTES].decode("latin-1")
        words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        raise StreamError(f"the pool sent an error instead of a disk: {words}")
