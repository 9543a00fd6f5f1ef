"""The workers, joined by their mailboxes: one running reconciler without a door.

Every door (command line, demo, later Kubernetes) fills `desired` and reads `report`; this is all
that lies between.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from reconciler.clock import Clock
from reconciler.connections import Connections
from reconciler.desired.state import Desired, Pool, Remote, SecretRef, secrets_of
from reconciler.executor.executor import Executor
from reconciler.executor.hands import Hands, OwnHands
from reconciler.executor.records import Records
from reconciler.executor.run_keeper import RunKeeper, RunLines
from reconciler.executor.run_pictures import RunPicture
from reconciler.executor.transfers import Transfer
from reconciler.ids import JobName
from reconciler.latest import Latest
from reconciler.loop import Loop, Pulse
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Progress
from reconciler.observed.remote import RemoteView
from reconciler.observed.unknown import Unknown
from reconciler.observers.gather import Gather, Observer
from reconciler.observers.pools import PoolObserver
from reconciler.observers.remotes import RemoteObserver
from reconciler.remotes.fenced import Permit
from reconciler.status.report import Report
from reconciler.status.runs import NotedRun
from reconciler.status.tally import Tally

Name = TypeVar("Name", bound=str)


class Reconciler:
    """A whole reconciler in one process.

    desired: the mailbox a door fills. act: False observes and plans and changes nothing anywhere.
    records: path of the history file, None for none that lasts. owner: names this process in it.
    lines: where the log's lines of runs arrive, to be kept with the history. permit: asked right
    before anything on a pool or remote is changed; None: it always may be. hands: given this
    process's own, says who carries actions out. runs: where a door follows them; None: none does.
    failures: of each job in a row, where a door knows better than the history file.
    """

    def __init__(
        self,
        desired: Latest[Desired],
        clock: Clock,
        reveal: Callable[[SecretRef], str],
        *,
        act: bool = True,
        records: Path | None = None,
        owner: str | None = None,
        lines: RunLines | None = None,
        permit: Permit | None = None,
        hands: Callable[[Hands], Hands] = lambda own: own,
        runs: Latest[tuple[RunPicture, ...] | None] | None = None,
        failures: Mapping[JobName, int] = MappingProxyType({}),
    ) -> None:
        self._desired = desired
        self._clock = clock
        self._act = act
        self.connections = Connections(desired, reveal, read_only=not act, permit=permit)
        self._records = Records(records, owner=owner or new_owner())
        progress: Latest[Progress] = Latest(Progress())
        self._tally: Latest[Tally] = Latest(Tally(failed_in_a_row=failures))
        self._gather = Gather(desired, progress, self._pool_observer, self._remote_observer)
        self._loop = Loop(desired, self._gather.observed, progress, self._tally, clock)
        self._executor = Executor(
            self._loop.report,
            progress,
            self._tally,
            hands(OwnHands(desired, self.connections, clock)),
            self._records,
            clock,
        )
        self._keeper = RunKeeper(
            self._loop.report,
            self._records,
            self._executor.transfers,
            self._tally,
            clock,
            lines,
            runs,
        )

    @property
    def report(self) -> Latest[Report | None]:
        """The newest report; None before the first tick."""
        return self._loop.report

    @property
    def ended_runs(self) -> Latest[Mapping[JobName, NotedRun]]:
        """The newest run of each job that has ended, as far as the history goes."""
        return self._keeper.ended

    def transfers(self) -> tuple[Transfer, ...]:
        """What is moving right now."""
        return self._executor.transfers.read()

    def tally(self) -> Tally:
        """What has happened since the start."""
        return self._tally.value

    def pulse(self) -> Pulse:
        """Whether the loop gets on."""
        return self._loop.pulse()

    async def renew(self, changed: Collection[SecretRef]) -> None:
        """Take up secrets that are others now: open anew what was opened with the old ones."""
        await self.connections.renew(changed)
        desired = self._desired.value

        def names(settings: Mapping[Name, Pool] | Mapping[Name, Remote]) -> list[Name]:
            return [
                name for name, one in settings.items() if not secrets_of(one).isdisjoint(changed)
            ]

        self._gather.look(names(desired.pools), names(desired.remotes))

    async def run(self) -> None:
        """Work until cancelled; running actions end with it, their debris is the next start's."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._gather.run(), name="gather")
                group.create_task(self._loop.run(), name="loop")
                if self._act:
                    group.create_task(self._executor.run(), name="executor")
                    group.create_task(self._keeper.run(), name="run keeper")
        finally:
            await self.connections.close()
            await self._records.close()

    def _pool_observer(self, pool: Pool, publish: Callable[[PoolView | Unknown], None]) -> Observer:
        return PoolObserver(pool.name, self.connections.pool, self._clock, publish)

    def _remote_observer(
        self, remote: Remote, publish: Callable[[RemoteView | Unknown], None]
    ) -> Observer:
        return RemoteObserver(remote.name, self.connections.remote, self._clock, publish)


def new_owner() -> str:
    """Name this process in records: host, process id and a random part."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
