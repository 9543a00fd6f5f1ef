"""Tasks: what a client watches while the pool works. In memory only, as on a real pool.

The order of the writes at the end is XAPI's: a client that sees `success` may read the result.
"""

import threading
import time

from reconciler.lab.database import Database, Row
from reconciler.lab.failures import Failure
from reconciler.lab.settings import Settings
from reconciler.lab.values import EPOCH, NULL, DateTime, Record, Value, now

_FINISHED = ("success", "failure", "cancelled")


class Tasks:
    """Creation, completion, cancellation and collection of tasks."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._finished_at: dict[str, float] = {}
        self._moved: dict[str, tuple[float, Value]] = {}

    def create(self, label: str, description: str, host: str, subtask_of: str = NULL) -> Row:
        """A pending task."""
        values: Record = {
            "name_label": label,
            "name_description": description,
            "created": now(),
            "finished": EPOCH,
            "status": "pending",
            "progress": 0.0,
            "type": "<none/>",
            "resident_on": host,
            "subtask_of": subtask_of,
            "allowed_operations": ["cancel"],
        }
        return self._database.create("task", values)

    def progress(self, ref: str, fraction: float) -> None:
        with self._database.transaction():
            row = self._database.find("task", ref)
            if row is not None and row.text("status") == "pending":
                self._database.set(row, progress=min(1.0, max(0.0, fraction)))

    def succeed(self, ref: str, result: str = "") -> None:
        """`result` is XML-RPC text (`""` for nothing), whatever the transport."""
        self._finish(ref, "success", result=result, progress=1.0)

    def fail(self, ref: str, failure: Failure) -> None:
        status = "cancelled" if failure.code == "TASK_CANCELLED" else "failure"
        self._finish(ref, status, progress=1.0, error_info=failure.description)

    def set_status(self, ref: str, status: str) -> None:
        """A client completes its own task."""
        row = self._database.row("task", ref)
        if status in _FINISHED:
            self._finish(ref, status)
        else:
            self._database.set(row, status=status)

    def _finish(self, ref: str, status: str, **values: Value) -> None:
        with self._database.transaction():
            row = self._database.find("task", ref)
            if row is None or row.text("status") in _FINISHED:
                return
            finished: DateTime = now()
            self._database.set(row, finished=finished, allowed_operations=[], **values)
            self._database.set(row, status=status)
            self._finished_at[ref] = time.monotonic()
            if "destroy" in row.mapping("current_operations").values():
                self._remove(row)

    def destroy(self, ref: str, caller: str) -> None:
        """Remove a finished task; a pending one only gets the wish."""
        with self._database.transaction():
            row = self._database.row("task", ref)
            if row.text("status") in _FINISHED:
                self._remove(row)
            else:
                self._database.update_map(row, "current_operations", {caller: "destroy"})

    def forget(self, ref: str) -> None:
        """Remove a task of the pool's own, if a restart has not done so."""
        with self._database.transaction():
            row = self._database.find("task", ref)
            if row is not None:
                self._remove(row)

    def _remove(self, row: Row) -> None:
        self._finished_at.pop(row.ref, None)
        self._moved.pop(row.ref, None)
        self._database.destroy(row)

    def cancel(self, ref: str, caller: str) -> None:
        """Record the wish; work that polls with `check_cancelled` obeys it."""
        with self._database.transaction():
            row = self._database.row("task", ref)
            if row.text("status") == "pending":
                self._database.update_map(row, "current_operations", {caller: "cancel"})

    def check_cancelled(self, ref: str) -> None:
        """Raise TASK_CANCELLED if somebody wished it."""
        with self._database.changed:
            row = self._database.find("task", ref)
            if row is not None and "cancel" in row.mapping("current_operations").values():
                raise Failure("TASK_CANCELLED", ref)

    def drop_all(self) -> None:
        for row in self._database.rows("task"):
            self._remove(row)

    def collect(self) -> None:
        """Housekeeping: old finished tasks, and pending ones that never moved, go."""
        moment = time.monotonic()
        with self._database.transaction():
            finished = sorted(self._finished_at.items(), key=lambda item: item[1])
            surplus = len(self._database.tables["task"]) - self._settings.tasks_max
            for position, (ref, since) in enumerate(finished):
                row = self._database.find("task", ref)
                if row is None:
                    self._finished_at.pop(ref, None)
                elif position < surplus or moment - since > self._settings.task_keep_s:
                    self._remove(row)
            for row in self._database.rows("task"):
                progress = row.value("progress")
                since, seen = self._moved.setdefault(row.ref, (moment, progress))
                if seen != progress:
                    self._moved[row.ref] = (moment, progress)
                elif moment - since > self._settings.task_pending_s:
                    self._remove(row)

    def wait(self, ref: str, timeout_s: float) -> Row | None:
        """For the lab's own tests: the finished task, None if it vanished or the time is up."""
        deadline = time.monotonic() + timeout_s
        with self._database.changed:
            while True:
                row = self._database.find("task", ref)
                if row is None or row.text("status") in _FINISHED:
                    return row
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._database.changed.wait(min(left, threading.TIMEOUT_MAX))
