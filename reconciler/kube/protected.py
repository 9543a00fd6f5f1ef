"""ProtectedVM objects: one for each VM of each job, made, kept and removed by the operator.

The largest number of objects that it keeps, so they are worked out and written some at a time, a
few at once, and only when the truth changed. Removing one loses nothing: what is gone wrongly is
made again. One is removed when its job is gone, or no longer chooses the VM on pools that were
seen; what cannot be seen keeps its object.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import structlog

from reconciler.clock import Clock
from reconciler.desired.document import Identity
from reconciler.desired.manifest import JOB, PROTECTED
from reconciler.ids import JobName
from reconciler.kube.api import KubeApi
from reconciler.kube.errors import KubeError
from reconciler.kube.kept import Kept
from reconciler.kube.objects import Raw, is_leaving
from reconciler.kube.records import Records, Said, Write
from reconciler.kube.scope import Scope
from reconciler.latest import Latest
from reconciler.observed.pool import PoolView
from reconciler.status.protected import Protection, protections
from reconciler.status.report import Report
from reconciler.status.standing import JobStanding

log = structlog.get_logger(__name__)

_PAUSE_S = 5.0  # however fast reports come, all objects are looked through so often at most
_BREATH_S = 0.5  # for everybody else's calls
WRITES_MAX = 500
"""Before a breath is taken, and the newest report is asked whether it says otherwise."""


class ProtectedObjects:
    """Follows reports until cancelled. namespaces: where jobs are; none means all. turn: set while
    nothing waits to be written into the objects of people, which come first.
    """

    def __init__(
        self,
        api: KubeApi,
        namespaces: tuple[str, ...],
        report: Latest[Report | None],
        turn: asyncio.Event,
        clock: Clock,
    ) -> None:
        self._kept = Kept(api, Scope((PROTECTED,), namespaces))
        self._records = Records(api, self._kept, clock)
        self._report = report
        self._turn = turn
        self._told: tuple[list[JobStanding], int] | None = None  # which objects say so

    async def run(self) -> None:
        """Keep the objects, for ever."""
        bell = asyncio.Event()
        self._report.ring(bell)
        while True:
            bell.clear()
            done = await self._kept.look() and await self._round()
            await asyncio.sleep(_PAUSE_S)
            if done:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._kept.look_at):
                        await bell.wait()

    async def _round(self) -> bool:
        """Write what is to be written; say whether all of it is."""
        report = self._report.value
        if report is None or not report.is_whole or self._is_told(report):
            return True
        writes, failures = self._writes(report, self._kept.objects()), list[KubeError]()
        # Of ten thousand VMs it takes a while: the event loop has bytes to move meanwhile.
        while batch := await asyncio.to_thread(lambda: list(islice(writes, WRITES_MAX))):
            await self._turn.wait()
            failures += await self._records.write(batch)
            await asyncio.sleep(_BREATH_S)
            if not self._is_newest(report):
                return False
        if failures:
            log.info("protected VMs not told", count=len(failures), why=str(failures[0]))
            return False
        self._told = report.standings, self._kept.version
        return True

    def _is_told(self, report: Report) -> bool:
        """Say whether objects were seen to say what this report says, and are the same still."""
        if self._told is None:
            return False
        standings, version = self._told
        return report.standings is standings and self._kept.version == version

    def _is_newest(self, report: Report) -> bool:
        newest = self._report.value
        return newest is not None and newest.standings is report.standings

    def _writes(self, report: Report, has: Mapping[Identity, Raw]) -> Iterator[Write]:
        wanted = set()
        for each in protections(report):
            identity = identity_of(each)
            wanted.add(identity)
            write = (
                self._records.tell(identity, has[identity], said_of(each))
                if identity in has
                else self._records.make(identity, spec_of(each), said_of(each))
            )
            if write is not None:
                yield write
        for identity in has.keys() - wanted:
            if not is_leaving(has[identity]) and is_gone(identity, has[identity], report):
                yield self._records.remove(identity)


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
