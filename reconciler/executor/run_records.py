"""Runs, slots and log lines in the history file: what `get runs` and `logs` show.

Beside the tries (records.py) in one SQLite file. A run is opened once its slot has come, and closed
when nothing of it is left to do; a row that is open belongs to whoever holds the state directory's
lease, and without such a holder the run was interrupted. No decision ever reads any of it.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reconciler.executor.records import Records, Try, try_of
from reconciler.ids import JobName, RunId, ScheduleId
from reconciler.status.runs import NotedRun, RunState, Trigger
from reconciler.status.tally import failures_in_a_row

LINES_MAX = 200_000
"""Kept of the log; the oldest go first."""

SCHEMA = """
create table if not exists runs (
    id text primary key,           -- job/stamp
    job text not null,
    due text not null,
    cause text not null,           -- Scheduled, CatchUp, Requested
    state text not null,           -- as status.runs.RunState
    why text not null default '',
    vms integer not null default 0,
    owner text not null,
    opened_at text not null,
    closed_at text
);
create index if not exists runs_by_due on runs (due);
create table if not exists slots (
    job text not null,
    schedule text not null,
    at text not null,              -- the newest slot that was noticed
    primary key (job, schedule)
);
create table if not exists lines (
    id integer primary key,
    run text not null,
    at text not null,
    level text not null,
    event text not null,
    fields text not null           -- JSON
);
create index if not exists lines_by_run on lines (run, id);
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a run's log. fields: what the event is about."""

    id: int
    at: datetime
    level: str
    event: str
    fields: Mapping[str, Any]


class RunRecords:
    """Writes runs, slots and lines. What cannot be written is said once and forgotten."""

    def __init__(self, records: Records) -> None:
        self._records = records
        records.prepare(SCHEMA)

    async def open_rows(self) -> list[NotedRun]:
        """The runs that somebody before us left open: interrupted, until they go on."""

        def read(connection: sqlite3.Connection) -> list[NotedRun]:
            rows = connection.execute("select * from runs where closed_at is null").fetchall()
            return [_row_of(row, interrupted=True) for row in rows]

        return await self._records.do(read) or []

    async def last_ended(self) -> dict[JobName, NotedRun]:
        """The newest run of each job that has ended."""

        def read(connection: sqlite3.Connection) -> dict[JobName, NotedRun]:
            rows = connection.execute(  # of SQLite: the other columns are those of the newest row
                "select *, max(due) from runs where closed_at is not null group by job"
            ).fetchall()
            return {row.job: row for row in (_row_of(each, interrupted=False) for each in rows)}

        return await self._records.do(read) or {}

    async def failures_in_a_row(self) -> dict[JobName, int]:
        """How many of each job's newest runs failed, up to its last good one."""

        def read(connection: sqlite3.Connection) -> dict[JobName, int]:
            rows = connection.execute(
                "select job, state from runs where closed_at is not null order by due desc, id desc"
            )
            return failures_in_a_row((JobName(row["job"]), RunState(row["state"])) for row in rows)

        return await self._records.do(read) or {}

    async def put(self, row: NotedRun) -> None:
        """Write a run down as it stands now."""
        values = (
            row.id,
            row.job,
            _text(row.due),
            row.cause.value,
            row.state.value,
            row.why,
            row.vms,
            self._records.owner,
            _text(row.opened_at),
            None if row.closed_at is None else _text(row.closed_at),
        )

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "insert into runs (id, job, due, cause, state, why, vms, owner, opened_at,"
                " closed_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (id) do update set"
                " state = excluded.state, why = excluded.why, vms = excluded.vms,"
                " owner = excluded.owner, closed_at = excluded.closed_at",
                values,
            )

        await self._records.do(write)

    async def tries_of(self, run: RunId) -> list[Try]:
        """The tries of a run."""

        def read(connection: sqlite3.Connection) -> list[Try]:
            rows = connection.execute("select * from tries where run = ?", (run,)).fetchall()
            return [try_of(row, self._records.owner) for row in rows]

        return await self._records.do(read) or []

    async def slots(self) -> dict[tuple[JobName, ScheduleId], datetime]:
        """The newest slot of each schedule that was noticed, by this process or one before it."""

        def read(connection: sqlite3.Connection) -> dict[tuple[JobName, ScheduleId], datetime]:
            rows = connection.execute("select job, schedule, at from slots").fetchall()
            return {
                (JobName(row["job"]), ScheduleId(row["schedule"])): datetime.fromisoformat(
                    row["at"]
                )
                for row in rows
            }

        return await self._records.do(read) or {}

    async def note_slots(self, slots: Mapping[tuple[JobName, ScheduleId], datetime]) -> None:
        rows = [(job, schedule, _text(at)) for (job, schedule), at in slots.items()]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("insert or replace into slots values (?, ?, ?)", rows)

        await self._records.do(write)

    async def add_lines(self, lines: Iterable[tuple[str, datetime, str, str, str]]) -> None:
        """Append lines: run, instant, level, event, fields as JSON."""
        rows = [(run, _text(at), level, event, fields) for run, at, level, event, fields in lines]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "insert into lines (run, at, level, event, fields) values (?, ?, ?, ?, ?)", rows
            )
            connection.execute(
                "delete from lines where id <= (select max(id) from lines) - ?", (LINES_MAX,)
            )

        if rows:
            await self._records.do(write)


def read_runs(path: Path, live_owner: str | None, limit: int = 10_000) -> list[NotedRun]:
    """Read the newest runs, newest first. live_owner: as in `read_tries`."""
    with _reading(path) as connection:
        if not _has_runs(connection):
            return []
        rows = connection.execute(
            "select * from runs order by due desc, id desc limit ?", (limit,)
        ).fetchall()
    return [_row_of(row, interrupted=row["owner"] != live_owner) for row in rows]


def read_state(path: Path, run: str, live_owner: str | None) -> RunState | None:
    """Read how a run stands; None if it was not noted. live_owner: as in `read_tries`."""
    with _reading(path) as connection:
        if not _has_runs(connection):
            return None
        row = connection.execute("select * from runs where id = ?", (run,)).fetchone()
    return None if row is None else _row_of(row, interrupted=row["owner"] != live_owner).state


def read_lines(path: Path, run: str, after: int = 0, limit: int = 10_000) -> list[Line]:
    """Read a run's log, oldest first. after: id of the last line that is known."""
    with _reading(path) as connection:
        if not _has_runs(connection):
            return []
        rows = connection.execute(
            "select * from lines where run = ? and id > ? order by id limit ?", (run, after, limit)
        ).fetchall()
    return [
        Line(
            id=row["id"],
            at=datetime.fromisoformat(row["at"]),
            level=row["level"],
            event=row["event"],
            fields=json.loads(row["fields"]),
        )
        for row in rows
    ]


def _reading(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    return connection


def _has_runs(connection: sqlite3.Connection) -> bool:
    """Say whether the file is of a version that noted runs."""
    found = connection.execute("select 1 from sqlite_master where name = 'lines'").fetchone()
    return found is not None


def _row_of(row: sqlite3.Row, *, interrupted: bool) -> NotedRun:
    state = RunState(row["state"])
    is_open = row["closed_at"] is None
    return NotedRun(
        id=RunId(row["id"]),
        job=JobName(row["job"]),
        due=datetime.fromisoformat(row["due"]),
        cause=Trigger(row["cause"]),
        state=RunState.INTERRUPTED if is_open and interrupted else state,
        why=row["why"],
        vms=row["vms"],
        opened_at=datetime.fromisoformat(row["opened_at"]),
        closed_at=None if is_open else datetime.fromisoformat(row["closed_at"]),
    )


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat()
