"""A pool, watched: its events folded into a `PoolView`, trouble shown as `Unknown`.

```
follow ── batch ──► fold ──► publish(PoolView)
   └── XapiError ──► publish(Unknown), wait longer each time, follow afresh
```

Whatever a pool says, the observer goes on: objects that make no sense are left out and named in
the view, and a whole answer that makes none is a pool that is not known right now.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from datetime import datetime

import structlog

from reconciler.clock import Clock
from reconciler.ids import PoolName, VmUuid
from reconciler.observed.pool import PoolView
from reconciler.observed.unknown import Unknown
from reconciler.observers.pool_fold import NoPool, PoolFold
from reconciler.observers.pool_tables import WANTED
from reconciler.plan.reasons import Reason
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import (
    CredentialsInvalid,
    Unreachable,
    Untrusted,
    XapiError,
)
from reconciler.xapi.events import Change, Follower, follow

log = structlog.get_logger(__name__)

_FIRST_WAIT_S = 1.0
_WAIT_MAX_S = 60.0
_REFUSED_WAIT_S = 60.0
"""After a refused login. The client sends the same password again only after much longer."""

_CHANGES_AT_ONCE = 1000
_VMS_AT_ONCE = 200
"""About ten milliseconds' work, either."""

Connect = Callable[[PoolName], Awaitable[XapiClient]]
Publish = Callable[[PoolView | Unknown], None]


class PoolObserver:
    """Watches one pool until cancelled.

    connect: gives the pool's client, which others use too; it is not closed here. publish: called
    with each new picture. pause: how to wait, in seconds of real time, which is the network's.
    """

    def __init__(
        self,
        name: PoolName,
        connect: Connect,
        clock: Clock,
        publish: Publish,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._connect = connect
        self._clock = clock
        self._publish = publish
        self._pause = pause
        self._follower: Follower | None = None
        self._as_of: datetime | None = None
        self._unknown: Unknown | None = None
        self._failures = 0
        self._resting: asyncio.Timeout | None = None

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            try:
                await self._watch()
            except Exception as error:  # hostile answers must not end the watch either
                self._say_unknown(error)
                await self._wait(self._wait_s(error))

    def poke(self, touched: Iterable[tuple[VmUuid, datetime]]) -> None:
        """Look again now, unless what was touched has been looked at since."""
        newest = max((at for _, at in touched), default=None)
        if newest is None or self._follower is None:
            return
        if self._as_of is None or self._as_of <= newest:
            self._follower.poke()

    def look(self) -> None:
        """Look again now, also where the next try is a while away."""
        if self._follower is not None:
            self._follower.poke()
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.reschedule(asyncio.get_running_loop().time())

    async def _watch(self) -> None:
        client = await self._connect(self._name)
        self._follower = follow(client, WANTED, self._clock)
        fold = PoolFold(self._name)
        try:
            async with aclosing(self._follower.batches()) as batches:
                async for batch in batches:
                    if batch.whole:
                        fold = PoolFold(self._name)
                    await _take(fold, batch.changes)
                    self._say(fold.view(batch.as_of))
                    del batch  # all of a pool takes memory, and the next batch its time
        finally:
            self._follower = None

    async def _wait(self, seconds: float) -> None:
        """Wait so long, or until a person asks for another try."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as self._resting:
                    await self._pause(seconds)
        finally:
            self._resting = None

    def _say(self, view: PoolView) -> None:
        if self._unknown is not None or self._as_of is None:
            log.info("pool is seen", pool=self._name, vms=len(view.vms), version=view.version)
        self._as_of = view.as_of
        self._unknown = None
        self._failures = 0
        self._publish(view)

    def _say_unknown(self, error: Exception) -> None:
        reason, why = _meaning(error)
        self._failures += 1
        self._as_of = None
        since = self._unknown.since if self._unknown is not None else self._clock.now()
        unknown = Unknown(since=since, reason=reason, why=why)
        if self._unknown is None or self._unknown.why != why:
            log.warning(
                "pool is not seen",
                pool=self._name,
                reason=reason.value,
                why=why,
                exc_info=reason is Reason.INTERNAL_ERROR,
            )
        self._unknown = unknown
        self._publish(unknown)

    def _wait_s(self, error: Exception) -> float:
        if isinstance(error, CredentialsInvalid):
            return _REFUSED_WAIT_S
        return min(_FIRST_WAIT_S * 2.0 ** min(self._failures - 1, 10), _WAIT_MAX_S)


async def _take(fold: PoolFold, changes: Sequence[Change]) -> None:
    """Fold changes in, letting others have their turn: a whole pool takes seconds."""
    for start in range(0, len(changes), _CHANGES_AT_ONCE):
        fold.take(changes[start : start + _CHANGES_AT_ONCE])
        await asyncio.sleep(0)
    settled = False
    while not settled:
        settled = fold.settle(_VMS_AT_ONCE)
        await asyncio.sleep(0)


def _meaning(error: Exception) -> tuple[Reason, str]:
    """The reason code and the sentence for a pool that cannot be seen."""
    match error:
        case CredentialsInvalid():
            return Reason.CREDENTIALS_INVALID, str(error)
        case Untrusted() | Unreachable():
            return Reason.POOL_UNREACHABLE, str(error)
        case XapiError() | NoPool():
            return Reason.XAPI_ERROR, str(error)
        case _:
            return Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}"
