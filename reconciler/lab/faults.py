"""The place for faults: named points that the RPC and data planes consult, and what happens there.

Points are `rpc:<Class.message>` (with or without `Async.`) and `http:<METHOD> <handler>`, for
example `http:GET /export_raw_vdi`. New kinds of fault are new actions; new places are new names.
"""

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailCall:
    """Refuse: an RPC answers with this failure; a transfer meets it when it attaches the disk."""

    code: str
    params: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DropConnection:
    """Cut the socket: an RPC is executed and never answered, a transfer ends after n body bytes.

    `reset` sends RST; otherwise it looks like the normal end of a close-delimited body.
    """

    after_bytes: int = 0
    reset: bool = False


@dataclass(frozen=True, slots=True)
class KillToolstack:
    """Sessions and tasks vanish, sockets are reset, connections are refused for a while."""

    refuse_s: float = 0.0
    after_bytes: int = 0


Action = FailCall | DropConnection | KillToolstack


class Dropped(Exception):
    """A fault says that this connection ends here, without another byte."""

    def __init__(self, reset: bool) -> None:
        super().__init__("dropped by a fault")
        self.reset = reset


class Faults:
    """Actions waiting at their points, each for a number of times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[tuple[Action, int]]] = {}

    def add(self, point: str, action: Action, times: int = 1) -> None:
        """The next `times` passes of the point meet the action; -1 is every one."""
        with self._lock:
            self._waiting.setdefault(point, []).append((action, times))

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def take(self, point: str) -> Action | None:
        """What happens at this pass of the point."""
        with self._lock:
            queue = self._waiting.get(point)
            if not queue:
                return None
            action, times = queue.pop(0)
            if times < 0 or times > 1:
                queue.insert(0, (action, times - 1 if times > 0 else times))
            return action
