"""Where the database lies on disk: one sqlite file, one row per object or document, as JSON.

A commit is one sqlite transaction in write-ahead mode, so a killed process never leaves half of
it. `synchronous=OFF` is enough for that: only a crash of the machine itself could lose the last
commits, and a lab is allowed to.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator

from reconciler.lab.values import Value


class Store:
    """Objects by (kind, key). Not locked: the database's lock protects every call."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS objects "
            "(kind TEXT, key TEXT, value TEXT, PRIMARY KEY (kind, key))"
        )

    def load(self) -> Iterator[tuple[str, str, dict[str, Value]]]:
        """Every stored (kind, key, value), in the order in which they were first saved."""
        rows = self._connection.execute("SELECT kind, key, value FROM objects ORDER BY rowid")
        for kind, key, text in rows:
            yield kind, key, json.loads(text)

    def save(
        self,
        changed: Iterable[tuple[str, str, dict[str, Value]]],
        removed: Iterable[tuple[str, str]],
    ) -> None:
        """Write all of it, or, if the process dies, none of it."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(
                "INSERT INTO objects VALUES (?, ?, ?) "
                "ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
                [(kind, key, json.dumps(value)) for kind, key, value in changed],
            )
            connection.executemany("DELETE FROM objects WHERE kind=? AND key=?", list(removed))
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()
