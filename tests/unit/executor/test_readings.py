"""What a party reads: each block once, and the whole disk where no delta can be had."""

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.executor.readings import DeltaRefused, Readings
from reconciler.executor.transfers import Gauge
from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    SnapshotUuid,
    Stamp,
    VmUuid,
)
from reconciler.plan.actions import DiskExport, Export, ExportKind, id_of
from reconciler.plan.reasons import Reason
from reconciler.remotes.rate import Rate
from reconciler.transfer.sink import Received, StalledSink
from reconciler.transfer.source import StreamError, StreamTruncated
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.layout import BITMAP, BLOCK, BLOCK_RECORD
from reconciler.xapi.errors import StreamRefused, XapiFailure

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
SNAPSHOT = DiskSnapshotUuid("00000000-0000-4000-8000-000000000001")
BASE = DiskSnapshotUuid("00000000-0000-4000-8000-000000000002")
OLDER = DiskSnapshotUuid("00000000-0000-4000-8000-000000000003")
REFUSED = XapiFailure("SR_OPERATION_NOT_SUPPORTED", ())


def export(remote, base=BASE, **fields):
    disk = DiskExport(
        disk=DiskUuid("00000000-0000-4000-8000-000000000000"),
        snapshot=SNAPSHOT,
        kind=ExportKind.FULL if base is None else ExportKind.DELTA,
        reason=Reason.BASE_PRESENT,
        base=base,
        base_file=None if base is None else "20260101T000000Z.vhd",
    )
    action = Export(
        pool=PoolName("lab"),
        remote=RemoteName(remote),
        vm=VmUuid("11111111-1111-4111-8111-111111111111"),
        vm_name="web",
        job=JobName("nightly"),
        job_id=JobId("33333333-3333-4333-8333-333333333333"),
        schedules=(),
        snapshot=SnapshotUuid("44444444-4444-4444-8444-444444444444"),
        stamp=Stamp("20260105T020000Z"),
        disks=(disk,),
        due=NOW,
        reason=Reason.POINT_MISSING,
    )
    return replace(action, **fields)


SAME = {None: (1, 0), BASE: (1, 0), OLDER: (1, 0)}
# Block 2 was emptied since both bases were taken, so a full leaves it out.
DIFFERENT = {None: (3, 1, 0), OLDER: (3, 1, 2), BASE: (3, 2)}
EMPTY = 2


def stream_of(base, tables=SAME):
    """The bytes of a disk of four blocks, whole or against a base."""
    parent = None if base is None else (base, "base.vhd")
    blocks = tables[base]
    layout = Layout.of_disk(4 * BLOCK, blocks, SNAPSHOT, parent, packing=Packing.PACKED)
    slots = b"".join(b"\xff" * BITMAP + content_of(block, tables) for block in blocks)
    return layout.preamble() + slots + layout.trailer()


def content_of(block, tables=SAME):
    return bytes(BLOCK) if tables is DIFFERENT and block == EMPTY else bytes([block + 1]) * BLOCK


class Pool:
    """Opens streams, and counts them. refusal: what asking for a delta meets, at which byte."""

    def __init__(self):
        self.opened = []
        self.tables = SAME
        self.blocks_sent = Counter()
        self.refusal = None
        self.refused = {BASE, OLDER}
        self.refuse_at = 0
        self.open = 0
        self.gate = asyncio.Event()
        self.gate.set()

    @contextlib.asynccontextmanager
    async def stream(self, base):
        self.opened.append(base)
        self.open += 1
        try:
            yield Stream(self, base)
        finally:
            self.open -= 1


class Stream:
    def __init__(self, pool, base):
        self.pool = pool
        self.base = base
        self.content = memoryview(stream_of(base, pool.tables))
        self.position = 0
        self.aborted = False

    async def read_exactly(self, view):
        await asyncio.sleep(0)
        if self.position > 3000:
            await self.pool.gate.wait()
        if (
            self.base in self.pool.refused
            and self.pool.refusal
            and self.position >= self.pool.refuse_at
        ):
            raise self.pool.refusal
        piece = self.content[self.position : self.position + len(view)]
        if len(piece) < len(view):
            raise StreamTruncated(len(view), len(piece))
        view[:] = piece
        self.position += len(view)
        if len(view) == BLOCK_RECORD:
            self.pool.blocks_sent[piece[BITMAP]] += 1

    async def finish(self):
        assert self.position == len(self.content)

    async def abort(self):
        self.aborted = True


class Sink:
    def __init__(self, failure=None):
        self.failure = failure
        self.head = None
        self.zeros = []
        self.blocks = []
        self.aborted = False
        self.reached = asyncio.Event()

    async def begin(self, head):
        assert self.head is None
        self.head = head
        self.reached.set()

    async def block(self, index, record, is_zero):
        if self.failure is not None:
            raise self.failure
        if not is_zero:
            assert bytes(record[BITMAP:]) == bytes([index + 1]) * BLOCK
        assert is_zero == (not any(record[BITMAP:]))
        assert index in self.head.blocks
        self.blocks.append(index)
        self.zeros += [index] if is_zero else []

    async def end(self):
        return Received(0, 0, len(self.blocks), self.head.virtual_bytes, self.head.differencing)

    async def abort(self):
        self.aborted = True


class Part:
    """One action of a party, with its sink."""

    def __init__(self, action, sink=None):
        self.action = action
        self.id = id_of(action)
        self.disk = action.disks[0]
        self.sink = sink or Sink()
        self.gauge = Gauge(action, NOW)

    async def take_part(self, readings, pool):
        with readings.taking_part(self.id):
            return await self.receive(readings, pool)

    async def receive(self, readings, pool):
        return await readings.receive(self.id, self.disk, self.sink, pool.stream, self.gauge)


async def outcome(work):
    try:
        return await work
    except Exception as error:
        return error


async def run(parts, pool, **settings):
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        readings = Readings(group, [part.action for part in parts], **settings)
        tasks = [group.create_task(outcome(part.take_part(readings, pool))) for part in parts]
    assert pool.open == 0
    return [task.result() for task in tasks]


@pytest.fixture
def pool():
    return Pool()


async def test_a_disk_is_read_once_for_all_with_the_same_base(pool):
    parts = [Part(export(remote)) for remote in "abc"]
    received = await run(parts, pool)
    assert pool.opened == [BASE]
    assert [one.blocks for one in received] == [2, 2, 2]
    assert all(part.sink.blocks == [1, 0] for part in parts)
    assert [part.gauge.done_bytes for part in parts] == [len(stream_of(BASE))] * 3
    assert all(part.gauge.read().total_bytes >= 2 * BLOCK_RECORD for part in parts)


class Counting(Rate):
    """A rate that lets everything pass, and counts it."""

    def __init__(self):
        super().__init__(1 << 40)
        self.taken = 0

    async def take(self, count):
        self.taken += count


@pytest.mark.parametrize("refusal", [None, REFUSED])
async def test_what_is_read_counts_once_however_many_want_it(pool, refusal):
    pool.refusal = refusal  # then the whole disk is read instead
    rates = [Counting(), Counting()]
    await run([Part(export(remote)) for remote in "abc"], pool, rates=rates)
    read = len(stream_of(None if refusal else BASE))
    assert all(read <= rate.taken < read + BLOCK for rate in rates)


async def test_where_bases_differ_the_widest_is_read_once_and_each_gets_its_own(pool):
    pool.tables = DIFFERENT
    parts = [
        Part(export("a")),
        Part(export("b", OLDER)),
        Part(export("c")),
        Part(export("d", None)),
    ]
    received = await run(parts, pool)
    assert pool.opened[-1] is None
    assert sorted(pool.opened[:-1]) == [BASE, OLDER]  # their tables alone
    assert [one.differencing for one in received] == [True, True, True, False]
    assert [part.sink.blocks for part in parts] == [[3, 2], [3, 1, 2], [3, 2], [3, 1, 0]]
    assert [part.sink.zeros for part in parts] == [[2], [2], [2], []]
    assert set(pool.blocks_sent.values()) == {1}


async def test_the_delta_to_the_oldest_base_serves_the_newer_ones(pool):
    pool.tables = DIFFERENT
    parts = [Part(export("a")), Part(export("b", OLDER))]
    await run(parts, pool)
    assert pool.opened[-1] == OLDER
    assert None not in pool.opened
    assert [part.sink.blocks for part in parts] == [[3, 2], [3, 1, 2]]
    assert set(pool.blocks_sent.values()) == {1}


async def test_bases_that_do_not_contain_each_other_take_the_whole_disk(pool):
    pool.tables = {None: (3, 1, 0), OLDER: (1, 0), BASE: (3, 1)}
    parts = [Part(export("a")), Part(export("b", OLDER))]
    received = await run(parts, pool)
    assert pool.opened[-1] is None
    assert [one.differencing for one in received] == [True, True]
    assert [part.sink.blocks for part in parts] == [[3, 1], [1, 0]]


async def test_a_base_that_the_pool_refuses_takes_the_whole_disk_alone(pool):
    pool.tables = DIFFERENT
    pool.refusal = REFUSED
    pool.refused = {BASE}
    parts = [Part(export("a")), Part(export("b", OLDER))]
    received = await run(parts, pool)
    assert [one.differencing for one in received] == [False, True]
    assert [part.sink.blocks for part in parts] == [[3, 1, 0], [3, 1, 2]]


async def test_a_part_that_fails_leaves_the_others(pool):
    parts = [Part(export("a")), Part(export("b"), Sink(OSError("full"))), Part(export("c"))]
    first, second, third = await run(parts, pool)
    assert first.blocks == third.blocks == 2
    assert str(second) == "full"
    assert parts[1].sink.aborted


async def test_a_part_that_is_cancelled_leaves_the_others(pool):
    parts = [Part(export(remote)) for remote in "ab"]
    pool.gate.clear()
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        readings = Readings(group, [part.action for part in parts])
        tasks = [group.create_task(part.take_part(readings, pool)) for part in parts]
        for part in parts:
            await part.sink.reached.wait()
        tasks[0].cancel()
        await asyncio.wait({tasks[0]})
        pool.gate.set()
    assert tasks[0].cancelled()
    assert tasks[1].result().blocks == 2
    assert pool.opened == [BASE]


async def test_when_all_parts_are_cancelled_the_reading_ends(pool):
    parts = [Part(export(remote)) for remote in "ab"]
    pool.gate.clear()
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        readings = Readings(group, [part.action for part in parts])
        tasks = [group.create_task(part.take_part(readings, pool)) for part in parts]
        for part in parts:
            await part.sink.reached.wait()
        for task in tasks:
            task.cancel()
    assert pool.open == 0


async def test_who_waits_for_the_pools_slot_stops_waiting_when_nobody_wants_it(pool):
    """A stream that nobody wants any more is not even opened."""
    slot = asyncio.Semaphore(0)

    @contextlib.asynccontextmanager
    async def opened(base):
        async with slot, pool.stream(base) as stream:
            yield stream

    part = Part(export("a"))
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        readings = Readings(group, [part.action])
        task = group.create_task(
            readings.receive(part.id, part.disk, part.sink, opened, part.gauge)
        )
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()
    assert pool.opened == []
    assert slot.locked()


async def test_a_part_that_has_the_disk_already_is_not_waited_for(pool):
    parts = [Part(export(remote)) for remote in "ab"]
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        readings = Readings(group, [part.action for part in parts])
        receiving = group.create_task(parts[0].receive(readings, pool))
        readings.withdraw(parts[1].id, parts[1].disk)
        assert (await receiving).blocks == 2


async def test_a_part_that_ends_before_it_joins_is_not_waited_for(pool):
    parts = [Part(export(remote)) for remote in "ab"]
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        readings = Readings(group, [part.action for part in parts])
        receiving = group.create_task(parts[0].receive(readings, pool))
        with contextlib.suppress(OSError), readings.taking_part(parts[1].id):
            raise OSError("its remote is not there")
        assert (await receiving).blocks == 2


@pytest.mark.parametrize("refusal", [REFUSED, StreamRefused(500, "no")])
async def test_a_delta_that_is_refused_is_read_whole_once_for_all(pool, refusal):
    pool.refusal = refusal
    parts = [Part(export(remote)) for remote in "abc"]
    received = await run(parts, pool)
    assert pool.opened == [BASE, None]
    assert [one.differencing for one in received] == [False] * 3
    assert all(part.sink.blocks == [1, 0] and not part.sink.aborted for part in parts)


async def test_a_connection_that_is_lost_is_no_refusal(pool):
    pool.refusal = StreamError("cut")
    received = await run([Part(export(remote)) for remote in "ab"], pool)
    assert all(isinstance(one, StreamError) for one in received)
    assert pool.opened == [BASE]


async def test_a_refusal_in_the_middle_is_told_and_the_full_is_again_read_once(pool):
    pool.refusal, pool.refuse_at = REFUSED, 3000
    parts = [Part(export(remote)) for remote in "abc"]
    sinks = [part.sink for part in parts]

    async def insist(part, readings):
        with readings.taking_part(part.id):
            with pytest.raises(DeltaRefused):
                await part.receive(readings, pool)
            if part is parts[1]:
                return None
            part.sink, part.disk = Sink(), replace(part.disk, base=None)
            return await part.receive(readings, pool)

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        readings = Readings(group, [part.action for part in parts])
        tasks = [group.create_task(insist(part, readings)) for part in parts]
    assert all(sink.aborted for sink in sinks)
    assert pool.opened == [BASE, None]
    assert [task.result() and task.result().blocks for task in tasks] == [2, None, 2]


async def test_a_full_that_is_refused_stays_refused(pool):
    class Refusing(Stream):
        async def read_exactly(self, view):
            raise REFUSED

    @contextlib.asynccontextmanager
    async def opened(base):
        pool.opened.append(base)
        yield Refusing(pool, base)

    part = Part(export("a"))
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        readings = Readings(group, [part.action])
        with pytest.raises(XapiFailure):
            await readings.receive(part.id, part.disk, part.sink, opened, part.gauge)
    assert pool.opened == [BASE, None]


async def test_a_place_that_hangs_does_not_stall_the_others(pool, monkeypatch):
    monkeypatch.setattr("reconciler.transfer.fanout.BUFFERS", 1)

    class Hanging(Sink):
        async def block(self, index, record, is_zero):
            await asyncio.Event().wait()

    parts = [Part(export("a")), Part(export("b"), Hanging()), Part(export("c"))]
    first, second, third = await run(parts, pool, stall_s=0.1)
    assert first.blocks == third.blocks > 1
    assert isinstance(second, StalledSink)
    assert parts[1].sink.aborted
