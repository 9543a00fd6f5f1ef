"""The pool as it changes: first everything there is, then batches of what changed since.

```
list    token from `event.from` on `pool`, all records of each class, then what changed meanwhile
          → one whole batch
poll    `event.from(classes, token, timeout)` for ever → a batch each time it answers
poke    cuts the running poll short and asks again at once, so that what we just did is seen
```

XAPI keeps deletions only in memory and only for a while, so a token is worth nothing across a new
session, a restarted toolstack or a lost event. Every such gap, and every count of objects that
does not come out right, leads back to *list*: a consumer never has to wonder what it missed.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.clock import Clock
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import BadAnswer, SessionLost, XapiFailure
from reconciler.xapi.login import Session
from reconciler.xapi.wire import Json

Record = Mapping[str, Json]
Classes = Mapping[str, frozenset[str] | None]
"""Class name (`VM`) to the fields that are wanted of it; None: all. The rest is dropped early."""

_GAPS = frozenset(
    {
        "EVENTS_LOST",
        "EVENT_FROM_TOKEN_PARSE_FAILURE",
        "SESSION_NOT_REGISTERED",
        "SESSION_INVALID",
        "HANDLE_INVALID",
    }
)
_POLL_S = 30.0
_PAUSE_S = 0.2
"""Between two polls: changes come in flocks, and one answer can hold them all."""
_EVENTS_MAX = 2_000_000
_GAPS_MAX = 5
"""Gaps in a row, without one good poll between them, after which the pool is given up."""
_RECOUNTS_MAX = 3
"""A class whose count was off so often is not counted any more: the count means something else."""


@dataclass(frozen=True, slots=True)
class Change:
    """One object as it now is. record: None if it is gone."""

    class_name: str
    ref: str
    record: Record | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes that belong together.

    whole: these are all objects there are, and whatever was known before is void. as_of: all that
    was true before this instant (of the clock that was given) is in here or in an earlier batch.
    """

    changes: tuple[Change, ...]
    whole: bool
    as_of: datetime


class Gap(Exception):
    """Something may have been missed. Never leaves this module."""


def follow(
    client: XapiClient,
    classes: Classes,
    clock: Clock,
    *,
    poll_s: float = _POLL_S,
    pause_s: float = _PAUSE_S,
) -> "Follower":
    """Follow objects of these classes; iterate over `batches()`. See the module's head."""
    return Follower(client, classes, clock, poll_s, pause_s)


class Follower:
    """A source of batches, without end. Iterate over `batches()`, once.

    Raises XapiError when the pool cannot be asked; begin anew with another `follow` then.
    """

    def __init__(
        self, client: XapiClient, classes: Classes, clock: Clock, poll_s: float, pause_s: float
    ) -> None:
        self._client = client
        self._classes = dict(classes)
        self._names = {name.lower(): name for name in classes}
        self._clock = clock
        self._poll_s = poll_s
        self._pause_s = pause_s
        self._token = ""
        self._refs: dict[str, set[str]] = {}
        self._uncounted: set[str] = set()
        self._recounts: Counter[str] = Counter()
        self._poked = False
        self._resting: asyncio.Timeout | None = None

    def poke(self) -> None:
        """Have the pool asked again now. Any number of times, from the same event loop."""
        self._poked = True
        resting, self._resting = self._resting, None  # a rest is cut short once
        if resting is not None:
            resting.reschedule(asyncio.get_running_loop().time())

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield batches for ever. Close the generator when done with it (contextlib.aclosing)."""
        gaps = 0
        while True:
            try:
                session = await self._client.session()
                yield await self._list(session)
                while True:
                    yield await self._poll(session)
                    gaps = 0
            except (Gap, SessionLost, XapiFailure) as error:
                if isinstance(error, XapiFailure) and error.code not in _GAPS:
                    raise
                gaps += 1
                if gaps > _GAPS_MAX:
                    why = str(error) or "what it says it has is not what it lists"
                    raise BadAnswer(f"the pool's events cannot be followed: {why}") from error
                await asyncio.sleep(self._pause_s * gaps)

    async def _list(self, session: Session) -> Batch:
        """Read everything. The last step is a poll, so that the parts fit one another."""
        self._refs = {}
        self._token = ""
        answer = await self._from(session, ["pool"], 0.0)
        self._token = _token(answer)
        changes: dict[tuple[str, str], Change] = {}
        for name in self._classes:
            records = await self._client.call(f"{name}.get_all_records")
            if not isinstance(records, dict):
                raise BadAnswer(f"{name}.get_all_records: no map of records")
            for ref, record in records.items():
                changes[name, ref] = Change(name, ref, self._cropped(name, record))
            self._refs[name] = set(records)
        as_of, late, counts = await self._changes(session, 0.0)
        changes.update({(change.class_name, change.ref): change for change in late})
        self._note(late)
        # a count that is off right after reading everything says that it counts something else
        self._uncounted = {
            *self._miscounted(counts),
            *(name for name, times in self._recounts.items() if times > _RECOUNTS_MAX),
        }
        present = tuple(change for change in changes.values() if change.record is not None)
        return Batch(present, whole=True, as_of=as_of)

    async def _poll(self, session: Session) -> Batch:
        answered = await self._rest(session)
        while answered is None:  # poked: what was asked before may lack what we were poked for
            self._poked = False
            answered = await self._changes(session, 0.0)
        as_of, changes, counts = answered
        self._note(changes)
        if missed := set(self._miscounted(counts)) - self._uncounted:
            self._recounts.update(missed)
            raise Gap
        return Batch(changes, whole=False, as_of=as_of)

    async def _rest(
        self, session: Session
    ) -> tuple[datetime, tuple[Change, ...], Mapping[str, Json]] | None:
        """Pause, then poll until something changes or the time is over; None if poked."""
        if self._poked:
            return None
        try:
            async with asyncio.timeout(None) as self._resting:
                await asyncio.sleep(self._pause_s)
                return await self._changes(session, self._poll_s)
        except TimeoutError:
            return None
        finally:
            self._resting = None

    async def _changes(
        self, session: Session, timeout_s: float
    ) -> tuple[datetime, tuple[Change, ...], Mapping[str, Json]]:
        if not self._client.is_current(session):
            raise Gap  # somebody logged in anew: the token is of another life
        as_of = self._clock.now()
        answer = await self._from(session, [*self._classes], timeout_s)
        token = _token(answer)
        events = answer.get("events")
        if not isinstance(events, list) or len(events) > _EVENTS_MAX:
            raise BadAnswer("event.from: no list of events")
        changes = tuple(change for event in events if (change := self._change(event)) is not None)
        counts = answer.get("valid_ref_counts")
        self._token = token
        return as_of, changes, counts if isinstance(counts, dict) else {}

    async def _from(self, session: Session, classes: list[str], timeout_s: float) -> Record:
        names: list[Json] = [*classes]
        answer = await self._client.call_in_session(
            session, "event.from", names, self._token, timeout_s
        )
        if not isinstance(answer, dict):
            raise BadAnswer("event.from: no batch of events")
        return answer

    def _change(self, event: Json) -> Change | None:
        """One event as a change; None for what was not asked for or cannot be understood."""
        if not isinstance(event, dict):
            raise Gap
        kind, ref, operation = event.get("class"), event.get("ref"), event.get("operation")
        if not (isinstance(kind, str) and isinstance(ref, str)):
            raise Gap
        name = self._names.get(kind.lower())
        if name is None:
            return None
        if operation == "del":
            return Change(name, ref, None)
        return Change(name, ref, self._cropped(name, event.get("snapshot")))

    def _cropped(self, name: str, record: Json) -> Record:
        """The wanted fields of a record. A record that is none has no fields: whoever parses it
        will say so, by name."""
        if not isinstance(record, dict):
            return {}
        wanted = self._classes[name]
        if wanted is None:
            return record
        return {key: value for key, value in record.items() if key in wanted}

    def _note(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            refs = self._refs.setdefault(change.class_name, set())
            if change.record is None:
                refs.discard(change.ref)
            else:
                refs.add(change.ref)

    def _miscounted(self, counts: Mapping[str, Json]) -> list[str]:
        """Classes of which the pool counts other than we do."""
        wrong = []
        for name in self._classes:
            count: Json = None
            with contextlib.suppress(TypeError, ValueError):
                count = int(str(counts.get(name.lower())))
            if count is not None and count != len(self._refs.get(name, ())):
                wrong.append(name)
        return wrong


def _token(answer: Record) -> str:
    token = answer.get("token")
    if not isinstance(token, str) or not token:
        raise BadAnswer("event.from: no token")
    return token
