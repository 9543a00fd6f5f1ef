"""What goes in and out of a pool: which transfers are open, what they moved, at what pace.

Every handler that moves disks opens a transfer here and lets its connection tell each piece. So a
test can ask how often a block was sent, whether anything is still open, and whether a byte moved
after some instant, and a benchmark can give the exports the pace of a real pool.

```
exports at once    1     2     4     8    12 and more
each, MiB/s       30    20    15    10     8 and less       times `curve_factor`
in all            30    40    60    80    96
```
"""

import threading
import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from reconciler.lab.settings import Settings
from reconciler.lab.wire import Connection

_KEPT = 10_000
_TICK_S = 0.05
_BEHIND_MAX_S = 0.2  # what a late wake-up may be made good for; a slow reader's time is lost
EXPORT, IMPORT, EXPORT_VM, IMPORT_VM = "export", "import", "export-vm", "import-vm"
_PACED = frozenset({EXPORT, EXPORT_VM})


@dataclass(eq=False, slots=True)
class Transfer:
    """One transfer. Instants are `time.monotonic`; `ended_at` is 0 while it is open.

    object, base: uuids of the VDI and of what its difference is taken against ("" if none), or of
    the VM. blocks: the 2 MiB blocks that an export of a disk has sent whole, in their order.
    whole: it came to its end; one that its client cut has sent some into the void.
    """

    kind: str
    object: str
    base: str
    started_at: float
    ended_at: float = 0.0
    moved_bytes: int = 0
    moved_at: float = 0.0
    blocks: list[int] = field(default_factory=list)
    whole: bool = False

    def moved(self, count: int) -> None:
        """Say that so many bytes went over the connection."""
        self.moved_bytes += count
        self.moved_at = time.monotonic()


class Transfers:
    """All transfers of a pool since it was opened: the open ones, and the last 10,000 that ended.

    For several threads: each transfer is written by its own, and read by anybody.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._open: list[Transfer] = []
        self._ended: deque[Transfer] = deque(maxlen=_KEPT)

    @contextmanager
    def under_way(
        self, kind: str, uuid: str, connection: Connection, base: str = ""
    ) -> Iterator[Transfer]:
        """Count, and pace if it is an export, what goes over the connection meanwhile."""
        transfer = Transfer(kind, uuid, base, time.monotonic())
        connection.meter = transfer.moved
        if kind in _PACED:
            connection.pacer = Pacer(self)
        with self._lock:
            self._open.append(transfer)
        try:
            yield transfer
            transfer.whole = True
        finally:
            connection.meter, connection.pacer = None, None
            transfer.ended_at = time.monotonic()
            with self._lock:
                self._open.remove(transfer)
                self._ended.append(transfer)

    # -- for those who look -----------------------------------------------------------------------

    @property
    def open(self) -> tuple[Transfer, ...]:
        """Those under way."""
        with self._lock:
            return tuple(self._open)

    @property
    def all(self) -> tuple[Transfer, ...]:
        """The ended ones in the order of their ends, then those under way."""
        with self._lock:
            return (*self._ended, *self._open)

    def since(self, instant: float) -> tuple[Transfer, ...]:
        """Those by which a byte moved after an instant of `time.monotonic`."""
        return tuple(one for one in self.all if one.moved_at > instant)

    def blocks_sent(self, vdi: str, *, whole: bool = False) -> Counter[int]:
        """How often each block of a disk (a VDI's uuid) was sent by exports of it.

        whole: by those alone that came to their end, not those that were cut after their table.
        """
        counted: Counter[int] = Counter()
        for transfer in self.all:
            if transfer.kind == EXPORT and transfer.object == vdi and transfer.whole >= whole:
                counted.update(transfer.blocks)
        return counted

    @property
    def moved_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(transfer.moved_bytes for transfer in self.all)

    # -- pace -------------------------------------------------------------------------------------

    def rate(self) -> float:
        """What one export may send now, in bytes per second; 0 is as much as goes."""
        limits = []
        if self._settings.bandwidth_bytes_per_s:
            limits.append(float(self._settings.bandwidth_bytes_per_s))
        if self._settings.curve_factor:
            with self._lock:
                count = sum(transfer.kind in _PACED for transfer in self._open)
            total = total_rate(self._settings.curve, max(1, count))
            limits.append(total * self._settings.curve_factor / max(1, count))
        return min(limits, default=0.0)


class Pacer:
    """One export's share of the pool: pieces of at most 50 ms, each at its time."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers
        self._due_at = time.monotonic()

    def piece(self, count_max: int) -> int:
        """How much may be sent in one go now."""
        rate = self._transfers.rate()
        return min(count_max, max(4096, int(rate * _TICK_S))) if rate else count_max

    def sent(self, count: int) -> None:
        """Wait until what was sent has taken its time."""
        rate = self._transfers.rate()
        now = time.monotonic()
        self._due_at = max(self._due_at, now - _BEHIND_MAX_S)
        if not rate:
            return
        self._due_at += count / rate
        # many small pieces are waited for together
        if self._due_at - now > _TICK_S / 10:
            threading.Event().wait(self._due_at - now)


def total_rate(curve: Sequence[tuple[int, float]], count: int) -> float:
    """What `count` exports may send together, in bytes per second: between the points of the
    curve (exports at once, bytes per second in all) on a line, beyond the last one flat.
    """
    counts = [at for at, _ in curve]
    position = bisect_right(counts, count)
    if position == 0:
        return curve[0][1] * count / curve[0][0]
    if position == len(curve):
        return curve[-1][1]
    (low, slow), (high, fast) = curve[position - 1], curve[position]
    return slow + (fast - slow) * (count - low) / (high - low)
