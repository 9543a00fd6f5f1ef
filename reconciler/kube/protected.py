"""ProtectedVM objects: one for each VM of each job, made, kept and removed by the operator.

The largest number of objects that it keeps, so they are written a few at once and no more than so
many in a while, and only when the truth changed. Removing one loses nothing: what is gone wrongly
is made again. One is removed when its job is gone, or no longer chooses the VM on pools that were
seen; what cannot be seen keeps its object.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from reconciler.clock import Clock
from reconciler.desired.document import Identity
from reconciler.desired.manifest import JOB, PROTECTED
from reconciler.ids import JobName
from reconciler.kube.api import KubeApi
from reconciler.kube.listening import Listening
from reconciler.kube.objects import Raw
from reconciler.kube.records import Records, Said, Write
from reconciler.latest import Latest
from reconciler.observed.pool import PoolView
from reconciler.status.protected import Protection, protections
from reconciler.status.report import Report

log = structlog.get_logger(__name__)

_PAUSE_S = 5.0
WRITES_MAX = 1000
"""In one round; the others have their turn in the next."""


class ProtectedObjects:
    """Follows reports until cancelled."""

    def __init__(
        self, api: KubeApi, listening: Listening, report: Latest[Report | None], clock: Clock
    ) -> None:
        self._records = Records(api, listening, clock)
        self._listening = listening
        self._report = report

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
        writes = await asyncio.to_thread(self._writes, report, has)
        failures = await self._records.write(writes[:WRITES_MAX])
        if failures:
            log.info("protected VMs not told", count=len(failures), why=str(failures[0]))
        return bool(failures) or len(writes) > WRITES_MAX

    def _writes(self, report: Report, has: Mapping[Identity, Raw]) -> list[Write]:
        wanted = {identity_of(each): each for each in protections(report)}
        writes = [
            self._records.tell(identity, has[identity], said_of(each))
            if identity in has
            else self._records.make(identity, spec_of(each), said_of(each))
            for identity, each in wanted.items()
        ]
        for identity in has.keys() - wanted.keys():
            if is_gone(identity, has[identity], report):
                writes.append(self._records.remove(identity))
        return [each for each in writes if each is not None]


def spec_of(each: Protection) -> dict[str, Any]:
    return {"jobRef": {"name": Identity.named(JOB, each.job).name}, "vm": each.vm}


def said_of(each: Protection) -> Said:
    return each.conditions, each.fields


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
