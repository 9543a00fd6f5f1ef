"""A pool to call: one session, kept; the master, followed; every call bounded.

What a caller may rely on:

* A call that returns was carried out. `Unreachable`, `SessionLost` and `XapiFailure` mean that it
  was not; `OutcomeUnknown` that nobody knows.
* Only calls that are idempotent (reads and setters) are ever sent twice.
* At most `CALLS_MAX` calls are under way at once; long polls have a lane of their own.
* Neither the password nor a session reference appears in an error or a repr.

Long waits here are the network's, so they pass in real time, not by the reconciler's clock.
"""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from reconciler.xapi.deadlines import (
    Deadlines,
    answer_bytes_max,
    changes_the_pool,
    is_idempotent,
)
from reconciler.xapi.endpoint import Endpoint, parse_host, parse_url
from reconciler.xapi.errors import (
    BadAnswer,
    CredentialsInvalid,
    HostIsSlave,
    NotPermitted,
    OutcomeUnknown,
    SessionLost,
    Unreachable,
    XapiError,
    XapiFailure,
)
from reconciler.xapi.login import Pause, Session, log_in, pause_for_real
from reconciler.xapi.threads import Threads
from reconciler.xapi.transport import AnswerLost, Transport
from reconciler.xapi.trust import Trust
from reconciler.xapi.wire import Json, decode_answer, encode_call

CALLS_MAX = 20
ORIGINATOR = "reconciler"
_REFUSED_S = 300.0
"""A refused password is not sent again for so long, unless it changes."""
_LEARN_S = 10.0


class XapiClient:
    """One pool. Use as a context manager, or `close` at the end; connects at the first call.

    urls: of hosts, tried in order. password: asked for at each login, so that it can be renewed.
    transfers_max: disk streams that are to move at once. permit: asked right before anything that
    changes the pool is sent; what it refuses raises NotPermitted. None: it always may be.
    """

    def __init__(
        self,
        urls: Iterable[str],
        username: str,
        password: Callable[[], str],
        trust: Trust | None = None,
        deadlines: Deadlines | None = None,
        *,
        transfers_max: int = 12,
        permit: Callable[[], bool] | None = None,
        pause: Pause = pause_for_real,
    ) -> None:
        """Raises ValueError on a url that is none."""
        self.deadlines = deadlines or Deadlines()
        self.threads = Threads(transfers_max)
        self._configured = [parse_url(url) for url in urls]
        if not self._configured:
            raise ValueError("a pool needs at least one url")
        self._username = username
        self._password = password
        self._trust = trust or Trust()
        self._transport = Transport(self._trust, self.deadlines)
        self._permit = permit
        self._pause = pause
        self._session: Session | None = None
        self._epochs = itertools.count(1)
        self._call_ids = itertools.count(1)
        self._logging_in = asyncio.Lock()
        self._lane = asyncio.Semaphore(CALLS_MAX)
        self._master: Endpoint | None = None
        self._members: frozenset[str] = frozenset()
        self._refused: tuple[bytes, float, CredentialsInvalid] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"XapiClient({', '.join(endpoint.url for endpoint in self._configured)})"

    async def __aenter__(self) -> "XapiClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def transport(self) -> Transport:
        return self._transport

    @property
    def master(self) -> Endpoint:
        """Where the master was last met; before the first login, the first configured host."""
        return self._master or self._configured[0]

    async def call(self, method: str, *params: Json, deadline_s: float | None = None) -> Any:
        """Call `Class.message` with `params` (the session is put in front) and return its result.

        Its type is what the method says it is, which only the caller knows: JSON's, in any case.
        Raises XapiError: see the table in errors.py.
        """
        async with self._lane:
            return await self._call(method, params, deadline_s)

    async def call_in_session(self, session: Session, method: str, *params: Json) -> Json:
        """Call in exactly this session, outside the limit: for long polls, whose token is the
        session's. Raises SessionLost when it is over, instead of logging in again."""
        try:
            return await self._exchange(session, method, params)
        except AnswerLost as error:
            raise Unreachable(f"{method}: {error}") from error

    def expect_permit(self, what: str) -> None:
        """Raise NotPermitted unless we may change the pool right now."""
        if self._permit is not None and not self._permit():
            raise NotPermitted(what)

    async def session(self) -> Session:
        """The present session, logging in if there is none. Raises XapiError."""
        if self._session is not None:
            return self._session
        async with self._logging_in:
            if self._session is None:
                self._session = await self._log_in()
                await self._learn_members(self._session)
            return self._session

    def is_current(self, session: Session) -> bool:
        """Whether this is still the session that calls are made in."""
        return self._session is session

    def drop(self, session: Session) -> None:
        """Say that this session is over; the next call logs in. Later sessions are not touched."""
        if self._session is session:
            self._session = None

    async def is_member(self, host: str, *, afresh: bool = False) -> bool:
        """Whether an address belongs to a host of this pool. Raises XapiError.

        The master is asked if the address is not known yet, or, so that a renewed certificate is
        learned too, if the answer is wanted `afresh`.
        """
        try:
            address = parse_host(host)
        except ValueError:
            return False
        if afresh or address not in self._members:
            await self._learn_members(await self.session())
        return address in self._members

    async def close(self) -> None:
        """Log out, cut transfers and let connections go. Never raises for what the pool says."""
        self._closed = True
        session, self._session = self._session, None
        self.threads.close()
        if session is not None:
            with contextlib.suppress(XapiError, TimeoutError):
                async with asyncio.timeout(self.deadlines.close_s):
                    await self._exchange(session, "session.logout", ())
        await self._transport.close()

    async def _call(self, method: str, params: tuple[Json, ...], deadline_s: float | None) -> Json:
        tries_left = 2
        while True:
            tries_left -= 1
            session = await self.session()
            try:
                return await self._exchange(session, method, params, deadline_s)
            except HostIsSlave as slave:  # refused before anything was done: may be repeated
                self._follow(session, slave)
                if not tries_left:
                    raise
            except SessionLost:
                self.drop(session)
                if not is_idempotent(method):
                    raise OutcomeUnknown(method, "the session was lost") from None
                if not tries_left:
                    raise
            except Unreachable:  # surely not sent: another host may be the master by now
                self.drop(session)
                if not tries_left:
                    raise
            except (AnswerLost, BadAnswer) as error:
                if not is_idempotent(method):
                    raise OutcomeUnknown(method, str(error)) from error
                if isinstance(error, BadAnswer):
                    raise
                if not tries_left:
                    raise Unreachable(f"{method}: {error}") from error

    async def _exchange(
        self,
        session: Session,
        method: str,
        params: tuple[Json, ...],
        deadline_s: float | None = None,
    ) -> Json:
        if changes_the_pool(method):
            self.expect_permit(method)
        seconds = self.deadlines.of_call(method, params) if deadline_s is None else deadline_s
        try:
            return await self._post(
                session.endpoint, method, (session.ref, *params), seconds, (session.ref,)
            )
        except XapiFailure as failure:
            if failure.code == "SESSION_INVALID" or (
                failure.code == "HANDLE_INVALID" and failure.params[:1] == ("session",)
            ):
                self.drop(session)
                raise SessionLost(f"{method}: the session is over") from failure
            raise

    async def _post(
        self,
        endpoint: Endpoint,
        method: str,
        params: tuple[Json, ...],
        deadline_s: float,
        secrets: tuple[str, ...],
    ) -> Json:
        if self._closed and method != "session.logout":
            raise Unreachable(f"{method}: this connection was closed")
        call_id = next(self._call_ids)
        body = encode_call(method, params, call_id)
        answer = await self._transport.post(endpoint, body, deadline_s, answer_bytes_max(method))
        return decode_answer(answer, method, call_id, secrets)

    def _follow(self, session: Session, slave: HostIsSlave) -> None:
        self.drop(session)
        with contextlib.suppress(ValueError):
            self._master = session.endpoint.at(slave.master)

    async def _log_in(self) -> Session:
        try:
            password = self._password()
        except (OSError, LookupError, ValueError) as error:
            raise CredentialsInvalid(f"the password cannot be read: {error}") from error
        fingerprint = hashlib.sha256(password.encode()).digest()
        now = asyncio.get_running_loop().time()
        if self._refused is not None:
            refused, until, refusal = self._refused
            if refused == fingerprint and now < until:
                raise CredentialsInvalid(*refusal.args)
        try:
            ref, endpoint = await log_in(
                self._candidates(),
                lambda at: self._try_login(at, password),
                self.deadlines.booting_s,
                self._pause,
            )
        except CredentialsInvalid as error:
            self._refused = (fingerprint, now + _REFUSED_S, error)
            raise
        self._refused = None
        self._master = endpoint
        return Session(ref, endpoint, next(self._epochs))

    def _candidates(self) -> list[Endpoint]:
        known = [] if self._master is None else [self._master]
        shape = self._master or self._configured[0]
        learned = [shape.at(address) for address in sorted(self._members)]
        return [*known, *self._configured, *learned]

    async def _try_login(self, endpoint: Endpoint, password: str) -> str:
        method = "session.login_with_password"
        params = (self._username, password, "1.0", ORIGINATOR)
        try:
            ref = await self._post(endpoint, method, params, self.deadlines.login_s, (password,))
        except AnswerLost as error:
            raise Unreachable(f"{method}: {error}") from error
        if not isinstance(ref, str) or not ref:
            raise BadAnswer(f"{method}: the session is not a reference")
        return ref

    async def _learn_members(self, session: Session) -> None:
        """Note the hosts' addresses (for redirects, and for the day the master is gone), and, if
        certificates are pinned, the certificate of each. Best effort: without it, less is known."""
        with contextlib.suppress(XapiError, TimeoutError):
            async with asyncio.timeout(_LEARN_S):
                records = await self._exchange(session, "host.get_all_records", ())
                hosts = _addresses(records)
                self._members = frozenset(hosts.values())
                pins = self._trust.pins
                if pins is None or len(hosts) < 2 or not session.endpoint.tls:
                    return
                for ref, address in hosts.items():
                    await self._learn_certificate(session, ref, address)

    async def _learn_certificate(self, session: Session, ref: str, address: str) -> None:
        with contextlib.suppress(XapiFailure, ValueError):
            pem = await self._exchange(session, "host.get_server_certificate", (ref,))
            if self._trust.pins is not None and isinstance(pem, str):
                self._trust.pins.learn(address, pem)


def _addresses(records: Json) -> dict[str, str]:
    """Host reference to address, of those that make sense."""
    found = {}
    if isinstance(records, dict):
        for ref, record in records.items():
            if isinstance(record, dict) and isinstance(address := record.get("address"), str):
                with contextlib.suppress(ValueError):
                    found[ref] = parse_host(address)
    return found
