"""Who is logged in. Sessions live in memory only: a toolstack restart drops every one."""

import hmac
import threading
import time
from collections.abc import Callable

from reconciler.lab.database import Database, Row
from reconciler.lab.failures import Failure
from reconciler.lab.settings import Settings
from reconciler.lab.values import instant, now

# `last_active` is refreshed this seldom, as in XAPI.
_REFRESH_S = 600.0


class Sessions:
    """Sessions of one pool, with XAPI's limits on number and age."""

    def __init__(self, database: Database, settings: Settings, user: str, password: str) -> None:
        self._database = database
        self._settings = settings
        self._user = user
        self._password = password
        self._last_used: dict[str, float] = {}
        self.clock: Callable[[], float] = time.monotonic

    def accepts(self, user: str, password: str) -> bool:
        return hmac.compare_digest(
            (user + "\0" + password).encode(), (self._user + "\0" + self._password).encode()
        )

    def require(self, user: str, password: str) -> None:
        """Refuse wrong credentials, after a while."""
        if not self.accepts(user, password):
            threading.Event().wait(self._settings.login_failure_delay_s)
            raise Failure("SESSION_AUTHENTICATION_FAILED", user, "Authentication failure")

    def login(self, user: str, password: str, originator: str, host: str) -> str:
        """A session reference; wrong credentials are answered late."""
        self.require(user, password)
        with self._database.transaction():
            self._evict(originator)
            row = self._database.create(
                "session",
                {
                    "this_host": host,
                    "last_active": now(),
                    "is_local_superuser": True,
                    "pool": False,
                    "validation_time": now(),
                    "auth_user_name": user,
                    "originator": originator,
                },
            )
            self._last_used[row.ref] = self.clock()
        return row.ref

    def _evict(self, originator: str) -> None:
        same = [r for r in self._database.rows("session") if r.text("originator") == originator]
        surplus = len(same) + 1 - self._settings.sessions_per_originator
        for row in same[: max(0, surplus)]:
            self.logout(row.ref)

    def check(self, ref: str) -> Row:
        """The session, refreshed; SESSION_INVALID if there is none."""
        with self._database.transaction():
            row = self._database.find("session", ref)
            if row is None:
                raise Failure("SESSION_INVALID", ref)
            used = self.clock()
            if used - self._last_used.get(ref, used) > self._settings.session_idle_s:
                self.logout(ref)
                raise Failure("SESSION_INVALID", ref)
            if used - self._last_used.get(ref, 0.0) > _REFRESH_S:
                self._database.set(row, last_active=instant(time.time()))
            self._last_used[ref] = used
        return row

    def alive(self, ref: str) -> bool:
        return self._database.find("session", ref) is not None

    def logout(self, ref: str) -> None:
        """Drop a session; whoever waits in event.from with it is woken."""
        with self._database.transaction():
            row = self._database.find("session", ref)
            if row is not None:
                self._database.destroy(row)
            self._last_used.pop(ref, None)

    def expire(self) -> None:
        """Housekeeping: drop the sessions that nobody used for a day."""
        limit = self.clock() - self._settings.session_idle_s
        for ref, used in list(self._last_used.items()):
            if used < limit:
                self.logout(ref)

    def drop_all(self) -> None:
        for row in self._database.rows("session"):
            self.logout(row.ref)
