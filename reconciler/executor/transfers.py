"""What is moving right now: one gauge per running action, read by whoever draws progress.

Gauges are written by steps as bytes go by and read at the reader's own pace, so a fast transfer
never floods a slow terminal.
"""

from dataclasses import dataclass
from datetime import datetime

from reconciler.ids import ActionId, RunId
from reconciler.plan.actions import Action, id_of, run_of


@dataclass(frozen=True, slots=True)
class Transfer:
    """One running action. total_bytes: 0 while it is not known."""

    id: ActionId
    action: Action
    started_at: datetime
    done_bytes: int
    total_bytes: int

    @property
    def run(self) -> RunId | None:
        """The run that the action belongs to."""
        return run_of(self.action)


class Gauge:
    """Counts the bytes of one action."""

    def __init__(self, action: Action, started_at: datetime) -> None:
        self.row = 0  # of the history file, once it is written there
        self._action = action
        self._started_at = started_at
        self._done_bytes = 0
        self._total_bytes = 0

    @property
    def done_bytes(self) -> int:
        return self._done_bytes

    @property
    def is_moving(self) -> bool:
        """Whether more bytes are to come, some having come."""
        return self._done_bytes > 0 and not 0 < self._total_bytes <= self._done_bytes

    def expect(self, count: int) -> None:
        """Say that `count` more bytes will go by."""
        self._total_bytes += count

    def advance(self, count: int) -> None:
        """Say that `count` more bytes went by."""
        self._done_bytes += count

    def set(self, done_bytes: int, total_bytes: int) -> None:
        """Say how far another process has come, that counts for us."""
        self._done_bytes = done_bytes
        self._total_bytes = total_bytes

    def read(self) -> Transfer:
        return Transfer(
            id=id_of(self._action),
            action=self._action,
            started_at=self._started_at,
            done_bytes=self._done_bytes,
            total_bytes=max(self._total_bytes, self._done_bytes) if self._total_bytes else 0,
        )


class Transfers:
    """The gauges of all running actions."""

    def __init__(self) -> None:
        self._gauges: dict[ActionId, Gauge] = {}

    def begin(self, action: Action, started_at: datetime) -> Gauge:
        gauge = self._gauges[id_of(action)] = Gauge(action, started_at)
        return gauge

    def end(self, action: Action) -> Transfer:
        """Take an action out of what is moving; return how far it came."""
        return self._gauges.pop(id_of(action)).read()

    def rows(self) -> dict[int, tuple[int, int]]:
        """How far each is, by its row in the history file: bytes moved, bytes expected."""
        read = {gauge.row: gauge.read() for gauge in self._gauges.values() if gauge.row}
        return {row: (each.done_bytes, each.total_bytes) for row, each in read.items()}

    def read(self) -> tuple[Transfer, ...]:
        """Every running action's transfer, oldest first."""
        return tuple(
            sorted((gauge.read() for gauge in self._gauges.values()), key=lambda t: t.started_at)
        )
