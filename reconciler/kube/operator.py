"""The reconciler of a cluster: objects come in, statuses go out; in between it is as with files.

    listening ──► shelf ──► secrets ──► Latest[Desired] ──► Reconciler ──► Latest[Report]
                                                                              │
    the cluster ◄── events ◄── publisher ◄────────────────────────────────────┘

`listen` always runs, so that every replica can judge an object that is about to be kept. `lead`
acts and publishes while this process is the one that was elected, and may be ended and begun again.
Whatever it changes, it asks first whether it still is.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import structlog

from reconciler.assembly import Reconciler
from reconciler.clock import Clock
from reconciler.desired.problems import Problem
from reconciler.desired.state import Desired
from reconciler.executor.hands import Hands
from reconciler.executor.run_keeper import RunLines
from reconciler.executor.run_pictures import RunPicture
from reconciler.kube.api import KubeApi
from reconciler.kube.election import Elector
from reconciler.kube.events import Events
from reconciler.kube.job_body import WorkerTemplate
from reconciler.kube.jobs import JobHands
from reconciler.kube.lease import KubeLease
from reconciler.kube.listening import Listening
from reconciler.kube.login import Credentials
from reconciler.kube.protected import ProtectedObjects
from reconciler.kube.publish import Publisher
from reconciler.kube.reviewer import Reviewer
from reconciler.kube.runs import RunObjects, noted_failures
from reconciler.kube.scope import Scope
from reconciler.kube.secrets import Secrets
from reconciler.kube.shelf import Shelf, Shelved
from reconciler.latest import Latest

log = structlog.get_logger(__name__)

_LEASE_DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Home:
    """Where the operator itself is. lease: name of the Lease that its replicas are elected through;
    None: it is alone. worker: what the pods of its Jobs are made from; None: it does all itself.
    pod: its own, if it is in one.
    """

    namespace: str
    lease: str | None = "reconciler"
    worker: WorkerTemplate | None = None
    pod: str | None = None


class Operator:
    """One per process. scope: of what people write. home: None if it is alone. protected_vms:
    whether an object is kept for each VM of each job. records: path of the history file. owner:
    names this process.

    leader: who leads, as far as it is known; "" for nobody. shelved: what the cluster's objects
    say; its first value is none of theirs. desired: what of it is in force. reconciler: the one
    that acts; None while none does. reviewer: judges objects before they are there.
    """

    def __init__(
        self,
        credentials: Credentials,
        scope: Scope,
        clock: Clock,
        *,
        home: Home | None = None,
        protected_vms: bool = True,
        records: Path | None,
        owner: str,
        lines: RunLines | None = None,
    ) -> None:
        # Its own connection: a renewal waits for nothing else.
        self._lease_api = KubeApi(credentials, deadline_s=_LEASE_DEADLINE_S, connections_max=1)
        self._elector: Elector | None = None
        self._home = home or Home("default", lease=None)
        if self._home.lease is not None:
            lease = KubeLease(self._lease_api, self._home.namespace, self._home.lease)
            self._elector = Elector(lease, owner, clock)
        self.api = KubeApi(credentials, permit=self._permit)
        self.shelved: Latest[Shelved] = Latest(Shelved())
        self.desired: Latest[Desired] = Latest(Desired())
        self.reconciler: Reconciler | None = None
        self._scope = scope
        self._protected_vms = protected_vms
        self._listening = Listening(self.api, credentials, scope)
        self._secrets = Secrets(self.api)
        self.reviewer = Reviewer(self.api, self.shelved, scope)
        self._clock = clock
        self._records = records
        self._owner = owner
        self._lines = lines

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.listen(), name="listen")
                await self.shelved.newer_than(0)
                if self._elector is None:
                    await self.lead()
                else:
                    await self._elector.run(self.lead)
        finally:
            self.reviewer.close()
            await self.api.close()
            await self._lease_api.close()

    @property
    def leader(self) -> str:
        return self._owner if self._elector is None else self._elector.leader.value

    async def listen(self) -> None:
        """Keep `desired` what the cluster's objects say; for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listening.run(), name="listening")
            await self._shelve()

    async def lead(self) -> None:
        """Act on what is desired and publish how it stands, until cancelled.

        To be begun once `shelved` has a first value of the cluster's.
        """
        pictures: Latest[tuple[RunPicture, ...] | None] = Latest(None)
        reconciler = self.reconciler = Reconciler(
            self.desired,
            self._clock,
            self._secrets.reveal,
            records=self._records,
            owner=self._owner,
            lines=self._lines,
            permit=self._permit,
            hands=self._hands,
            runs=pictures,
            failures=noted_failures(self._listening.objects.value or {}),
        )
        runs = RunObjects(self.api, self._listening, reconciler.report, pictures, self._clock)
        publisher = Publisher(
            self.api,
            self._listening,
            self.shelved,
            reconciler.report,
            reconciler.ended_runs,
            self._clock,
        )
        protected = ProtectedObjects(
            self.api, self._scope.namespaces, reconciler.report, publisher.settled, self._clock
        )
        events = Events(self.api, publisher.news, self._clock, self._owner)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(publisher.run(), name="publisher")
                group.create_task(events.run(), name="events")
                group.create_task(runs.run(), name="runs")
                if self._protected_vms:
                    group.create_task(protected.run(), name="protected VMs")
                group.create_task(self._secrets.follow(reconciler.renew), name="secrets")
                await reconciler.run()
        finally:
            self.reconciler = None

    def _permit(self) -> bool:
        return self._elector is None or self._elector.permit()

    def _hands(self, own: Hands) -> Hands:
        home = self._home
        if home.worker is None:
            return own
        return JobHands(own, self.api, home.worker, home.namespace, home.pod)

    async def _shelve(self) -> None:
        shelf = Shelf()
        problems: tuple[Problem, ...] = ()
        async with aclosing(self._listening.objects.follow()) as pictures:
            async for objects in pictures:
                if objects is None:
                    continue
                # A thousand objects take a while to check: the event loop has bytes to move.
                shelved = await asyncio.to_thread(shelf.put, objects)
                if shelved.desired is not self.desired.value:
                    await self._secrets.want(shelved.desired)
                    problems = _say(shelved.desired, problems)
                    self.desired.put(shelved.desired)
                self.shelved.put(shelved)


def _say(desired: Desired, before: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Log what the objects say, and each problem once."""
    log.info(
        "objects read",
        pools=len(desired.pools),
        remotes=len(desired.remotes),
        jobs=len(desired.jobs),
        problems=len(desired.problems),
    )
    for problem in desired.problems:
        if problem not in before:
            log.warning("problem in object", object=problem.object, what=problem.message)
    return desired.problems
