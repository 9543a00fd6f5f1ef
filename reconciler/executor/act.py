"""A parcel, carried out here to its end, for a process that plans nothing.

Each action ends in an `Ending`: what the process that sent the parcel is told of it. Whether there
is a next try is that one's affair.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from structlog.contextvars import bound_contextvars

from reconciler.clock import Clock
from reconciler.connections import Connections
from reconciler.executor.hands import OwnHands, Party
from reconciler.executor.parcel import Parcel
from reconciler.executor.transfers import Transfers
from reconciler.executor.verdict import cause_of, reason_of
from reconciler.ids import ActionId
from reconciler.latest import Latest
from reconciler.plan.actions import Action, id_of, run_of
from reconciler.plan.reasons import Reason

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an action ended. reason: None for well. why: for a person."""

    reason: Reason | None = None
    why: str = ""
    bytes_moved: int = 0


@dataclass(slots=True)
class Acting:
    """A parcel under way. endings: of those that have ended, as they end."""

    parcel: Parcel
    connections: Connections
    clock: Clock
    transfers: Transfers = field(default_factory=Transfers)
    endings: Latest[Mapping[ActionId, Ending]] = field(default_factory=lambda: Latest({}))
    _tasks: dict[ActionId, asyncio.Task[None]] = field(default_factory=dict)

    async def run(self) -> None:
        """Carry every action out. Cancelled, all that has not ended is stopped."""
        desired = self.parcel.desired
        hands = OwnHands(Latest(desired), self.connections, self.clock)
        async with asyncio.TaskGroup() as group:
            party = hands.take(group, self.parcel.actions, desired)
            for action in self.parcel.actions:
                self._tasks[id_of(action)] = group.create_task(
                    self._take_part(action, party), name=id_of(action)
                )

    def cancel(self, action: ActionId) -> None:
        """Stop one action; the others go on."""
        task = self._tasks.get(action)
        if task is not None:
            task.cancel()

    def cancel_all(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _take_part(self, action: Action, party: Party) -> None:
        id_ = id_of(action)
        gauge = self.transfers.begin(action, self.clock.now())
        try:
            with (
                party.taking_part(action),
                bound_contextvars(run=run_of(action), action=id_),
            ):
                log.info("action started")
                await party.carry_out(action, gauge)
            ending = Ending(bytes_moved=gauge.done_bytes)
        except asyncio.CancelledError:
            why = f"{action.verb} was stopped"
            self._note(id_, Ending(Reason.CANCELLED, why, gauge.done_bytes))
            raise
        except Exception as error:
            cause = cause_of(error)
            why = str(cause) or type(cause).__name__
            ending = Ending(reason_of(cause), why, gauge.done_bytes)
            log.warning("action failed", reason=ending.reason, why=why)
        self._note(id_, ending)

    def _note(self, action: ActionId, ending: Ending) -> None:
        self.endings.put({**self.endings.value, action: ending})
