"""What changed since when: `event.from` with tokens, and the legacy `register` and `next`.

At most one event per object and call: it carries the record as of now and says `add` if the
object is younger than the caller's token, `mod` if it was there before. The generation of the
database is the clock; a token is two of them, `%020d,%020d` (database, messages).
"""

import re
import time
from collections.abc import Callable, Iterator

from reconciler.lab.database import Database, Row
from reconciler.lab.failures import Failure
from reconciler.lab.schema import TABLES
from reconciler.lab.sessions import Sessions
from reconciler.lab.settings import Settings
from reconciler.lab.values import Record

_TOKEN = re.compile(r"(\d{1,20}),(\d{1,20})")
_TIMEOUT_MAX_S = 3600.0


def token_of(generation: int) -> str:
    return f"{generation:020d},{generation:020d}"


class Subscription:
    """The classes and single objects that a caller asked for."""

    def __init__(self, classes: list[str]) -> None:
        self._classes: set[str] = set()
        self._objects: set[tuple[str, str]] = set()
        self._everything = False
        for name in classes:
            lowered, _, ref = name.partition("/")
            lowered = lowered.lower()
            if not lowered:
                raise Failure("EVENT_SUBSCRIPTION_PARSE_FAILURE", name)
            if lowered == "*" and not ref:
                self._everything = True
            elif ref:
                self._objects.add((lowered, ref))
            else:
                self._classes.add(lowered)

    def wants(self, class_name: str, ref: str) -> bool:
        lowered = class_name.lower()
        return self._everything or lowered in self._classes or (lowered, ref) in self._objects

    @property
    def only_tasks(self) -> bool:
        """Such callers are answered at once, without gathering more."""
        return (
            not self._everything
            and self._classes <= {"task"}
            and all(class_name == "task" for class_name, _ in self._objects)
        )


class Events:
    """The event calls of one pool."""

    def __init__(self, database: Database, sessions: Sessions, settings: Settings) -> None:
        self._database = database
        self._sessions = sessions
        self._settings = settings
        self._registered: dict[str, tuple[set[str], int]] = {}
        self.stopped: Callable[[], bool] = lambda: False

    def listen(self, session: str, classes: list[str], token: str, timeout_s: float) -> Record:
        """`event.from`: wait until something matches or the time is up.

        Raises:
            Failure: for a token or class that cannot be read, a session that ended meanwhile,
                or a token older than the deletions still known.
        """
        subscription = Subscription(classes)
        since = self._generation(token)
        deadline = time.monotonic() + min(max(0.0, timeout_s), _TIMEOUT_MAX_S)
        gathered = subscription.only_tasks
        with self._database.changed:
            while True:
                if not self._sessions.alive(session):
                    raise Failure("SESSION_INVALID", session)
                events = self._since(subscription, since)
                left = deadline - time.monotonic()
                if (events and gathered) or left <= 0 or self.stopped():
                    return self._reply(events)
                if events:
                    gathered = True
                    # Others go on meanwhile: waiting on the condition gives the lock away.
                    self._gather(min(left, self._settings.event_batch_s))
                else:
                    self._database.changed.wait(left)

    def _gather(self, span_s: float) -> None:
        until = time.monotonic() + span_s
        while (left := until - time.monotonic()) > 0:
            self._database.changed.wait(left)

    def _generation(self, token: str) -> int | None:
        if token == "":
            return None
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise Failure("EVENT_FROM_TOKEN_PARSE_FAILURE", token)
        generation = int(match[1])
        if generation < self._database.forgotten and self._database.tombstones:
            raise Failure("EVENTS_LOST")
        return generation

    def _since(self, subscription: Subscription, since: int | None) -> list[Record]:
        rows: list[Row] = []
        for row in reversed(self._database.recent.values()):
            if since is not None and row.modified <= since:
                break
            if row.table.evented and subscription.wants(row.table.name, row.ref):
                rows.append(row)
        rows.reverse()
        after = -1 if since is None else since
        added = [_event(row, "add") for row in rows if row.created > after]
        changed = [_event(row, "mod") for row in rows if row.created <= after]
        return [*added, *changed, *self._deleted(subscription, since)]

    def _deleted(self, subscription: Subscription, since: int | None) -> Iterator[Record]:
        if since is None:
            return
        for dead in reversed(self._database.tombstones):
            if dead.deleted <= since:
                return
            known = dead.created <= since
            evented = TABLES[dead.class_name].evented
            if known and evented and subscription.wants(dead.class_name, dead.ref):
                yield {
                    "id": str(dead.deleted),
                    "timestamp": "0.0",
                    "class": dead.class_name.lower(),
                    "operation": "del",
                    "ref": dead.ref,
                }

    def _reply(self, events: list[Record]) -> Record:
        counts = {
            name.lower(): len(rows)
            for name, rows in self._database.tables.items()
            if name != "message"
        }
        return {
            "events": events,
            "valid_ref_counts": counts,
            "token": token_of(self._database.generation),
        }

    def inject(self, class_name: str, ref: str) -> str:
        """A token from just before a change that is made up for this object."""
        if class_name not in self._database.tables:
            raise Failure("HANDLE_INVALID", class_name, ref)
        with self._database.transaction():
            row = self._database.row(class_name, ref)
            token = token_of(self._database.generation)
            self._database.touch(row)
        return token

    # -- legacy -----------------------------------------------------------------------------------

    def register(self, session: str, classes: list[str]) -> None:
        with self._database.changed:
            known, since = self._registered.get(session, (set(), self._database.generation))
            self._registered[session] = (known | set(classes), since)

    def unregister(self, session: str, classes: list[str]) -> None:
        with self._database.changed:
            known, since = self._registered.get(session, (set(), 0))
            left = known - set(classes)
            if left:
                self._registered[session] = (left, since)
            else:
                self._registered.pop(session, None)

    def next(self, session: str) -> list[Record]:
        """Block until something that the session registered for changes."""
        with self._database.changed:
            while True:
                if not self._sessions.alive(session):
                    self._registered.pop(session, None)
                    raise Failure("SESSION_INVALID", session)
                if session not in self._registered:
                    raise Failure("SESSION_NOT_REGISTERED", session)
                classes, since = self._registered[session]
                if since < self._database.forgotten and self._database.tombstones:
                    self._registered[session] = (classes, self._database.generation)
                    raise Failure("EVENTS_LOST")
                events = self._since(Subscription(sorted(classes)), since)
                if events or self.stopped():
                    self._registered[session] = (classes, self._database.generation)
                    return events
                self._database.changed.wait()

    def current_id(self) -> int:
        with self._database.changed:
            return self._database.generation

    def forget_all(self) -> None:
        with self._database.changed:
            self._registered.clear()


def _event(row: Row, operation: str) -> Record:
    return {
        "id": str(row.modified),
        "timestamp": "0.0",
        "class": row.table.name.lower(),
        "operation": operation,
        "ref": row.ref,
        "snapshot": row.record(),
    }
