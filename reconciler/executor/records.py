"""What was done, when, and how it ended: a record for people. No decision ever reads it.

One row per try of an action, in SQLite: of the state directory, or of memory where there is none.
A row without an end belongs to whoever holds the state directory's lease; without such a holder
it was interrupted, and is shown so. Deleting the file loses history and nothing else.
"""

import asyncio
import itertools
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog

from reconciler.plan.actions import Action, id_of, run_of
from reconciler.plan.claims import sr_address
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
    place text not null,           -- remote, else pool:SR, else pool
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
    bytes integer not null default 0,
    total_bytes integer not null default 0,
    run text                       -- the run it belongs to
);
create index if not exists tries_by_run on tries (job, due);
"""
_LATER_COLUMNS = {"total_bytes": "integer not null default 0", "run": "text"}


@dataclass(frozen=True, slots=True)
class Try:
    """One row. outcome: Running, Succeeded, Failed, Cancelled, TimedOut or Interrupted.

    total_bytes: that are expected to move, 0 where that is not known.
    """

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
    total_bytes: int = 0
    run: str | None = None


class Records:
    """The history file. Calls are asynchronous; SQLite works on a thread, one call at a time."""

    def __init__(self, path: Path | None, owner: str) -> None:
        """path: of the file; None keeps history in memory. owner: names this process' rows."""
        self.owner = owner
        self._turn = asyncio.Lock()
        self._connection = sqlite3.connect(path or ":memory:", check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript(_SCHEMA)
        known = {row["name"] for row in self._connection.execute("pragma table_info(tries)")}
        for column, kind in _LATER_COLUMNS.items():
            if column not in known:
                self._connection.execute(f"alter table tries add column {column} {kind}")
        (last,) = self._connection.execute("select coalesce(max(id), 0) from tries").fetchone()
        self._numbers = itertools.count(int(last) + 1)

    def prepare(self, schema: str) -> None:
        """Make the tables of whoever shares the file. Called before anything is written."""
        self._connection.executescript(schema)

    def new_row(self) -> int:
        """Give the number of a row that is to be begun: known even if writing it is cut short."""
        return next(self._numbers)

    async def begin(self, row: int, action: Action, at: datetime) -> None:
        """Write down that an action started."""
        fields = {"id": row, **_row_of(action, self.owner, at)}
        columns = ", ".join(fields)
        marks = ", ".join("?" for _ in fields)

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(
                f"insert into tries ({columns}) values ({marks})", tuple(fields.values())
            )

        await self.do(insert)

    async def progress(self, rows: Mapping[int, tuple[int, int]]) -> None:
        """Write down how far running actions are: bytes moved and expected, by row."""

        def update(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "update tries set bytes = ?, total_bytes = ? where id = ? and ended_at is null",
                [(done, total, row) for row, (done, total) in rows.items()],
            )

        if rows:
            await self.do(update)

    async def end(
        self, row: int, at: datetime, outcome: str, reason: str, why: str, count: int
    ) -> None:
        """Write down how it ended. count: bytes moved."""

        def update(connection: sqlite3.Connection) -> None:
            connection.execute(
                "update tries set ended_at = ?, outcome = ?, outcome_reason = ?, why = ?, bytes = ?"
                " where id = ?",
                (_text(at), outcome, reason, why, count, row),
            )

        await self.do(update)

    async def close(self) -> None:
        async with self._turn:
            await asyncio.to_thread(self._connection.close)

    async def do(self, work: Callable[[sqlite3.Connection], R]) -> R | None:
        """Work in turn, in one transaction. What cannot be written is said and forgotten."""

        def transaction() -> R:
            with self._connection:  # commits, or rolls back
                return work(self._connection)

        async with self._turn:
            try:
                return await _to_its_end(transaction)
            except sqlite3.Error as error:
                log.warning("history not written", why=str(error))
                return None


async def _to_its_end(work: Callable[[], R]) -> R:
    """Work on a thread; when cancelled, first wait until it has ended: one at a time, always."""
    working = asyncio.get_running_loop().run_in_executor(None, work)
    is_cancelled = False
    while not working.done():
        try:
            await asyncio.wait({working})
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled:
        working.exception()  # fetched, so that nobody is told it was lost
        raise asyncio.CancelledError
    return working.result()


def read_tries(path: Path, live_owner: str | None, limit: int = 1000) -> list[Try]:
    """Read the newest rows of a history file, newest first.

    live_owner: owner of rows that may really be running; any other row without an end was
    interrupted.
    """
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute("select * from tries order by id desc limit ?", (limit,))
        return [try_of(row, live_owner) for row in rows.fetchall()]


def try_of(row: sqlite3.Row, live_owner: str | None) -> Try:
    """Read one row of the table. live_owner: as in `read_tries`."""
    columns = row.keys()
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
        total_bytes=row["total_bytes"] if "total_bytes" in columns else 0,
        run=row["run"] if "run" in columns else None,
    )


def _row_of(action: Action, owner: str, at: datetime) -> dict[str, str | None]:
    content = as_dict(action)
    return {
        "action": id_of(action),
        "verb": action.verb,
        "job": content.get("job"),
        "vm": content.get("vm"),
        "vm_name": action.vm_name,
        "place": _place_of(content),
        "stamp": content.get("stamp"),
        "due": _text(action.due),
        "reason": action.reason,
        "content": json.dumps(content, sort_keys=True),
        "owner": owner,
        "started_at": _text(at),
        "run": run_of(action),
    }


def _place_of(content: Mapping[str, Any]) -> str | None:
    if content.get("remote"):
        return str(content["remote"])
    if content.get("sr"):
        return sr_address(content["target_pool"], content["sr"], content.get("sr_name", ""))
    return content.get("pool")


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()
