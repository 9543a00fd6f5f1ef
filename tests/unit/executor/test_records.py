"""The history file: rows for people, of processes that may be gone."""

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.executor.records import Records, read_tries
from reconciler.ids import Stamp
from reconciler.plan.actions import Prune
from reconciler.plan.reasons import Reason

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)


async def test_a_try_is_read_back_as_it_ended(action: Prune, tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    records = Records(path, "me")
    row = records.new_row()
    await records.begin(row, action, NOW)
    end = NOW + timedelta(seconds=3)
    await records.end(row, end, "Failed", Reason.REMOTE_ERROR, "I/O error", 42)
    await records.close()
    (found,) = read_tries(path, None)
    assert (found.outcome, found.outcome_reason, found.why) == (
        "Failed",
        "RemoteError",
        "I/O error",
    )
    assert (found.started_at, found.ended_at, found.bytes) == (NOW, end, 42)
    assert found.vm_name == "web'; drop table tries; --"
    assert (found.place, found.stamp, found.due) == ("cellar", "20260101T020000Z", NOW)


async def test_a_row_without_an_end_is_running_only_while_its_owner_lives(
    action: Prune, tmp_path: Path
) -> None:
    path = tmp_path / "runs.sqlite"
    for owner, stamp in (("dead", "20260101T020000Z"), ("alive", "20260102T020000Z")):
        records = Records(path, owner)
        await records.begin(records.new_row(), replace(action, stamp=Stamp(stamp)), NOW)
        await records.close()
    outcomes = {row.stamp: row.outcome for row in read_tries(path, "alive")}
    assert outcomes == {"20260101T020000Z": "Interrupted", "20260102T020000Z": "Running"}


async def test_a_history_that_cannot_be_written_stops_nothing(
    action: Prune, tmp_path: Path
) -> None:
    path = tmp_path / "runs.sqlite"
    records = Records(path, "me")
    with sqlite3.connect(path) as other:
        other.execute("drop table tries")
    other.close()
    row = records.new_row()
    await records.begin(row, action, NOW)
    await records.end(row, NOW, "Succeeded", "", "", 1)
    await records.close()
