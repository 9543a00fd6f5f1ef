"""Events: what `kubectl describe` shows below an object, told when something really changed.

One for each turn of Ready, Stalled and RPOMet to another status or reason, and one for the end of a
run; nothing for work that goes as it should, and nothing twice. There is a bound on how many are
made in a while: with ten thousand VMs and a dead remote, statuses say it all anyway. An event that
cannot be made is let go.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import structlog

from reconciler.clock import Clock
from reconciler.kube.api import FIELD_MANAGER, KubeApi
from reconciler.kube.errors import KubeError
from reconciler.kube.objects import Raw, conditions_in, identity_of
from reconciler.kube.resources import EVENTS
from reconciler.status.conditions import Condition, ConditionStatus, ConditionType
from reconciler.status.objects import ObjectStatus
from reconciler.status.runs import RunState

log = structlog.get_logger(__name__)

_TOLD = frozenset({ConditionType.READY, ConditionType.STALLED, ConditionType.RPO_MET})
_GOOD_ENDS = frozenset({RunState.SUCCEEDED, RunState.SKIPPED, RunState.CANCELLED})
_BURST = 50
_EVERY_S = 2.0  # once the burst is used up
_MESSAGE_BYTES_MAX = 1000  # the server refuses more than 1024


@dataclass(frozen=True, slots=True)
class News:
    """What an event tells of an object. raw: the object."""

    raw: Raw
    reason: str
    message: str
    is_bad: bool


class Events:
    """Tells news until cancelled. instance: which of several operators tells it."""

    def __init__(
        self, api: KubeApi, news: asyncio.Queue[News], clock: Clock, instance: str
    ) -> None:
        self._api = api
        self._news = news
        self._clock = clock
        self._instance = instance

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        left, since = float(_BURST), loop.time()
        while True:
            news = await self._news.get()
            now = loop.time()
            left, since = min(_BURST, left + (now - since) / _EVERY_S), now
            if left < 1:
                continue
            left -= 1
            event = event_of(news, self._clock.now(), self._instance)
            try:
                await self._api.create(EVENTS, event["metadata"]["namespace"], event)
            except KubeError as error:
                told = event["involvedObject"]
                name = f"{told['kind']}/{told['name']}"
                log.info("event not made", object=name, why=str(error))


def news_of(before: Raw, status: ObjectStatus) -> Iterator[News]:
    """Say what is news in a status. before: the object, with the status that it had."""
    known = {each.get("type"): each for each in conditions_in(before)}
    for condition in status.conditions:
        if _is_news(condition, known.get(condition.type.value)):
            of_which = "" if condition.type is ConditionType.READY else f"{condition.type.value}: "
            message = f"{of_which}{condition.message}"
            yield News(before, condition.reason.value, message, _is_bad(condition))
    run = status.fields.get("lastRun")
    had = (before.get("status") or {}).get("lastRun") or {}
    if isinstance(run, Mapping) and (run["name"], run["state"]) != (
        had.get("name"),
        had.get("state"),
    ):
        state = RunState(str(run["state"]))
        message = f"run {run['name']}" + (f": {run['message']}" if run.get("message") else "")
        yield News(before, f"Run{state.value}", message, state not in _GOOD_ENDS)


def _is_news(condition: Condition, before: Mapping[str, Any] | None) -> bool:
    """Say so of a turn, but not of all being well with what was never said to be otherwise."""
    if condition.type not in _TOLD:
        return False
    if before is None or before.get("status") == ConditionStatus.UNKNOWN:
        return _is_bad(condition) or condition.type is ConditionType.READY
    return (before.get("status"), before.get("reason")) != (condition.status, condition.reason)


def _is_bad(condition: Condition) -> bool:
    if condition.type is ConditionType.STALLED:
        return condition.status is ConditionStatus.TRUE
    return condition.status is ConditionStatus.FALSE


def event_of(news: News, now: datetime, instance: str) -> dict[str, Any]:
    """Write an Event of the core group, as all of kubectl reads them."""
    identity = identity_of(news.raw)
    stamp = f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {
        "metadata": {
            "name": f"{identity.name[:200]}.{uuid4().hex[:16]}",
            "namespace": identity.namespace,
        },
        "involvedObject": {
            "apiVersion": news.raw["apiVersion"],
            "kind": identity.kind,
            "namespace": identity.namespace,
            "name": identity.name,
            "uid": news.raw["metadata"]["uid"],
            "resourceVersion": news.raw["metadata"]["resourceVersion"],
        },
        "reason": news.reason,
        "message": news.message.encode()[:_MESSAGE_BYTES_MAX].decode(errors="ignore"),
        "type": "Warning" if news.is_bad else "Normal",
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": instance[:128],
    }
