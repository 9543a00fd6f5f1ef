"""Events: what `kubectl describe` shows below an object, told when a condition really turned.

One for each turn of Ready, Stalled and RPOMet to another status or reason; nothing for work that
goes as it should, and nothing twice. There is a bound on how many are made in a while: with ten
thousand VMs and a dead remote, statuses say it all anyway. An event that cannot be made is let go.
"""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import structlog

from reconciler.clock import Clock
from reconciler.kube.api import FIELD_MANAGER, KubeApi, Raw
from reconciler.kube.errors import KubeError
from reconciler.kube.publish import Turned
from reconciler.kube.resources import EVENTS
from reconciler.status.conditions import Condition, ConditionStatus, ConditionType

log = structlog.get_logger(__name__)

_TOLD = frozenset({ConditionType.READY, ConditionType.STALLED, ConditionType.RPO_MET})
_BURST = 50
_EVERY_S = 2.0  # once the burst is used up
_MESSAGE_MAX = 1000  # characters; the server refuses more than 1024 bytes of it


class Events:
    """Tells of what turned until cancelled. instance: which of several operators tells it."""

    def __init__(
        self, api: KubeApi, turned: asyncio.Queue[Turned], clock: Clock, instance: str
    ) -> None:
        self._api = api
        self._turned = turned
        self._clock = clock
        self._instance = instance

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        left, since = float(_BURST), loop.time()
        while True:
            turned = await self._turned.get()
            if not is_told(turned):
                continue
            now = loop.time()
            left, since = min(_BURST, left + (now - since) / _EVERY_S), now
            if left < 1:
                continue
            left -= 1
            try:
                event = event_of(turned, self._clock.now(), self._instance)
                await self._api.create(EVENTS, turned.identity.namespace, event)
            except KubeError as error:
                log.info("event not made", object=str(turned.identity), why=str(error))


def is_told(turned: Turned) -> bool:
    """Say whether it is news: not that all is well with what was never said to be otherwise."""
    if turned.after.type not in _TOLD:
        return False
    if turned.before is None or turned.before.get("status") == ConditionStatus.UNKNOWN:
        return _is_bad(turned.after) or turned.after.type is ConditionType.READY
    return True


def event_of(turned: Turned, now: datetime, instance: str) -> Raw:
    """Write an Event of the core group, as all of kubectl reads them."""
    identity, raw, condition = turned.identity, turned.raw, turned.after
    message = condition.message.encode()[:_MESSAGE_MAX].decode(errors="ignore")
    stamp = f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {
        "metadata": {
            "name": f"{identity.name[:200]}.{uuid4().hex[:16]}",
            "namespace": identity.namespace,
        },
        "involvedObject": {
            "apiVersion": raw["apiVersion"],
            "kind": identity.kind,
            "namespace": identity.namespace,
            "name": identity.name,
            "uid": raw["metadata"]["uid"],
            "resourceVersion": raw["metadata"]["resourceVersion"],
        },
        "reason": condition.reason.value,
        "message": message
        if condition.type is ConditionType.READY
        else f"{condition.type.value}: {message}",
        "type": "Warning" if _is_bad(condition) else "Normal",
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": instance[:128],
    }


def _is_bad(condition: Condition) -> bool:
    if condition.type is ConditionType.STALLED:
        return condition.status is ConditionStatus.TRUE
    return condition.status is ConditionStatus.FALSE
