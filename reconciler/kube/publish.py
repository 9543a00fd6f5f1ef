"""Reports to the status of each object, through its subresource, and only when the truth changed.

What an object's status says already is compared with what it should say, so that a second tick at
rest writes nothing, and nothing has to be remembered over a restart. Conditions of other writers
are left as they are. Never the spec, never an annotation. What fails is tried again later: a status
that is late does no harm.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from reconciler.clock import Clock
from reconciler.desired.document import Identity
from reconciler.desired.envelope import ANNOTATIONS, APPROVE_PLAN, CANCEL, RECONCILE, RUN_AT
from reconciler.ids import JobName
from reconciler.kube.api import KubeApi
from reconciler.kube.errors import Busy, Conflict, KubeError, Missing, Unreachable
from reconciler.kube.events import News, news_of
from reconciler.kube.listening import Listening
from reconciler.kube.objects import Raw, conditions_in, is_recorded, version_of
from reconciler.kube.resources import resource_of
from reconciler.kube.shelf import Read, Shelved
from reconciler.kube.status_patch import status_patch
from reconciler.latest import Latest
from reconciler.status.conditions import ConditionType
from reconciler.status.objects import COARSE, ObjectStatus, object_statuses
from reconciler.status.report import Report
from reconciler.status.runs import NotedRun
from reconciler.units import parse_size

log = structlog.get_logger(__name__)

_WRITES_AT_ONCE = 8
_WRITES_PER_ROUND = 200  # so that what was overtaken by the truth is not written any more
_PAUSE_S = 1.0  # between rounds: however fast reports come, an object is written once per second
_RETRY_S = 5.0
_REFUSED_RETRY_S = 60.0  # what the server does not accept it will not accept in a moment
_HANDLED = {
    RUN_AT: "lastHandledRunAt",
    RECONCILE: "lastHandledReconcileAt",
    CANCEL: "lastHandledCancel",
    APPROVE_PLAN: "lastHandledApproval",
}
assert _HANDLED.keys() == set(ANNOTATIONS), "every request is answered"


class Publisher:
    """Follows reports until cancelled. news: of what was written, for events. settled: set while
    nothing is left to be written.
    """

    def __init__(
        self,
        api: KubeApi,
        listening: Listening,
        shelved: Latest[Shelved],
        report: Latest[Report | None],
        ended: Latest[Mapping[JobName, NotedRun]],
        clock: Clock,
    ) -> None:
        self.news: asyncio.Queue[News] = asyncio.Queue(maxsize=1000)
        self.settled = asyncio.Event()
        self._api = api
        self._listening = listening
        self._shelved = shelved
        self._report = report
        self._ended = ended
        self._clock = clock
        self._not_before: dict[Identity, float] = {}
        self._written: dict[Identity, Raw] = {}
        self._said: tuple[
            Report | None,
            Mapping[JobName, NotedRun],
            Sequence[Identity],
            Mapping[Identity, ObjectStatus],
        ] = (None, {}, (), {})

    async def run(self) -> None:
        """Write what is to be written, for ever."""
        bell = asyncio.Event()
        for mailbox in (self._report, self._shelved, self._listening.objects, self._ended):
            mailbox.ring(bell)
        while True:
            bell.clear()
            self.settled.clear()
            if await self._round():
                continue  # with what is true by now: a report may have come meanwhile
            self.settled.set()
            await asyncio.sleep(_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S if self._not_before else None):
                    await bell.wait()

    async def _round(self) -> bool:
        """Write some of what is to be written; say whether there is more."""
        report, shelved = self._report.value, self._shelved.value
        objects = self._listening.objects.value
        if report is None or objects is None or report.desired is not shelved.desired:
            return False  # another report is on its way
        declared = [
            identity
            for identity in shelved.read
            if identity in objects and not is_recorded(objects[identity])
        ]
        statuses = await self._statuses_of(report, declared)
        now = asyncio.get_running_loop().time()
        for identity, until in list(self._not_before.items()):
            if until <= now or identity not in objects:
                del self._not_before[identity]
        for identity in self._written.keys() - objects.keys():
            del self._written[identity]
        turn, writes = asyncio.Semaphore(_WRITES_AT_ONCE), 0
        async with asyncio.TaskGroup() as group:
            for identity, status in statuses.items():
                if identity in self._not_before:
                    continue
                raw, read = self._newest(identity, objects[identity]), shelved.read[identity]
                patch = patch_of(raw, read, status, self._clock.now())
                if patch:
                    group.create_task(self._write(turn, identity, raw, patch, status))
                    writes += 1
                if writes == _WRITES_PER_ROUND:
                    return True
        return False

    def _newest(self, identity: Identity, raw: Raw) -> Raw:
        """Return an object as we wrote it, until it is seen so or newer."""
        written = self._written.get(identity)
        if written is not None and version_of(written) > version_of(raw):
            return written
        self._written.pop(identity, None)
        return raw

    async def _statuses_of(
        self, report: Report, declared: Sequence[Identity]
    ) -> Mapping[Identity, ObjectStatus]:
        """Say how objects stand; worked out once for each report, however often objects change."""
        ended = self._ended.value
        known, of_ended, of_declared, statuses = self._said
        if known is not report or of_ended is not ended or of_declared != declared:
            # Of ten thousand VMs it takes a while: the event loop has bytes to move meanwhile.
            statuses = await asyncio.to_thread(object_statuses, report, declared, ended)
            self._said = report, ended, declared, statuses
        return statuses

    async def _write(
        self,
        turn: asyncio.Semaphore,
        identity: Identity,
        raw: Raw,
        patch: Mapping[str, Any],
        status: ObjectStatus,
    ) -> None:
        body = {"metadata": {"uid": raw["metadata"]["uid"]}, "status": patch}
        loop = asyncio.get_running_loop()
        async with turn:
            try:
                written = await self._api.merge(
                    resource_of(identity.kind),
                    identity.namespace,
                    identity.name,
                    body,
                    subresource="status",
                )
            except (Missing, Conflict):  # gone, or made anew: the next picture has it
                self._not_before[identity] = loop.time() + _RETRY_S
                return
            except (Unreachable, Busy) as error:
                log.info("status not written", object=str(identity), why=str(error))
                self._not_before[identity] = loop.time() + _RETRY_S
                return
            except KubeError as error:
                log.warning("status refused", object=str(identity), why=str(error))
                self._not_before[identity] = loop.time() + _REFUSED_RETRY_S
                return
        log.debug("status written", object=str(identity), fields=sorted(patch))
        self._written[identity] = written
        self._listening.take(written)
        for news in news_of(raw, status):
            with suppress(asyncio.QueueFull):
                self.news.put_nowait(news)


def patch_of(raw: Raw, read: Read, status: ObjectStatus, now: datetime) -> dict[str, Any]:
    """Return what has to change in an object's status; nothing if it says what it should."""
    if not status.looked_at and conditions_in(raw):
        return {}
    fields = dict(status.fields)
    if not any(each.type is ConditionType.STALLED for each in status.conditions):
        fields |= {key: read.annotations.get(name) for name, key in _HANDLED.items()}
    return status_patch(raw, read.generation, status.conditions, fields, now, _is_nearly)


def _is_nearly(key: str, has: object, value: object) -> bool:
    if key not in COARSE or not isinstance(has, str) or not isinstance(value, str):
        return False
    try:
        before, after = parse_size(has), parse_size(value)
    except ValueError:  # somebody else wrote it
        return False
    return abs(after - before) * 10 < before
