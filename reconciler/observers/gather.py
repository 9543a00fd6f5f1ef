"""One picture of everything: an observer per pool and remote, gathered into one mailbox.

Starts an observer when a pool or remote becomes desired, stops it when it no longer is, starts it
afresh when its settings change, and pokes the ones whose part of the world our hands touched.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Protocol, assert_never

from reconciler.desired.state import Desired, Look, Pool, Remote
from reconciler.ids import PoolName, RemoteName, VmUuid
from reconciler.latest import Latest
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Place, PlaceKind, Progress
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown

Touched = Iterable[tuple[VmUuid, datetime]]


class Observer(Protocol):
    """Looks for ever; publishes through the callback it was made with."""

    async def run(self) -> None: ...

    def poke(self, touched: Touched) -> None:
        """Look again soon at what was touched after the given instants."""

    def look(self) -> None:
        """Look at everything again now."""


MakePoolObserver = Callable[[Pool, Callable[[PoolView | Unknown], None]], Observer]
MakeRemoteObserver = Callable[[Remote, Callable[[RemoteView | Unknown], None]], Observer]


class Gather:
    """Keeps `observed` the newest picture of all pools and remotes that are desired."""

    def __init__(
        self,
        desired: Latest[Desired],
        progress: Latest[Progress],
        make_pool_observer: MakePoolObserver,
        make_remote_observer: MakeRemoteObserver,
    ) -> None:
        self.observed: Latest[Observed] = Latest(Observed())
        self._desired = desired
        self._progress = progress
        self._make_pool_observer = make_pool_observer
        self._make_remote_observer = make_remote_observer
        self._running: dict[
            tuple[str, str], tuple[Pool | Remote, Observer, asyncio.Task[None]]
        ] = {}
        self._looked: frozenset[Look] = frozenset()

    def look(self, pools: Iterable[PoolName] = (), remotes: Iterable[RemoteName] = ()) -> None:
        """Have these looked at again now; those that are not watched are left out."""
        for key in [*(("pool", name) for name in pools), *(("remote", name) for name in remotes)]:
            if key in self._running:
                self._running[key][1].look()

    async def run(self) -> None:
        """Follow desired state and progress for ever."""
        bell = asyncio.Event()
        self._desired.ring(bell)
        self._progress.ring(bell)
        async with asyncio.TaskGroup() as group:
            while True:
                bell.clear()
                self._look_as_asked(self._desired.value)
                self._match(group, self._desired.value)
                self._poke(self._progress.value)
                await bell.wait()

    def _look_as_asked(self, desired: Desired) -> None:
        """Look once for each wish; what is watched from now on is looked at anyway."""
        for look in set(desired.looks) - self._looked:
            self.look(look.pools, look.remotes)
        self._looked = frozenset(desired.looks)

    def _match(self, group: asyncio.TaskGroup, desired: Desired) -> None:
        wanted: dict[tuple[str, str], Pool | Remote] = {
            **{("pool", name): pool for name, pool in desired.pools.items()},
            **{("remote", name): remote for name, remote in desired.remotes.items()},
        }
        for key, (settings, _, task) in list(self._running.items()):
            if wanted.get(key) != settings:
                task.cancel()
                del self._running[key]
                self._forget(*key)
        for key, settings in wanted.items():
            if key not in self._running:
                observer = self._make(settings)
                task = group.create_task(observer.run(), name=f"observe {key[0]} {key[1]}")
                self._running[key] = (settings, observer, task)

    def _make(self, settings: Pool | Remote) -> Observer:
        match settings:
            case Pool(name=pool):
                return self._make_pool_observer(settings, lambda view: self._see_pool(pool, view))
            case Remote(name=remote):
                return self._make_remote_observer(
                    settings, lambda view: self._see_remote(remote, view)
                )

    def _poke(self, progress: Progress) -> None:
        by_place: dict[tuple[str, str], list[tuple[VmUuid, datetime]]] = {}
        for place, at in progress.touched.items():
            by_place.setdefault(_seen_by(place), []).append((place.vm, at))
        for key, touched in by_place.items():
            if key in self._running:
                self._running[key][1].poke(touched)

    def _see_pool(self, name: PoolName, view: PoolView | Unknown) -> None:
        observed = self.observed.value
        self.observed.put(replace(observed, pools={**observed.pools, name: view}))

    def _see_remote(self, name: RemoteName, view: RemoteView | Unknown) -> None:
        observed = self.observed.value
        self.observed.put(replace(observed, remotes={**observed.remotes, name: view}))

    def _forget(self, kind: str, name: str) -> None:
        observed = self.observed.value
        pools = {key: view for key, view in observed.pools.items() if (kind, key) != ("pool", name)}
        remotes = {
            key: view for key, view in observed.remotes.items() if (kind, key) != ("remote", name)
        }
        self.observed.put(replace(observed, pools=pools, remotes=remotes))


def _seen_by(place: Place) -> tuple[str, str]:
    """Name the observer that sees a place: what lies on an SR, its pool's."""
    match place.kind:
        case PlaceKind.POOL:
            return "pool", place.name
        case PlaceKind.SR:
            return "pool", place.name.rpartition("/")[0]
        case PlaceKind.REMOTE:
            return "remote", place.name
        case _:
            assert_never(place.kind)
