"""The readings of a party: actions that send one snapshot to several places read it together.

A party is what was started together for one snapshot. Each part stays an action of its own, with
its own record, verdict and end; only the reading of each (disk snapshot, base) is one
(rendezvous.py), so that a disk leaves the pool once per base, however many places it goes to. A
pool that cannot make a delta is asked for the whole disk instead, once for all of them.

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
    Sending,
    id_of,
)
from reconciler.transfer.fanout import ByteFanOut, DiskFanOut
from reconciler.transfer.sink import ByteSink, DiskSink, Received
from reconciler.transfer.source import ByteSource, OpenSource
from reconciler.vhd.errors import VhdUnsupported
from reconciler.xapi.errors import StreamRefused, XapiFailure

log = structlog.get_logger(__name__)

JOIN_S = 30.0
"""How long the first part waits for the others. A remote that takes longer to be opened and
locked is likely to be slow in all it does, and gets readings of its own."""

S = TypeVar("S", DiskSink, ByteSink)

DiskKey = tuple[DiskSnapshotUuid, DiskSnapshotUuid | None]

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
    sink: S
    gauge: Gauge


class Readings:
    """What one party reads. parts: its actions; what else is asked for is waited for by nobody.

    group: where the readings run, longer than any part. detach_s, join_s: as in `Lines` and
    `Rendezvous`.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        parts: Iterable[Action] = (),
        *,
        detach_s: float | None = None,
        join_s: float = JOIN_S,
    ) -> None:
        self._detach_s = detach_s
        self._disks = Rendezvous[DiskKey, _Member[DiskSink], DiskFanOut](
            group, self._disk_fan_out, join_s
        )
        self._archives = Rendezvous[str, _Member[ByteSink], ByteFanOut](
            group, self._archive_fan_out, join_s
        )
        for part in parts:
            match part:
                case Export() | Replicate():
                    for disk in part.disks:
                        self._disks.expect(_key_of(disk), [id_of(part)])
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
        self._disks.withdraw(part, _key_of(disk))

    async def receive(
        self, part: ActionId, disk: DiskExport, sink: DiskSink, open_disk: OpenDisk, gauge: Gauge
    ) -> Received:
        """Read one disk into a sink, together with all parts that want it against the same base.

        gauge: is told of the stream's bytes. The sink has been aborted when this raises: what the
        sink raises, what the source raises, StreamError, VhdError, SlowSink, DeltaRefused.
        """
        key = _key_of(disk)

        async def read(fan: DiskFanOut) -> None:
            await self._read_disk(fan, key, open_disk)

        fan = await self._disks.join(part, key, _Member(sink, gauge), read)
        return await fan.feed(part)

    async def receive_archive(
        self, part: ActionId, compression: str, sink: ByteSink, opened: OpenArchive, gauge: Gauge
    ) -> int:
        """Read the whole VM into a sink, with all parts that want it compressed the same way.

        As `receive` otherwise. Returns the count of its bytes.
        """

        async def read(fan: ByteFanOut) -> None:
            async with opened() as source:
                await fan.read(source)

        fan = await self._archives.join(part, compression, _Member(sink, gauge), read)
        return await fan.feed(part)

    def _disk_fan_out(self, members: Mapping[str, _Member[DiskSink]]) -> DiskFanOut:
        def advance(count: int) -> None:
            for part in fan.living:
                members[part].gauge.advance(count)

        def expect(count: int) -> None:
            for part in fan.living:
                members[part].gauge.expect(count)

        sinks = {part: member.sink for part, member in members.items()}
        fan = DiskFanOut(sinks, detach_s=self._detach_s, on_progress=advance, on_expected=expect)
        return fan

    def _archive_fan_out(self, members: Mapping[str, _Member[ByteSink]]) -> ByteFanOut:
        def advance(count: int) -> None:
            for part in fan.living:
                members[part].gauge.advance(count)

        sinks = {part: member.sink for part, member in members.items()}
        fan = ByteFanOut(sinks, detach_s=self._detach_s, on_progress=advance)
        return fan

    async def _read_disk(self, fan: DiskFanOut, key: DiskKey, open_disk: OpenDisk) -> None:
        snapshot, base = key
        try:
            async with open_disk(base) as source:
                await fan.read(source)
                return
        except (XapiFailure, StreamRefused, VhdUnsupported) as error:
            if base is None or not _refuses_delta(error):
                raise
            if fan.has_begun:
                self._disks.expect((snapshot, None), map(ActionId, fan.living))
                raise DeltaRefused(str(error)) from error
            # Better the whole disk now than no point; the next delta stands on it.
            log.warning("delta refused, sending it whole", snapshot=snapshot, why=str(error))
        async with open_disk(None) as source:
            await fan.read(source)


def parties(actions: Sequence[Action]) -> list[tuple[Action, ...]]:
    """Put together what sends one snapshot; all else is alone. In order of the first of each."""
    found: dict[object, list[Action]] = {}
    for action in actions:
        found.setdefault(_party_of(action), []).append(action)
    return [tuple(party) for party in found.values()]


def _party_of(action: Action) -> object:
    if isinstance(action, Sending):
        return action.pool, action.snapshot
    return id_of(action)


def _key_of(disk: DiskExport) -> DiskKey:
    return disk.snapshot, disk.base


def _refuses_delta(error: XapiFailure | StreamRefused | VhdUnsupported) -> bool:
    """Whether the pool cannot make this delta at all. A lost connection is no such refusal."""
    return not isinstance(error, XapiFailure) or error.code in _NO_DELTA_HERE
