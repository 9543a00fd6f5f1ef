"""The readings of a party: actions that send one snapshot to several places read it together.

A party is what was started together for one snapshot. Each part stays an action of its own, with
its own record, verdict and end; only the reading of each disk is one (rendezvous.py), so that each
of its blocks leaves the pool once, however many places it goes to. Where bases differ, the widest
is read, and each place is given its part of it (transfer/narrowing.py). A pool that cannot make a
delta is asked for the whole disk instead, once for all of them.

Knows what is read and who wants it; never where it goes.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from reconciler.executor.rendezvous import Rendezvous
from reconciler.executor.transfers import Gauge
from reconciler.ids import ActionId, DiskSnapshotUuid
from reconciler.plan.actions import (
    Action,
    Archive,
    CopyVm,
    DiskExport,
    Export,
    Replicate,
    id_of,
)
from reconciler.remotes.pacing import Pacing
from reconciler.remotes.rate import Rate
from reconciler.transfer.fanout import ByteFanOut, DiskFanOut
from reconciler.transfer.limited_source import LimitedByteSource, LimitedOpenSource
from reconciler.transfer.narrowing import NarrowingSink, read_table
from reconciler.transfer.sink import ByteSink, DiskSink, Received
from reconciler.transfer.source import ByteSource, OpenSource
from reconciler.vhd.errors import VhdUnsupported
from reconciler.xapi.errors import StreamRefused, XapiFailure

log = structlog.get_logger(__name__)

JOIN_S = 30.0
"""How long the first part waits for the others. A remote that takes longer to be opened and
locked is likely to be slow in all it does, and gets readings of its own."""

_BLAME = 0.75  # of the time after which every part would be ended

S = TypeVar("S", NarrowingSink, ByteSink)

OpenDisk = Callable[[DiskSnapshotUuid | None], AbstractAsyncContextManager[ByteSource]]
"""Opens the stream of a disk against a base (None: whole), within the pool's export slot."""
OpenArchive = Callable[[], AbstractAsyncContextManager[OpenSource]]
"""Opens the stream of a whole VM, within the pool's export slot."""

_NO_DELTA_HERE = frozenset(
    {"INTERNAL_ERROR", "VDI_INCOMPATIBLE_TYPE", "SR_OPERATION_NOT_SUPPORTED", "VDI_NOT_MANAGED"}
)


class DeltaRefused(Exception):
    """The pool cannot make this delta, and said so in the middle of it. Ask for a full instead,
    with a new sink."""


@dataclass(frozen=True, slots=True)
class _Member(Generic[S]):
    """base: of the delta that the sink wants; None: it wants the whole."""

    sink: S
    gauge: Gauge
    base: DiskSnapshotUuid | None = None


class _SharedDisk(DiskFanOut):
    """One reading of a disk for members whose bases may differ."""

    members: Mapping[str, _Member[NarrowingSink]]

    def bases(self) -> set[DiskSnapshotUuid | None]:
        """The bases of those who are still there."""
        return {self.members[part].base for part in self.living}

    def narrow(self, tables: Mapping[DiskSnapshotUuid, Sequence[int]]) -> None:
        """Give each whose base is one of these its own blocks alone."""
        for member in self.members.values():
            if member.base is not None and member.base in tables:
                member.sink.narrow(tables[member.base])


class Readings:
    """What one party reads. parts: its actions; what else is asked for is waited for by nobody.

    group: where the readings run, longer than any part. detach_s, join_s: as in `Lines` and
    `Rendezvous`. stall_s: after which a part is ended for which nothing moves; whoever it waits
    for is left behind before that, so that one place that hangs does not end them all. rates: to
    which all that is read is held.

    pacing: felt by whoever carries out a part. One for all of them, because they wait for each
    other: one that is held to a rate holds back the rest.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        parts: Iterable[Action] = (),
        *,
        detach_s: float | None = None,
        stall_s: float | None = None,
        join_s: float = JOIN_S,
        rates: Sequence[Rate] = (),
    ) -> None:
        self.pacing = Pacing()
        self._rates = rates
        self._detach_s = detach_s
        self._stall_s = None if stall_s is None else stall_s * _BLAME
        self._disks = Rendezvous[DiskSnapshotUuid, _Member[NarrowingSink], _SharedDisk](
            group, self._disk_fan_out, join_s
        )
        self._archives = Rendezvous[str, _Member[ByteSink], ByteFanOut](
            group, self._archive_fan_out, join_s
        )
        for part in parts:
            match part:
                case Export() | Replicate():
                    for disk in part.disks:
                        self._disks.expect(disk.snapshot, [id_of(part)])
                case Archive() | CopyVm():
                    self._archives.expect(part.compression, [id_of(part)])
                case _:
                    pass

    @contextlib.contextmanager
    def taking_part(self, part: ActionId) -> Iterator[None]:
        """While the body runs, the others wait for the part to join what it was expected to."""
        try:
            yield
        finally:
            self._disks.withdraw_from_all(part)
            self._archives.withdraw_from_all(part)

    def withdraw(self, part: ActionId, disk: DiskExport) -> None:
        """Say that a part does not need a disk after all: it is there already."""
        self._disks.withdraw(part, disk.snapshot)

    async def receive(
        self, part: ActionId, disk: DiskExport, sink: DiskSink, open_disk: OpenDisk, gauge: Gauge
    ) -> Received:
        """Read one disk into a sink, together with all parts that want it.

        gauge: is told of the stream's bytes. The sink has been aborted when this raises: what the
        sink raises, what the source raises, StreamError, VhdError, SlowSink, DeltaRefused.
        """

        async def read(fan: _SharedDisk) -> None:
            await self._read_disk(fan, disk.snapshot, open_disk)

        member = _Member(NarrowingSink(sink), gauge, disk.base)
        fan = await self._disks.join(part, disk.snapshot, member, read)
        return await fan.feed(part)

    async def receive_archive(
        self, part: ActionId, compression: str, sink: ByteSink, opened: OpenArchive, gauge: Gauge
    ) -> int:
        """Read the whole VM into a sink, with all parts that want it compressed the same way.

        As `receive` otherwise. Returns the count of its bytes.
        """

        async def read(fan: ByteFanOut) -> None:
            async with opened() as source:
                await fan.read(LimitedOpenSource(source, self._rates))

        fan = await self._archives.join(part, compression, _Member(sink, gauge), read)
        return await fan.feed(part)

    def _disk_fan_out(self, members: Mapping[str, _Member[NarrowingSink]]) -> _SharedDisk:
        def advance(count: int) -> None:
            for part in fan.living:
                members[part].gauge.advance(count)

        def expect(count: int) -> None:
            for part in fan.living:
                members[part].gauge.expect(count)

        sinks = {part: member.sink for part, member in members.items()}
        fan = _SharedDisk(
            sinks,
            detach_s=self._detach_s,
            stall_s=self._stall_s,
            on_progress=advance,
            on_expected=expect,
        )
        fan.members = members
        return fan

    def _archive_fan_out(self, members: Mapping[str, _Member[ByteSink]]) -> ByteFanOut:
        def advance(count: int) -> None:
            for part in fan.living:
                members[part].gauge.advance(count)

        sinks = {part: member.sink for part, member in members.items()}
        fan = ByteFanOut(sinks, detach_s=self._detach_s, stall_s=self._stall_s, on_progress=advance)
        return fan

    async def _read_disk(
        self, fan: _SharedDisk, snapshot: DiskSnapshotUuid, open_disk: OpenDisk
    ) -> None:
        base = await _widest(fan, open_disk)
        try:
            async with open_disk(base) as source:
                await fan.read(LimitedByteSource(source, self._rates))
                return
        except (XapiFailure, StreamRefused, VhdUnsupported) as error:
            if base is None or not _refuses_delta(error):
                raise
            if fan.has_begun:
                self._disks.expect(snapshot, map(ActionId, fan.living))
                raise DeltaRefused(str(error)) from error
            # Better the whole disk now than no point; the next delta stands on it.
            log.warning("delta refused, sending it whole", snapshot=snapshot, why=str(error))
        async with open_disk(None) as source:
            await fan.read(LimitedByteSource(source, self._rates))


async def _widest(fan: _SharedDisk, open_disk: OpenDisk) -> DiskSnapshotUuid | None:
    """Choose the base to read against so that everybody's blocks come; None: the whole disk.

    Where bases differ, every sink but the widest's is narrowed to its own blocks. A base that the
    pool makes no delta against has no table: who wanted that one takes the whole.
    """
    bases = fan.bases()
    if len(bases) <= 1:
        return next(iter(bases), None)
    tables: dict[DiskSnapshotUuid, Sequence[int]] = {}
    for base in bases:
        if base is not None and (table := await _table_of(base, open_disk)) is not None:
            tables[base] = table
    widest: DiskSnapshotUuid | None = None
    if tables.keys() == bases:
        candidate = max(tables, key=lambda base: (len(tables[base]), base))
        held = set(tables[candidate])
        if all(held.issuperset(table) for table in tables.values()):
            widest = candidate
            del tables[candidate]
    fan.narrow(tables)
    return widest


async def _table_of(base: DiskSnapshotUuid, open_disk: OpenDisk) -> Sequence[int] | None:
    try:
        async with open_disk(base) as source:
            return await read_table(source)
    except (XapiFailure, StreamRefused, VhdUnsupported) as error:
        if not _refuses_delta(error):
            raise
        return None


def _refuses_delta(error: XapiFailure | StreamRefused | VhdUnsupported) -> bool:
    """Whether the pool cannot make this delta at all. A lost connection is no such refusal."""
    return not isinstance(error, XapiFailure) or error.code in _NO_DELTA_HERE
