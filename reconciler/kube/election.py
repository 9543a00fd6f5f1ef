"""Which of several operators leads: elected through one Lease, and deposed by its own clock.

The rules are those of Kubernetes' own components. Times in the Lease are for people: a holder
counts as gone once *we* have watched its Lease stand still for as long as it said, and we count
ourselves as deposed well before anybody else may think so. No two clocks have to agree, they only
have to run at the same speed.

        last renewal that succeeded        we are deposed           another may take over
    ────────────┼──────────────────────────────┼──────────────────────────────┼────────▶
                │◀── renew_s (10): `permit` ──▶│◀──── margin: in flight ─────▶│
                │◀──────────────── lease_s (15), by whoever watches ─────────▶│

`permit` is asked right before each change, so that a process that stood still (SIGSTOP, a paused
machine) and wakes up late changes nothing, whatever it was in the middle of: it needs no renewal
that fails to find out.

Knows who leads. Never knows what there is to do.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from reconciler.clock import Clock
from reconciler.kube.errors import Conflict, KubeError
from reconciler.latest import Latest
from reconciler.remotes.rate import Stopwatch

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds. lease_s: how long a Lease that nobody renews is respected. renew_s: for how long a
    renewal lets its holder lead, less by a margin for what is in flight. retry_s: between tries."""

    lease_s: int = 15
    renew_s: float = 10.0
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        assert 0 < self.retry_s < self.renew_s < self.lease_s


@dataclass(frozen=True, slots=True)
class Lease:
    """A coordination.k8s.io Lease. holder: "" if it was given back. version: "" if there is none.

    lease_s: as its holder said. transitions: how often it changed hands.
    """

    holder: str = ""
    lease_s: int = 0
    transitions: int = 0
    acquired_at: datetime | None = None
    renewed_at: datetime | None = None
    version: str = ""


class LeaseStore(Protocol):
    """Where the Lease is kept. Raises KubeError."""

    async def read(self) -> Lease:
        """Return the Lease; one without a version if there is none."""

    async def write(self, lease: Lease) -> Lease:
        """Replace exactly the version that was read, or create it; return what stands there now.

        Raises Conflict if another one stands there."""


class BootStopwatch:
    """Seconds since the machine was started, counting those in which it slept."""

    def now_s(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Elector:
    """One candidate. leader: who leads, as far as it is known; "" for nobody."""

    def __init__(
        self,
        store: LeaseStore,
        identity: str,
        clock: Clock,
        terms: Terms | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self.leader: Latest[str] = Latest("")
        self._store = store
        self._identity = identity
        self._clock = clock
        self._terms = terms or Terms()
        self._stopwatch = stopwatch or BootStopwatch()
        self._until_s = 0.0  # for how long the last renewal lets us lead
        self._seen = Lease()
        self._seen_at_s = 0.0

    def permit(self) -> bool:
        """Say whether this process leads right now, by the machine's clock alone."""
        return self._stopwatch.now_s() < self._until_s

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Stand for election for ever; do the work whenever elected, cancelling it when deposed.

        Ended from outside, the work is ended first and the Lease given back then. Raises what the
        work raises.
        """
        while True:
            lease = await self._be_elected()
            log.info("elected", identity=self._identity, transitions=lease.transitions)
            await self._lead(lease, work)
            log.warning("deposed", identity=self._identity, leader=self.leader.value)

    # ── following ──

    async def _be_elected(self) -> Lease:
        self._seen_at_s = self._stopwatch.now_s()
        while True:
            try:
                lease = await self._look()
                if self._is_free(lease):
                    return await self._take(lease)
            except Conflict:
                pass  # somebody was faster; who it was is seen at the next look
            except (KubeError, TimeoutError) as error:
                log.warning("the lease cannot be read or written", why=str(error) or "timed out")
            await self._stopwatch.sleep(self._terms.retry_s)

    async def _look(self) -> Lease:
        async with asyncio.timeout(self._terms.renew_s):
            lease = await self._store.read()
        if lease.version != self._seen.version:
            self._seen, self._seen_at_s = lease, self._stopwatch.now_s()
        self._tell(lease.holder)
        return lease

    def _is_free(self, lease: Lease) -> bool:
        if not lease.holder:
            return True
        # Unless its holder said for how long: as long as ours would be.
        lease_s = lease.lease_s or self._terms.lease_s
        return self._stopwatch.now_s() - self._seen_at_s > lease_s

    async def _take(self, lease: Lease) -> Lease:
        now = self._clock.now()
        taken = replace(
            lease,
            holder=self._identity,
            transitions=lease.transitions + bool(lease.version),
            acquired_at=now,
        )
        return await self._renew(taken, self._terms.renew_s)

    async def _renew(self, lease: Lease, patience_s: float) -> Lease:
        """Write the Lease as renewed now; from before that on, we lead for a while."""
        began_s = self._stopwatch.now_s()
        async with asyncio.timeout(patience_s):
            written = await self._store.write(
                replace(lease, lease_s=self._terms.lease_s, renewed_at=self._clock.now())
            )
        self._until_s = began_s + self._terms.renew_s
        self._tell(self._identity)
        return written

    def _tell(self, leader: str) -> None:
        if leader != self.leader.value:
            self.leader.put(leader)

    # ── leading ──

    async def _lead(self, lease: Lease, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work while the Lease is ours."""
        kept = _Kept(lease)
        try:
            async with asyncio.TaskGroup() as group:
                working = group.create_task(_begun(work), name="the leader's work")
                keeping = group.create_task(self._keep(kept), name="lease")
                await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
                working.cancel()
                keeping.cancel()
        finally:
            if self.permit():
                await self._give_back(kept.lease)
            self._until_s = 0.0

    async def _keep(self, kept: "_Kept") -> None:
        """Renew until that has not worked for too long, or somebody else holds the Lease."""
        while self.permit():
            await self._stopwatch.sleep(self._terms.retry_s)
            left_s = max(self._until_s - self._stopwatch.now_s(), 0.0)
            try:
                kept.lease = await self._renew(kept.lease, left_s)
            except Conflict:
                await self._look_whose_it_is(kept)
            except (KubeError, TimeoutError) as error:
                log.warning("the lease was not renewed", why=str(error) or "timed out")

    async def _look_whose_it_is(self, kept: "_Kept") -> None:
        """Look at a Lease that is another version than we wrote: somebody may only have labelled
        it, or an answer of ours was lost. What cannot be seen is looked at again."""
        with contextlib.suppress(KubeError, TimeoutError):
            kept.lease = await self._look()
            if kept.lease.holder != self._identity:
                self._until_s = 0.0

    async def _give_back(self, lease: Lease) -> None:
        """Let the next one lead at once. What fails is left: the Lease runs out by itself."""
        self._until_s = 0.0
        with contextlib.suppress(KubeError, TimeoutError):
            async with asyncio.timeout(self._terms.retry_s):
                await self._store.write(replace(lease, holder="", renewed_at=self._clock.now()))
                self._tell("")


@dataclass(slots=True)
class _Kept:
    """lease: as it was seen or written last."""

    lease: Lease


async def _begun(work: Callable[[], Awaitable[None]]) -> None:
    await work()
