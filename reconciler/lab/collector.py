"""The storage manager's garbage collector: a thread that coalesces VHD trees some time after a
VDI was destroyed, visible to clients as on a real SR.

1. A hidden leaf is deleted.
2. A hidden disk that is the only child of its parent is merged into it; its children move up.
3. A leaf that is the only child of a hidden parent takes the parent over (leaf-coalesce). A large
   leaf first gets a fresh layer on top, so that rule 2 takes most of it while the guest writes on.
"""

import logging
import threading
import time

from reconciler.lab import volumes
from reconciler.lab.database import Row
from reconciler.lab.disks import Disk
from reconciler.lab.pool import Pool
from reconciler.lab.values import new_uuid

_STEPS_MAX = 10_000
_log = logging.getLogger(__name__)


class Collector:
    """Collects SRs that were kicked, each after the configured delay."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._due: dict[str, float] = {}
        self._wake = threading.Condition()
        self._working = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._loop, name="lab collector", daemon=True)

    def start(self) -> None:
        self._pool.kick_collector = self.kick
        self._pool.collect_now = self.collect_all
        self._thread.start()
        # What an earlier life left undone.
        for sr in self._pool.database.tables["SR"]:
            self.kick(sr)

    def kick(self, sr: str) -> None:
        with self._wake:
            due = time.monotonic() + self._pool.settings.coalesce_delay_s
            self._due.setdefault(sr, due)
            self._wake.notify()

    def stop(self) -> None:
        """End after the step at hand."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        while True:
            with self._wake:
                while not self._stopped and not self._ready():
                    next_due = min(self._due.values(), default=None)
                    pause = None if next_due is None else next_due - time.monotonic()
                    self._wake.wait(None if pause is None else max(0.0, pause))
                if self._stopped:
                    return
                sr = self._ready()[0]
                del self._due[sr]
            if self._pool.settings.coalesce:
                try:
                    self.collect(sr)
                except Exception:
                    # The next kick tries again, as the real one does.
                    _log.exception("the collector failed on %s", sr)

    def _ready(self) -> list[str]:
        moment = time.monotonic()
        return [sr for sr, due in self._due.items() if due <= moment]

    def collect_all(self) -> int:
        """Tidy every SR now; how many steps it took."""
        return sum(self.collect(sr) for sr in list(self._pool.database.tables["SR"]))

    def collect(self, sr: str) -> int:
        """Tidy one SR now; how many steps it took."""
        database = self._pool.database
        with self._working:
            row = database.find("SR", sr)
            if row is None or not self._enabled(row):
                return 0
            steps, task = 0, ""
            while steps < _STEPS_MAX and not self._stopped:
                with database.transaction():
                    step = self._next(row)
                    if step is None:
                        break
                    task = task or self._begin(row)
                    # Only a merge of hidden disks takes time, and nobody can come between it.
                    if step.quick:
                        step.run()
                if not step.quick:
                    step.run()
                steps += 1
            if task:
                with database.transaction():
                    volumes.refresh_sr(self._pool, row)
                self._pool.tasks.succeed(task)
                self._pool.tasks.forget(task)
            return steps

    def _enabled(self, sr: Row) -> bool:
        other = sr.mapping("other_config")
        return "false" not in (other.get("gc"), other.get("coalesce"))

    def _begin(self, sr: Row) -> str:
        description = f"Garbage collection for SR {sr.text('uuid')}"
        task = self._pool.tasks.create("Garbage Collection", description, self._pool.master)
        self._pool.database.set(task, other_config={"applies_to": sr.ref})
        return task.ref

    # -- steps ------------------------------------------------------------------------------------

    def _next(self, sr: Row) -> "_Step | None":
        """The first thing that can be done, under the database's lock."""
        pool = self._pool
        mine = [disk for disk in pool.disks.disks.values() if disk.sr == sr.text("uuid")]
        children: dict[str, list[Disk]] = {disk.layer.id: [] for disk in mine}
        for disk in mine:
            if disk.layer.parent is not None:
                children[disk.layer.parent.id].append(disk)
        only = [
            disk
            for disk in mine
            if disk.layer.parent is not None and len(children[disk.layer.parent.id]) == 1
        ]
        for disk in mine:
            if self._hidden(disk) and not children[disk.layer.id]:
                return _Step(pool, "delete", disk)
        for disk in only:
            if self._hidden(disk):
                return _Step(pool, "merge", disk)
        # Leaves last: one that was just pushed would else take its own blocks back.
        for disk in only:
            if self._leaf_allowed(disk):
                small = disk.layer.allocated <= pool.settings.leaf_blocks_max
                return _Step(pool, "take" if small else "push", disk)
        return None

    def _hidden(self, disk: Disk) -> bool:
        return not self._pool.database.by_uuid("VDI", disk.uuid).flag("managed")

    def _leaf_allowed(self, disk: Disk) -> bool:
        vdi = self._pool.database.by_uuid("VDI", disk.uuid)
        wish = vdi.mapping("other_config").get("leaf-coalesce")
        return wish != "false" and not vdi.mapping("current_operations")


class _Step:
    """One step on one disk."""

    def __init__(self, pool: Pool, kind: str, disk: Disk) -> None:
        self._pool = pool
        self._kind = kind
        self._disk = disk

    @property
    def quick(self) -> bool:
        return self._kind != "merge"

    def run(self) -> None:
        match self._kind:
            case "delete":
                self._delete()
            case "merge":
                self._merge()
            case "push":
                self._push()
            case _:
                self._take_over()

    def _record(self, disk: Disk) -> Row:
        return self._pool.database.by_uuid("VDI", disk.uuid)

    def _delete(self) -> None:
        with self._pool.database.transaction():
            row = self._record(self._disk)
            self._pool.disks.remove(self._disk)
            self._pool.database.destroy(row)

    def _merge(self) -> None:
        """The copy takes time and changes nothing for readers; only the end needs the lock."""
        pool, disk = self._pool, self._disk
        pool.disks.copy_down(disk.layer)
        with pool.database.transaction():
            row = self._record(disk)
            parent = disk.layer.parent
            assert parent is not None
            moved = pool.disks.splice_out(disk)
            pool.database.destroy(row)
            for child in moved:
                volumes.show_parent(pool, child)
            volumes.show_parent(pool, pool.disks.owner(parent))

    def _push(self) -> None:
        pool, disk = self._pool, self._disk
        with pool.database.transaction():
            vdi = self._record(disk)
            hidden = pool.disks.push(disk, new_uuid())
            volumes.show_base(pool, vdi.text("SR"), hidden)
            volumes.show_parent(pool, disk)

    def _take_over(self) -> None:
        pool, disk = self._pool, self._disk
        with pool.database.transaction():
            parent = disk.layer.parent
            assert parent is not None
            base = pool.disks.owner(parent)
            row = self._record(base)
            pool.disks.take_over(disk, base)
            pool.database.destroy(row)
            volumes.show_parent(pool, disk)
