"""Parties carried out by Jobs: the cluster finds a place for the bytes to go through.

What moves bytes for long (exports, replications, merges, restores, verifications) becomes a Job,
one for each party; its pod runs `reconciler act` on the parcel that lies on the Job (job_notes.py).
The rest is done here. Limits stay with the planner: what is admitted counts wherever it is done.
Only what is held to a bandwidth stays in this process, because a rate is held in one place.

A Job outlives the operator that made it: its successor finds it, counts it and waits for it before
anything else is begun. One whose pod ends without a word, killed or evicted, is one more action
that was interrupted, and is planned again.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import structlog

from reconciler.desired.state import Desired
from reconciler.executor.hands import Hands, Party
from reconciler.executor.parcel import NoParcel, Parcel, from_text, pack, to_text
from reconciler.executor.refusal import Refused
from reconciler.executor.transfers import Gauge
from reconciler.ids import ActionId
from reconciler.kube.api import KubeApi, Raw
from reconciler.kube.errors import Busy, KubeError, Missing, Unreachable
from reconciler.kube.job_body import JOBS, PODS, SELECTOR, WorkerTemplate, has_ended, job_body
from reconciler.kube.job_notes import (
    GIVEN_UP,
    PARCEL,
    endings_of,
    given_up_text,
    note_of,
    progress_of,
)
from reconciler.latest import Latest
from reconciler.plan.actions import (
    Action,
    Merge,
    Sending,
    Verify,
    id_of,
)
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import RestoreVm

log = structlog.get_logger(__name__)

_LOOK_S = 2.0
_STOP_S = 5.0
_START_S = 900.0
"""For a pod to be placed, and to say that it has begun."""

_GONE: Raw = {}
"""Stands for a Job that is not there any more."""


class JobHands:
    """own: for what is done in this process. namespace: where the Jobs are made. pod: our own, in
    that namespace, whose image the workers have if the template names none."""

    def __init__(
        self,
        own: Hands,
        api: KubeApi,
        template: WorkerTemplate,
        namespace: str,
        pod: str | None = None,
    ) -> None:
        self._own = own
        self._api = api
        self._template = template
        self._namespace = namespace
        self._pod = pod
        self._found: dict[frozenset[ActionId], str] = {}  # Jobs of a predecessor, by party

    def take(self, group: asyncio.TaskGroup, actions: Sequence[Action], desired: Desired) -> Party:
        name = self._found.pop(_ids(actions), None)
        parcel = pack(actions, desired)
        if name is None and not _is_for_a_job(parcel):
            return self._own.take(group, actions, desired)

        async def make() -> str:
            return name if name is not None else await self._make(parcel)

        return _JobParty(group, self._api, self._namespace, actions, make)

    async def under_way(self) -> Sequence[Sequence[Action]]:
        """Return the parties of Jobs that have not ended, and what this process itself has."""
        while True:
            try:
                await self._have_an_image()
                listing = await self._api.list(JOBS, self._namespace, selector=SELECTOR)
            except KubeError as error:
                log.warning("what runs is not known; nothing is begun yet", why=str(error))
                await asyncio.sleep(_LOOK_S)
                continue
            parties = list(self._parties_of(listing.items))
            return [*parties, *await self._own.under_way()]

    async def _have_an_image(self) -> None:
        if self._template.image is None and self._pod is not None:
            pod = await self._api.get(PODS, self._namespace, self._pod)
            self._template = self._template.with_image(pod["spec"]["containers"][0]["image"])

    def _parties_of(self, jobs: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Action]]:
        for raw in jobs:
            if has_ended(raw) is not None or raw["metadata"].get("deletionTimestamp"):
                continue
            name = raw["metadata"]["name"]
            try:
                parcel = from_text(note_of(raw, PARCEL))
            except NoParcel as error:
                log.warning("a Job is not understood, and left alone", job=name, why=str(error))
                continue
            ended = endings_of(raw)
            left = [each for each in parcel.actions if id_of(each) not in ended]
            if left:
                self._found[_ids(left)] = name
                yield left

    async def _make(self, parcel: Parcel) -> str:
        """Make the Job, once; return its name. Raises Refused."""
        try:
            text = to_text(parcel)
        except ValueError as error:
            raise Refused(Reason.INTERNAL_ERROR, f"too much for one Job: {error}") from error
        token = secrets.token_hex(3)
        body = job_body(self._template, self._namespace, parcel.actions, text, token)
        name = str(body["metadata"]["name"])
        try:
            await self._api.create(JOBS, self._namespace, body)
        except (Unreachable, Busy):
            pass  # nobody knows whether it was made: looking for it tells
        except KubeError as error:
            raise Refused(Reason.WORKER_FAILED, f"its Job cannot be made: {error}") from error
        log.info("job made", job=name, actions=len(parcel.actions))
        return name


class _JobParty:
    """make: makes the Job, or says which it is."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        api: KubeApi,
        namespace: str,
        actions: Sequence[Action],
        make: Callable[[], Awaitable[str]],
    ) -> None:
        self._group = group
        self._api = api
        self._namespace = namespace
        self._make = make
        self._name = ""
        self._making = asyncio.Lock()
        self._job: Latest[Raw | None] = Latest(None)
        self._left = {id_of(each) for each in actions}
        self._given_up: set[ActionId] = set()

    @contextlib.contextmanager
    def taking_part(self, action: Action) -> Iterator[None]:
        try:
            yield
        finally:
            self._left.discard(id_of(action))

    def give_up(self, action: Action) -> None:
        self._given_up.add(id_of(action))

    async def carry_out(self, action: Action, gauge: Gauge) -> None:
        """Wait for what the worker says of the action. Raises Refused for whatever went wrong."""
        id_ = id_of(action)
        try:
            await self._made()
            async for job in self._job.follow():
                if job is not None and self._has_ended(id_, job, gauge):
                    return
        except asyncio.CancelledError:
            if id_ in self._given_up and self._name:
                await self._stop()
            raise

    def _has_ended(self, action: ActionId, job: Raw, gauge: Gauge) -> bool:
        """Look at the newest state of the Job. Raises Refused if the action ended badly."""
        if job is _GONE:
            raise Refused(Reason.INTERRUPTED, f"its Job {self._name} is gone")
        if (progress := progress_of(job)) is not None and action in progress:
            gauge.set(*progress[action])
        ending = endings_of(job).get(action)
        if ending is not None:
            if ending.reason is not None:
                raise Refused(ending.reason, ending.why)
            return True
        if (said := has_ended(job)) is not None:
            why = f"the pod of its Job {self._name} ended without a word: {said}"
            raise Refused(Reason.INTERRUPTED, why)
        return False

    async def _made(self) -> None:
        async with self._making:
            if not self._name:
                self._name = await self._make()
                self._group.create_task(self._look(), name=f"job {self._name}")

    async def _look(self) -> None:
        """Keep the newest state of the Job for as long as somebody waits for it."""
        loop = asyncio.get_running_loop()
        late_s = loop.time() + _START_S
        while self._left:
            try:
                job = await self._api.get(JOBS, self._namespace, self._name)
            except Missing:
                job = _GONE
            except KubeError as error:
                log.info("a Job cannot be seen", job=self._name, why=str(error))
                await asyncio.sleep(_LOOK_S)
                continue
            if job is not _GONE and progress_of(job) is None and loop.time() > late_s:
                log.warning("a Job's pod does not begin; the Job is deleted", job=self._name)
                await self._delete()
                continue
            self._job.put(job)
            if job is _GONE or has_ended(job) is not None:
                return
            await asyncio.sleep(_LOOK_S)

    async def _stop(self) -> None:
        """Have what was given up stopped: alone, or with the whole Job where nothing else is left.

        What cannot be said now goes on to its end, and its result is seen like any other's.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                if self._left <= self._given_up:
                    await self._delete()
                    return
                body = {"metadata": {"annotations": {GIVEN_UP: given_up_text(self._given_up)}}}
                try:
                    await self._api.merge(JOBS, self._namespace, self._name, body)
                except KubeError as error:
                    log.warning("a part of a Job is not stopped", job=self._name, why=str(error))

    async def _delete(self) -> None:
        try:
            await self._api.delete(JOBS, self._namespace, self._name)
        except Missing:
            pass
        except KubeError as error:
            log.warning("a Job is not deleted", job=self._name, why=str(error))


def _ids(actions: Sequence[Action]) -> frozenset[ActionId]:
    return frozenset(map(id_of, actions))


def _is_for_a_job(parcel: Parcel) -> bool:
    """Whether it moves bytes for long, and nothing that it touches is held to a bandwidth."""
    settings = parcel.settings
    limits = [
        *(pool.rate_bytes_per_s for pool in parcel.pools),
        *(remote.rate_bytes_per_s for remote in parcel.remotes),
        None if settings is None else settings.rate_bytes_per_s,
    ]
    is_limited = any(limit is not None for limit in limits)
    return not is_limited and all(
        isinstance(each, Sending | Merge | Verify | RestoreVm) for each in parcel.actions
    )
