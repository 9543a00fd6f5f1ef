"""The other end of a Job: its pod reads the parcel, carries it out, and notes how it goes.

Knows of the cluster its own Job and the secrets that the parcel names. Decides nothing: what is
given up is stopped, what fails is told.
"""

import asyncio
import contextlib
from dataclasses import dataclass

import structlog

from reconciler.clock import Clock
from reconciler.connections import Connections
from reconciler.executor.act import Acting
from reconciler.executor.parcel import from_text
from reconciler.kube.api import KubeApi, Raw
from reconciler.kube.errors import KubeError, Missing
from reconciler.kube.job_body import JOBS
from reconciler.kube.job_notes import (
    ENDINGS,
    PARCEL,
    PROGRESS,
    endings_text,
    given_up_of,
    note_of,
    progress_text,
)
from reconciler.kube.secrets import Secrets
from reconciler.latest import Latest

log = structlog.get_logger(__name__)

_NOTE_S = 2.0
_LAST_WORD_S = 600.0
"""For how long the ending is tried to be told: after that the world tells it."""


@dataclass(frozen=True, slots=True)
class Worker:
    """namespace, job: of the Job that this process is the pod of."""

    api: KubeApi
    namespace: str
    job: str
    clock: Clock

    async def run(self) -> bool:
        """Carry the parcel out; return whether all of it went well. Raises KubeError, NoParcel."""
        raw = await self.api.get(JOBS, self.namespace, self.job)
        parcel = from_text(note_of(raw, PARCEL))
        secrets = Secrets(self.api)
        await secrets.want(parcel.desired)
        connections = Connections(Latest(parcel.desired), secrets.reveal)
        acting = Acting(parcel, connections, self.clock)
        try:
            async with asyncio.TaskGroup() as group:
                noting = group.create_task(self._keep_noting(acting, str(raw["metadata"]["uid"])))
                await acting.run()
                noting.cancel()
        finally:
            await connections.close()
            await self._have_the_last_word(acting)
        return all(each.reason is None for each in acting.endings.value.values())

    async def _keep_noting(self, acting: Acting, uid: str) -> None:
        """Note how it goes, and stop what the Job says is given up: all of it, if that is gone."""
        noted: dict[str, str] = {}
        while True:
            notes = _notes(acting)
            try:
                if notes != noted:
                    job = await self._note(notes)
                    noted = notes
                else:
                    job = await self.api.get(JOBS, self.namespace, self.job)
            except Missing:
                job = None
            except KubeError as error:
                log.info("the Job cannot be reached", why=str(error))
                await asyncio.sleep(_NOTE_S)
                continue
            if job is None or job["metadata"]["uid"] != uid:
                log.warning("the Job is gone: stopping")
                acting.cancel_all()
                return
            for action in given_up_of(job):
                acting.cancel(action)
            await asyncio.sleep(_NOTE_S)

    async def _have_the_last_word(self, acting: Acting) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _LAST_WORD_S
        with contextlib.suppress(Missing):
            while loop.time() < until:
                try:
                    await self._note(_notes(acting))
                except Missing:
                    raise
                except KubeError as error:
                    log.info("the ending cannot be noted yet", why=str(error))
                    await asyncio.sleep(_NOTE_S)
                else:
                    return

    async def _note(self, notes: dict[str, str]) -> Raw:
        body = {"metadata": {"annotations": notes}}
        return await self.api.merge(JOBS, self.namespace, self.job, body)


def _notes(acting: Acting) -> dict[str, str]:
    return {
        PROGRESS: progress_text(acting.transfers.read()),
        ENDINGS: endings_text(acting.endings.value),
    }
