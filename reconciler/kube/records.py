"""Objects of one kind that the operator makes, keeps and removes itself, a few at a time.

Nothing owns them, and nothing depends on them: one that is gone wrongly is made again. Making one
twice is finding it, so its name has to say what it is of.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeAlias

from reconciler.clock import Clock
from reconciler.desired.document import Identity
from reconciler.desired.envelope import API_VERSION
from reconciler.kube.api import KubeApi
from reconciler.kube.errors import Conflict, KubeError, Missing
from reconciler.kube.objects import Raw, generation_of, is_leaving
from reconciler.kube.resources import resource_of
from reconciler.kube.status_patch import status_patch
from reconciler.status.conditions import Condition

_WRITES_AT_ONCE = 8
MADE_BY = {"app.kubernetes.io/managed-by": "reconciler"}
"""Labels of what the operator made, as against what a person did."""

Write: TypeAlias = Callable[[], Awaitable[None]]
Said: TypeAlias = tuple[tuple[Condition, ...], Mapping[str, Any]]
"""Conditions, and the other fields of a status."""


class Sight(Protocol):
    """Who sees what was written, as the answers tell it."""

    def take(self, raw: Raw) -> None:
        """Take an object as it is now."""

    def lose(self, identity: Identity) -> None:
        """Take it that there is no such object."""


class Records:
    """What to write is worked out at once, without a call; `write` then does it."""

    def __init__(self, api: KubeApi, sight: Sight, clock: Clock) -> None:
        self._api = api
        self._sight = sight
        self._clock = clock

    def make(self, identity: Identity, spec: Mapping[str, Any], said: Said) -> Write:
        return partial(self._make, identity, spec, said)

    def tell(self, identity: Identity, raw: Raw, said: Said) -> Write | None:
        """Let a status say this; None: it does already, or the object is being deleted."""
        patch = {} if is_leaving(raw) else self._patch(raw, said)
        return partial(self._merge, identity, raw, patch) if patch else None

    def remove(self, identity: Identity) -> Write:
        return partial(self._remove, identity)

    async def write(self, writes: Iterable[Write]) -> list[KubeError]:
        """Do the writes, a few at once; return why some of them failed."""
        turn, failures = asyncio.Semaphore(_WRITES_AT_ONCE), list[KubeError]()

        async def one(write: Write) -> None:
            async with turn:
                try:
                    await write()
                except KubeError as error:
                    failures.append(error)

        async with asyncio.TaskGroup() as group:
            for each in writes:
                group.create_task(one(each))
        return failures

    async def _make(self, identity: Identity, spec: Mapping[str, Any], said: Said) -> None:
        resource = resource_of(identity.kind)
        names = {"name": identity.name, "namespace": identity.namespace}
        body = {
            "apiVersion": API_VERSION,
            "kind": identity.kind,
            "metadata": {**names, "labels": MADE_BY},
            "spec": spec,
        }
        try:
            raw = await self._api.create(resource, identity.namespace, body)
        except Conflict:  # it is there already
            raw = await self._api.get(resource, identity.namespace, identity.name)
        self._sight.take(raw)
        if (tell := self.tell(identity, raw, said)) is not None:
            await tell()

    def _patch(self, raw: Raw, said: Said) -> dict[str, Any]:
        return status_patch(raw, generation_of(raw), *said, self._clock.now())

    async def _merge(self, identity: Identity, raw: Raw, patch: Mapping[str, Any]) -> None:
        resource, place = resource_of(identity.kind), (identity.namespace, identity.name)
        body = {"metadata": {"uid": raw["metadata"]["uid"]}, "status": patch}
        try:
            written = await self._api.merge(resource, *place, body, subresource="status")
        except Missing:
            self._sight.lose(identity)
            raise
        except Conflict:  # it was made anew
            self._sight.take(await self._api.get(resource, *place))
            raise
        self._sight.take(written)

    async def _remove(self, identity: Identity) -> None:
        with suppress(Missing):
            await self._api.delete(resource_of(identity.kind), identity.namespace, identity.name)
        self._sight.lose(identity)
