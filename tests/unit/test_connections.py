"""Opened things by name: once, until their settings change."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.connections import Connections
from reconciler.desired.state import Desired, LocalPlace, Pool, Remote, SecretRef
from reconciler.ids import PoolName, RemoteName
from reconciler.latest import Latest
from reconciler.remotes.errors import Missing

CELLAR = RemoteName("cellar")


async def test_a_remote_is_opened_once_and_again_when_it_moves(tmp_path: Path) -> None:
    settings = Remote(name=CELLAR, place=LocalPlace(str(tmp_path / "one")))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    desired = Latest(Desired(remotes={CELLAR: settings}))
    connections = Connections(desired, lambda _: "")
    first = await connections.remote(CELLAR)
    assert await connections.remote(CELLAR) is first
    desired.put(
        Desired(remotes={CELLAR: replace(settings, place=LocalPlace(str(tmp_path / "two")))})
    )
    assert await connections.remote(CELLAR) is not first
    await connections.close()


async def test_what_is_not_desired_is_not_opened(tmp_path: Path) -> None:
    connections = Connections(Latest(Desired()), lambda _: "")
    with pytest.raises(Missing, match="no such remote"):
        await connections.remote(CELLAR)
    await connections.close()


async def test_a_remote_that_is_not_mounted_is_missing_and_may_come_back(tmp_path: Path) -> None:
    path = tmp_path / "later"
    desired = Latest(Desired(remotes={CELLAR: Remote(name=CELLAR, place=LocalPlace(str(path)))}))
    connections = Connections(desired, lambda _: "")
    with pytest.raises(Missing, match="is it mounted"):
        await connections.remote(CELLAR)
    path.mkdir()
    assert (await connections.remote(CELLAR)).name == CELLAR
    await connections.close()


async def test_looking_writes_nothing(tmp_path: Path) -> None:
    desired = Latest(
        Desired(remotes={CELLAR: Remote(name=CELLAR, place=LocalPlace(str(tmp_path)))})
    )
    connections = Connections(desired, lambda _: "", read_only=True)
    await connections.remote(CELLAR)
    await connections.close()
    assert os.listdir(tmp_path) == []


async def test_a_secret_is_asked_for_when_it_is_used(tmp_path: Path) -> None:
    asked: list[SecretRef] = []

    def reveal(reference: SecretRef) -> str:
        asked.append(reference)
        return "secret"

    name = PoolName("lab")
    secret = SecretRef(env="PASSWORD")
    pool = Pool(name=name, urls=("http://127.0.0.1:9",), username="root", password=secret)
    connections = Connections(Latest(Desired(pools={name: pool})), reveal)
    client = await connections.pool(name)
    assert "secret" not in repr(client)
    assert asked == []
    await connections.close()
