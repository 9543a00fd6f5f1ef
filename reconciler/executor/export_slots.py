"""Streams of disks that are open at once: as many as the pool allows, and the job for one VM.

Admission counts the same before it starts anything; here it is made sure of, whatever was admitted.
Knows nothing of what is read, or where it goes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from reconciler.desired.state import Desired
from reconciler.ids import PoolName
from reconciler.latest import Latest
from reconciler.plan.actions import Action, Sending

ExportSlot = Callable[[PoolName], AbstractAsyncContextManager[object]]


class ExportSlots:
    """The slots of all pools. Limits are those of the manifests when a pool is first read from."""

    def __init__(self, desired: Latest[Desired]) -> None:
        self._desired = desired
        self._of_pools: dict[PoolName, asyncio.Semaphore] = {}

    def of_party(self, party: Sequence[Action]) -> ExportSlot:
        """Give what each stream of a party enters: a slot of its VM's own first, if it has any."""
        first = party[0]
        job = self._desired.value.jobs.get(first.job) if isinstance(first, Sending) else None
        limit = 0 if job is None else job.settings.disks_max
        if not limit:
            return self._of_pool
        of_vm = asyncio.Semaphore(limit)

        @asynccontextmanager
        async def slot(pool: PoolName) -> AsyncIterator[None]:
            async with of_vm, self._of_pool(pool):
                yield

        return slot

    def _of_pool(self, pool: PoolName) -> asyncio.Semaphore:
        slots = self._of_pools.get(pool)
        if slots is None:
            settings = self._desired.value.pools.get(pool)
            limit = settings.exports_max if settings is not None else 1
            slots = self._of_pools[pool] = asyncio.Semaphore(limit)
        return slots
