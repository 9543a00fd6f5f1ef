"""Who carries out what was admitted: this process (`OwnHands`), or others on its behalf.

The executor knows when something begins and what its end means; hands know how it is done. What is
started together for one snapshot is a party, whose parts share what they read.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Protocol

from reconciler.clock import Clock
from reconciler.connections import Connections, Lease
from reconciler.desired.state import Desired, Settings, Timeouts
from reconciler.executor.dispatch import carry_out
from reconciler.executor.export_slots import ExportSlots
from reconciler.executor.rates import Rates
from reconciler.executor.readings import Readings
from reconciler.executor.stalls import stall_watch
from reconciler.executor.tools import Tools
from reconciler.executor.transfers import Gauge
from reconciler.ids import JobName
from reconciler.latest import Latest
from reconciler.plan.actions import Action, id_of
from reconciler.transfer.block_codec import BlockWorkers

_WITHOUT_JOB = Settings(timeouts=Timeouts(stall=None))
"""For what belongs to no job: nothing is timed."""


class Party(Protocol):
    """Actions that were started together, under way."""

    def taking_part(self, action: Action) -> AbstractContextManager[None]:
        """While the body runs, the others reckon with this part, whether or not it has begun."""

    async def carry_out(self, action: Action, gauge: Gauge) -> None:
        """Do one part to its end. Raises whatever happened.

        Cancelled, a part that was given up is stopped; any other one may be left to whoever does
        it, for our successor."""

    def give_up(self, action: Action) -> None:
        """Be told that the part is not wanted any more; then it is cancelled."""


class Hands(Protocol):
    def take(self, group: asyncio.TaskGroup, actions: Sequence[Action], desired: Desired) -> Party:
        """Take on a party. group: for what outlives its parts. desired: what it was planned on."""

    async def under_way(self) -> Sequence[Sequence[Action]]:
        """Find the parties that a predecessor began and others are still at, to be taken on first.

        Nothing is begun before that is known, so this waits for as long as it is not."""


class OwnHands:
    """This process: each part is a step, run here."""

    def __init__(self, desired: Latest[Desired], connections: Connections, clock: Clock) -> None:
        self._connections = connections
        self._clock = clock
        self._export_slots = ExportSlots(desired)
        self._rates = Rates(desired)
        self._block_workers = BlockWorkers()

    def take(self, group: asyncio.TaskGroup, actions: Sequence[Action], desired: Desired) -> Party:
        job = desired.jobs.get(getattr(actions[0], "job", None) or JobName(""))
        settings = job.settings if job is not None else _WITHOUT_JOB
        stall_s = _seconds(settings.timeouts.stall)
        readings = Readings(
            group,
            actions,
            detach_s=_seconds(settings.detach),
            stall_s=stall_s,
            rates=self._rates.of(actions[0]),
        )
        export_slot = self._export_slots.of_party(actions)
        lease = self._connections.lease()

        def tools(gauge: Gauge) -> Tools:
            return Tools(
                clock=self._clock,
                gauge=gauge,
                pool=lease.pool,
                remote=lease.remote,
                export_slot=export_slot,
                readings=readings,
                block_workers=self._block_workers,
            )

        return _OwnParty(readings, stall_s, lease, tools)

    async def under_way(self) -> Sequence[Sequence[Action]]:
        return ()  # what a process does ends with it


class _OwnParty:
    def __init__(
        self,
        readings: Readings,
        stall_s: float | None,
        lease: Lease,
        tools: Callable[[Gauge], Tools],
    ) -> None:
        self._readings = readings
        self._stall_s = stall_s
        self._lease = lease
        self._tools = tools

    @contextlib.contextmanager
    def taking_part(self, action: Action) -> Iterator[None]:
        with self._readings.taking_part(id_of(action)), self._readings.pacing.felt():
            yield

    async def carry_out(self, action: Action, gauge: Gauge) -> None:
        async with self._lease, stall_watch(gauge, self._stall_s, self._readings.pacing):
            await carry_out(action, self._tools(gauge))

    def give_up(self, action: Action) -> None:
        pass  # it is stopped either way


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
