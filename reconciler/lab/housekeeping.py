"""What a toolstack does on its own every half minute: old tasks and sessions go, hosts live."""

import threading

from reconciler.lab.pool import Pool
from reconciler.lab.values import now


def keep_house(pool: Pool) -> None:
    """One round."""
    pool.tasks.collect()
    pool.sessions.expire()
    if not pool.settings.heartbeat:
        return
    with pool.database.transaction():
        for metrics in pool.database.rows("host_metrics"):
            pool.database.set(metrics, last_updated=now())
        pool.database.touch(pool.record)


class Housekeeping:
    """Rounds at the configured interval, until stopped."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="lab housekeeping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopped.wait(self._pool.settings.housekeeping_s):
            keep_house(self._pool)
