"""What pools and jobs may read per second, as desired now: one rate each for all readings."""

from collections.abc import Sequence

from reconciler.desired.state import Desired
from reconciler.ids import JobName, PoolName
from reconciler.latest import Latest
from reconciler.plan.actions import Action, Sending
from reconciler.remotes.rate import Rate


class Rates:
    """Hands out the rates. One that nothing limits now may be limited later, and is asked then."""

    def __init__(self, desired: Latest[Desired]) -> None:
        self._desired = desired
        self._pools: dict[PoolName, Rate] = {}
        self._jobs: dict[JobName, Rate] = {}

    def of(self, action: Action) -> Sequence[Rate]:
        """The rates that hold for what an action reads from a pool."""
        if not isinstance(action, Sending):
            return ()
        pool, job = action.pool, action.job
        return (
            self._pools.setdefault(pool, Rate(lambda: self._of_pool(pool))),
            self._jobs.setdefault(job, Rate(lambda: self._of_job(job))),
        )

    def _of_pool(self, name: PoolName) -> int | None:
        pool = self._desired.value.pools.get(name)
        return None if pool is None else pool.rate_bytes_per_s

    def _of_job(self, name: JobName) -> int | None:
        job = self._desired.value.jobs.get(name)
        return None if job is None else job.settings.rate_bytes_per_s
