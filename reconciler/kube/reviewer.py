"""Answers an API server's reviews: by what all replicas see, whichever of them leads.

What an object refers to may have been applied a moment before it, and not have been seen here yet;
so before it is said to be missing, the server is asked for it. Judging is done on one thread, one
review after the other: however many come, the rest of the program goes on.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from reconciler.desired.document import Identity
from reconciler.kube.admission import Verdict, judge, unseen
from reconciler.kube.api import KubeApi
from reconciler.kube.errors import KubeError
from reconciler.kube.objects import Raw, identity_of, is_leaving
from reconciler.kube.resources import resource_of
from reconciler.kube.review import NoReview, Review, read_review, write_answer
from reconciler.kube.scope import Scope
from reconciler.kube.shelf import Shelved
from reconciler.latest import Latest

log = structlog.get_logger(__name__)

_ASKED_FOR_MAX = 8
_ASKING_S = 1.5  # less than a server waits for an answer


class Reviewer:
    """One per process. shelved: its first value is not of the cluster's objects."""

    def __init__(self, api: KubeApi, shelved: Latest[Shelved], scope: Scope) -> None:
        self._api = api
        self._shelved = shelved
        self._scope = scope
        self._thread = ThreadPoolExecutor(1, "admission")

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def answer(self, body: bytes) -> bytes | None:
        """Answer a review, both in JSON; None for what is none."""
        loop = asyncio.get_running_loop()
        try:
            review = await loop.run_in_executor(self._thread, read_review, body)
        except NoReview as error:
            log.debug("no review", why=str(error))
            return None
        if review.change is None:
            return write_answer(review, Verdict())
        change, shelved = review.change, self._seen(review)
        found: Sequence[Raw] = ()
        if shelved is not None:
            found = await self._look_for(
                await loop.run_in_executor(self._thread, unseen, change, shelved)
            )
        verdict = await loop.run_in_executor(self._thread, judge, change, shelved, found)
        if verdict.mistakes:
            first = verdict.mistakes[0]
            log.info(
                "object refused",
                object=first.object,
                what=first.message,
                mistakes=len(verdict.mistakes),
            )
        return write_answer(review, verdict)

    def _seen(self, review: Review) -> Shelved | None:
        """Return what is known around an object; None for a place that is not followed."""
        assert review.change is not None
        followed = self._scope.namespaces
        if followed and identity_of(review.change.new).namespace not in followed:
            return None
        return self._shelved.value if self._shelved.version else None

    async def _look_for(self, wanted: Sequence[Identity]) -> list[Raw]:
        """Return those that are there; what cannot be told in time counts as not seen."""
        found: list[Raw] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(_ASKING_S):
                for each in wanted[:_ASKED_FOR_MAX]:
                    with suppress(KubeError):
                        resource = resource_of(each.kind)
                        found.append(await self._api.get(resource, each.namespace, each.name))
        return [raw for raw in found if not is_leaving(raw)]
