"""What was done, when, and how it ended: a record for people. No decision ever reads it.

One row per try of an action, in SQLite: of the state directory, or of memory where there is none.
A row without an end belongs to whoever holds the state directory's lease; without such a holder
it was interrupted, and is shown so. Deleting the file loses history and nothing else.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import structlog

from reconciler.plan.actions import Action, id_of
from reconciler.plan.render import as_dict

log = structlog.get_logger(__name__)

R = TypeVar("R")

_SCHEMA = """
create table if not exists tries (
    id integer primary key,
    action text not null,          -- action id
    verb text not null,
    job text,
    vm text,
    vm_name text not null,
    place text not null,           -- remote, else pool
    stamp text,                    -- of the restore point it is about
    due text not null,             -- the debt it settles; groups the tries of one run
    reason text not null,
    content text not null,         -- the action, as JSON
    owner text not null,           -- of the process
    started_at text not null,
    ended_at text,
    outcome text,                  -- Succeeded, Failed, Cancelled
    outcome_reason text not null default '',
    why text not null default '',
    bytes integer not null default 0
);
create index if not exists tries_by_run on tries (job, due);
"""


@dataclass(frozen=True, slots=True)
class Try:
    """One row. outcome: Running, Succeeded, Failed, Cancelled or Interrupted."""

    id: int
    action: str
    verb: str
    job: str | None
    vm: str | None
    vm_name: str
    place: str
    stamp: str | None
    due: datetime
    reason: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    outcome_reason: str
    why: str
    bytes: int


class Records:
    """The history file. Calls are asynchronous; SQLite works on a thread, one call at a time."""

    def __init__(self, path: Path | None, owner: str) -> None:
        """path: of the file; None keeps history in memory. owner: names this process' rows."""
        self._owner = owner
        self._turn = asyncio.Lock()
        self._connection = sqlite3.connect(path or ":memory:", check_same_thread=False)
        self._connection.executescript(_SCHEMA)

    async def begin(self, action: Action, at: datetime) -> int:
        """Write down that an action started; return the row for `end`."""
        row = _row_of(action, self._owner, at)
        columns = ", ".join(row)
        marks = ", ".join("?" for _ in row)

        def insert() -> int:
            cursor = self._connection.execute(
                f"insert into tries ({columns}) values ({marks})",
                tuple(row.values()),
            )
            self._connection.commit()
            return cursor.lastrowid or 0

        return await self._do(insert) or 0

    async def end(
        self, row: int, at: datetime, outcome: str, reason: str, why: str, count: int
    ) -> None:
        """Write down how it ended. count: bytes moved."""

        def update() -> None:
            self._connection.execute(
                "update tries set ended_at = ?, outcome = ?, outcome_reason = ?, why = ?, bytes = ?"
                " where id = ?",
                (_text(at), outcome, reason, why, count, row),
            )
            self._connection.commit()

        await self._do(update)

    async def close(self) -> None:
        await self._do(self._connection.close)

    async def _do(self, work: Callable[[], R]) -> R | None:
        """Work in turn. What cannot be written is said and forgotten: backups matter more."""
        async with self._turn:
            try:
                return await asyncio.to_thread(work)
            except sqlite3.Error as error:
                log.warning("history not written", why=str(error))
                return None


def read_tries(path: Path, live_owner: str | None, limit: int = 1000) -> list[Try]:
    """Read the newest rows of a history file, newest first.

    live_owner: owner of rows that may really be running; any other row without an end was
    interrupted.
    """
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute("select * from tries order by id desc limit ?", (limit,))
        return [_try_of(row, live_owner) for row in rows.fetchall()]


def _try_of(row: sqlite3.Row, live_owner: str | None) -> Try:
    open_end = "Running" if row["owner"] == live_owner else "Interrupted"
    return Try(
        id=row["id"],
        action=row["action"],
        verb=row["verb"],
        job=row["job"],
        vm=row["vm"],
        vm_name=row["vm_name"],
        place=row["place"],
        stamp=row["stamp"],
        due=datetime.fromisoformat(row["due"]),
        reason=row["reason"],
        started_at=datetime.fromisoformat(row["started_at"]),
        ended_at=datetime.fromisoformat(row["ended_at"]) if row["ended_at"] else None,
        outcome=row["outcome"] or open_end,
        outcome_reason=row["outcome_reason"],
        why=row["why"],
        bytes=row["bytes"],
    )


def _row_of(action: Action, owner: str, at: datetime) -> dict[str, str | None]:
    content = as_dict(action)
    return {
        "action": id_of(action),
        "verb": action.verb,
        "job": content.get("job"),
        "vm": content.get("vm"),
        "vm_name": action.vm_name,
        "place": content.get("remote") or content.get("pool"),
        "stamp": content.get("stamp"),
        "due": _text(action.due),
        "reason": action.reason,
        "content": json.dumps(content, sort_keys=True),
        "owner": owner,
        "started_at": _text(at),
    }


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()
