"""ProtectedVM objects: one for each VM of each job, made, kept and removed by the operator.

The largest number of objects that it keeps, so they are written a few at once and no more than so
many in a while, and only when the truth changed. Removing one loses nothing: what is gone wrongly
is made again. One is removed when its job is gone, or no longer chooses the VM on pools that were
seen; what cannot be seen keeps its object.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

import structlog

from reconciler.clock import Clock
from reconciler.desired.document import Identity
from reconciler.desired.envelope import API_VERSION
from reconciler.desired.manifest import JOB, PROTECTED
from reconciler.ids import JobName
from reconciler.kube.api import KubeApi
from reconciler.kube.errors import Conflict, KubeError, Missing
from reconciler.kube.listening import Listening
from reconciler.kube.objects import Raw, conditions_in, generation_of, is_leaving
from reconciler.kube.publish import laid_over, without_nulls
from reconciler.kube.resources import resource_of
from reconciler.kube.runs import MADE_BY
from reconciler.latest import Latest
from reconciler.observed.pool import PoolView
from reconciler.status.protected import Protection, protections
from reconciler.status.report import Report

log = structlog.get_logger(__name__)

_PAUSE_S = 5.0
_WRITES_AT_ONCE = 8
WRITES_MAX = 1000
"""In one round; the others have their turn in the next."""


class ProtectedObjects:
    """Follows reports until cancelled."""

    def __init__(
        self, api: KubeApi, listening: Listening, report: Latest[Report | None], clock: Clock
    ) -> None:
        self._api = api
        self._listening = listening
        self._report = report
        self._clock = clock

    async def run(self) -> None:
        """Keep the objects, for ever."""
        bell = asyncio.Event()
        for mailbox in (self._report, self._listening.objects):
            mailbox.ring(bell)
        while True:
            bell.clear()
            again = await self._round()
            await asyncio.sleep(_PAUSE_S)
            if not again:
                await bell.wait()

    async def _round(self) -> bool:
        """Write what is to be written; say whether some of it is left."""
        objects, report = self._listening.objects.value, self._report.value
        if objects is None or report is None or not report.is_whole:
            return False
        has = {identity: raw for identity, raw in objects.items() if identity.kind == PROTECTED}
        work = await asyncio.to_thread(self._work, report, has)
        failures: list[KubeError] = []
        turn = asyncio.Semaphore(_WRITES_AT_ONCE)
        for left_out in work[WRITES_MAX:]:
            left_out.close()
        async with asyncio.TaskGroup() as group:
            for each in work[:WRITES_MAX]:
                group.create_task(_one(turn, each, failures))
        if failures:
            log.info("protected VMs not told", count=len(failures), why=str(failures[0]))
        return bool(failures) or len(work) > WRITES_MAX

    def _work(self, report: Report, has: Mapping[Identity, Raw]) -> list[Coroutine[Any, Any, None]]:
        wanted = {identity_of(each): each for each in protections(report)}
        work: list[Coroutine[Any, Any, None]] = []
        for identity, each in wanted.items():
            raw = has.get(identity)
            if raw is None:
                work.append(self._make(identity, each))
            elif not is_leaving(raw) and (patch := self._patch(raw, each)):
                work.append(self._write(identity, raw, patch))
        for identity in has.keys() - wanted.keys():
            if is_gone(identity, has[identity], report):
                work.append(self._delete(identity))
        return work

    def _patch(self, raw: Raw, each: Protection) -> dict[str, Any]:
        status: Mapping[str, Any] = raw.get("status") or {}
        generation = generation_of(raw)
        should = {
            "observedGeneration": generation,
            "conditions": laid_over(
                conditions_in(raw), each.conditions, generation, self._clock.now()
            ),
            **each.fields,
        }
        return {
            key: value for key, value in should.items() if status.get(key) != without_nulls(value)
        }

    async def _make(self, identity: Identity, each: Protection) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": PROTECTED,
            "metadata": {
                "name": identity.name,
                "namespace": identity.namespace,
                "labels": MADE_BY,
            },
            "spec": {
                "jobRef": {"name": Identity.named(JOB, each.job).name},
                "vm": each.vm,
            },
        }
        try:
            raw = await self._api.create(resource_of(PROTECTED), identity.namespace, body)
        except Conflict:  # it is there already
            raw = await self._api.get(resource_of(PROTECTED), identity.namespace, identity.name)
        self._listening.take(raw)
        await self._write(identity, raw, self._patch(raw, each))

    async def _write(self, identity: Identity, raw: Raw, patch: Mapping[str, Any]) -> None:
        written = await self._api.merge(
            resource_of(PROTECTED),
            identity.namespace,
            identity.name,
            {"metadata": {"uid": raw["metadata"]["uid"]}, "status": patch},
            subresource="status",
        )
        self._listening.take(written)

    async def _delete(self, identity: Identity) -> None:
        with suppress(Missing):
            await self._api.delete(resource_of(PROTECTED), identity.namespace, identity.name)


async def _one(
    turn: asyncio.Semaphore, work: Coroutine[Any, Any, None], failures: list[KubeError]
) -> None:
    async with turn:
        try:
            await work
        except KubeError as error:
            failures.append(error)


def identity_of(each: Protection) -> Identity:
    """Name the object of a VM of a job: `nightly-<uuid>`, in the job's namespace."""
    job = Identity.named(JOB, each.job)
    return Identity(PROTECTED, job.namespace, f"{job.name[:216].rstrip('.-')}-{each.vm}")


def is_gone(identity: Identity, raw: Raw, report: Report) -> bool:
    """Say whether nothing stands for an object any more, as far as everything was seen."""
    name = JobName(identity.sibling(str(raw["spec"]["jobRef"]["name"])))
    job = report.desired.jobs.get(name)
    if job is None:
        return not report.desired.problems
    return all(isinstance(report.observed.pools.get(pool), PoolView) for pool in job.pools)
