"""Reviews are answered by what is seen, and what is not seen yet is asked for first."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from reconciler.kube.errors import KubeError, Missing, Unreachable
from reconciler.kube.objects import Raw, identity_of
from reconciler.kube.resources import Resource
from reconciler.kube.reviewer import Reviewer
from reconciler.kube.scope import Scope
from reconciler.kube.shelf import Shelf, Shelved
from reconciler.latest import Latest

JOB = {"schedules": [{"name": "night", "cron": "0 2 * * *", "retention": {"last": 3}}]}


class Server:
    """An API server that has these objects, or is away."""

    def __init__(self, *raws: Raw, away: KubeError | None = None) -> None:
        self.asked: list[str] = []
        self._raws = {raw["metadata"]["name"]: raw for raw in raws}
        self._away = away

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Raw:
        self.asked.append(resource.path(namespace, name).rpartition("v1alpha1/")[2])
        if self._away is not None:
            raise self._away
        if name not in self._raws:
            raise Missing(name)
        return self._raws[name]


@asynccontextmanager
async def reviewing(
    server: Server, *seen: Raw, whole: bool = True, namespaces: tuple[str, ...] = ()
) -> AsyncIterator[Callable[[Raw], Any]]:
    shelved = Latest(Shelved())
    if whole:
        shelved.put(Shelf().put({identity_of(raw): raw for raw in seen}))
    reviewer = Reviewer(server, shelved, Scope((), namespaces))  # type: ignore[arg-type]

    async def review(raw: Raw) -> dict[str, Any]:
        request = {"uid": "1", "operation": "CREATE", "object": raw}
        asked = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
        answer = await reviewer.answer(json.dumps({**asked, "request": request}).encode())
        assert answer is not None
        return json.loads(answer)["response"]

    try:
        yield review
    finally:
        reviewer.close()


async def test_what_was_applied_a_moment_before_is_not_said_to_be_missing(make_object) -> None:
    server = Server(make_object("XenPool", "lab"))
    async with reviewing(server, make_object("BackupRemote", "cellar")) as review:
        answer = await review(make_object("BackupJob", "nightly", spec=JOB))
    assert answer == {"uid": "1", "allowed": True}
    assert server.asked == ["namespaces/default/xenpools/lab"]


async def test_what_nobody_knows_is_missing_also_while_the_server_is_away(make_object) -> None:
    for server in (Server(), Server(away=Unreachable("refused"))):
        async with reviewing(server, make_object("BackupRemote", "cellar")) as review:
            answer = await review(make_object("BackupJob", "nightly", spec=JOB))
        assert answer["allowed"]
        assert ["there is no XenPool" in one for one in answer["warnings"]] == [True]


async def test_before_anything_was_seen_nothing_is_missing_and_mistakes_are_mistakes(
    make_object,
) -> None:
    server = Server()
    wrong = {"schedules": [{"name": "leap", "cron": "0 0 31 2 *", "retention": {"last": 3}}]}
    async with reviewing(server, whole=False) as review:
        assert await review(make_object("BackupJob", "nightly", spec=JOB)) == {
            "uid": "1",
            "allowed": True,
        }
        assert not (await review(make_object("BackupJob", "nightly", spec=wrong)))["allowed"]
    assert server.asked == []


async def test_of_a_namespace_that_is_not_followed_nothing_is_said_to_be_missing(
    make_object,
) -> None:
    async with reviewing(Server(), namespaces=("shop",)) as review:
        answer = await review(make_object("BackupJob", "nightly", spec=JOB))
    assert answer == {"uid": "1", "allowed": True}


async def test_what_is_no_review_is_not_answered() -> None:
    reviewer = Reviewer(Server(), Latest(Shelved()), Scope(()))  # type: ignore[arg-type]
    assert await reviewer.answer(b"{}") is None
    reviewer.close()
