"""Secrets by name: read, kept, noticed when they are others, never shown."""

import asyncio
import base64
from collections.abc import Collection
from typing import Any

import pytest

from reconciler.desired.state import Desired, LocalPlace, Pool, Remote, SecretRef
from reconciler.ids import PoolName, RemoteName
from reconciler.kube import secrets as secrets_module
from reconciler.kube.errors import Forbidden, KubeError, Missing, Unreachable
from reconciler.kube.secrets import Secrets

PASSWORD = SecretRef(secret="lab", key="password", namespace="shop")
KEY = SecretRef(secret="cellar", key="key", namespace="shop")
POOL = Pool(PoolName("shop/lab"), ("https://xcp1",), "root", PASSWORD)
REMOTE = Remote(RemoteName("shop/cellar"), LocalPlace("/srv"), encryption=KEY)
DESIRED = Desired(pools={POOL.name: POOL}, remotes={REMOTE.name: REMOTE})


class Api:
    """Answers `get` of Secrets from a table."""

    def __init__(self, **answers: dict[str, str] | KubeError) -> None:
        self.answers = answers
        self.reads = 0

    async def get(self, _resource: object, namespace: str, name: str) -> dict[str, Any]:
        assert namespace == "shop"
        self.reads += 1
        answer = self.answers.get(name, Missing("404"))
        if isinstance(answer, KubeError):
            raise answer
        data = {key: base64.b64encode(text.encode()).decode() for key, text in answer.items()}
        return {"data": data}


async def revealed(api: Api, reference: SecretRef = PASSWORD) -> str:
    found = Secrets(api)
    await found.want(DESIRED)
    return found.reveal(reference)


async def test_an_entry_is_read() -> None:
    assert await revealed(Api(lab={"password": "hunter2\n", "other": "x"})) == "hunter2"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Missing("404"), "there is no such Secret"),
        (Forbidden("403"), "role does not allow"),
        (Unreachable("no answer"), "no answer"),
        ({"other": "x"}, "there is no such entry"),
        ({"password": "\n"}, "it is empty"),
    ],
)
async def test_what_cannot_be_had_is_said_and_not_shown(answer: Any, why: str) -> None:
    with pytest.raises(LookupError, match=why) as caught:
        await revealed(Api(lab=answer))
    assert "entry password of Secret shop/lab" in str(caught.value)


async def test_what_is_not_named_any_more_is_forgotten() -> None:
    found = Secrets(Api(lab={"password": "hunter2"}))
    await found.want(DESIRED)
    await found.want(Desired())
    with pytest.raises(LookupError, match="not been read"):
        found.reveal(PASSWORD)


async def test_other_references_are_read_as_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")
    assert await revealed(Api(), SecretRef(env="PASSWORD")) == "hunter2"
    with pytest.raises(LookupError, match="is not set"):
        await revealed(Api(), SecretRef(env="NOT_THERE"))


async def test_a_rotated_secret_is_handed_over_and_an_outage_is_no_rotation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(secrets_module, "_READ_EVERY_S", 0.0)
    api = Api(lab={"password": "one"}, cellar={"key": "k"})
    found = Secrets(api)
    await found.want(DESIRED)
    renewed: list[Collection[SecretRef]] = []
    done = asyncio.Event()

    async def renew(changed: Collection[SecretRef]) -> None:
        renewed.append(changed)
        done.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        following = group.create_task(found.follow(renew))
        for answer in (Unreachable("away"), {"password": "one"}):
            api.answers["lab"] = answer
            reads = api.reads
            while api.reads < reads + 4:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert found.reveal(PASSWORD) == "one"
        assert renewed == []
        api.answers["lab"] = {"password": "two"}
        await done.wait()
        following.cancel()
    assert renewed == [{PASSWORD}]
    assert found.reveal(PASSWORD) == "two"
