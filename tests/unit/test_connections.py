"""Opened things by name: once, until their settings change."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.connections import Connections
from reconciler.desired.state import (
    Desired,
    LocalPlace,
    MountedBy,
    NfsPlace,
    Place,
    Pool,
    Remote,
    S3Place,
    SecretRef,
    SmbPlace,
)
from reconciler.ids import PoolName, RemoteName
from reconciler.latest import Latest
from reconciler.remotes.errors import Denied, Missing, RemoteError, Unavailable, WrongRemote
from reconciler.remotes.mounting import Answer, Mounter

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


async def test_a_remote_is_opened_again_when_a_secret_of_it_is_another(tmp_path: Path) -> None:
    key, other = SecretRef(secret="k", key="k", namespace="a"), SecretRef(env="OTHER")
    settings = Remote(name=CELLAR, place=LocalPlace(str(tmp_path)), encryption=key)
    connections = Connections(Latest(Desired(remotes={CELLAR: settings})), lambda _: "k" * 32)
    first = await connections.remote(CELLAR)
    await connections.renew({other})
    assert await connections.remote(CELLAR) is first
    await connections.renew({key})
    assert await connections.remote(CELLAR) is not first
    await connections.close()


async def test_what_is_in_use_is_closed_when_its_last_user_lets_go(tmp_path: Path) -> None:
    settings = Remote(name=CELLAR, place=LocalPlace(str(tmp_path / "one")))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    desired = Latest(Desired(remotes={CELLAR: settings}))
    connections = Connections(desired, lambda _: "")
    lease, other = connections.lease(), connections.lease()
    async with lease:
        async with lease, other:
            before = await lease.remote(CELLAR)
            assert await lease.remote(CELLAR) is await other.remote(CELLAR) is before
            moved = replace(settings, place=LocalPlace(str(tmp_path / "two")))
            desired.put(Desired(remotes={CELLAR: moved}))
            after = await connections.remote(CELLAR)
            await before.put("note", b"of somebody who began before")
        await before.put("note", b"of the last one")
    with pytest.raises(Unavailable, match="closed"):
        await before.put("note", b"too late")
    assert (tmp_path / "one" / "note").read_bytes() == b"of the last one"
    async with lease:
        assert await lease.remote(CELLAR) is after, "a lease can be taken again"
    assert await connections.remote(CELLAR) is after, "what is not retired stays open"
    await connections.close()
    with pytest.raises(Unavailable, match="closed"):
        await after.put("note", b"too late")


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


KEY = SecretRef(env="KEY")
LONG = "k" * 32


def revealing(secrets: dict[str, str]) -> Callable[[SecretRef], str]:
    def reveal(reference: SecretRef) -> str:
        try:
            return secrets[reference.env or ""]
        except KeyError as error:
            raise LookupError(f"the environment variable {reference.env} is not set") from error

    return reveal


def connected(remote: Remote, secrets: dict[str, str], **options: Any) -> Connections:
    desired = Latest(Desired(remotes={CELLAR: remote}))
    return Connections(desired, revealing(secrets), **options)


async def test_an_encrypted_remote_is_opened_with_its_key_alone(tmp_path: Path) -> None:
    settings = Remote(CELLAR, LocalPlace(str(tmp_path)), encryption=KEY)
    connections = connected(settings, {"KEY": LONG})
    remote = await connections.remote(CELLAR)
    await remote.put("note", b"plain words")
    assert await remote.get("note", 100) == b"plain words"
    assert b"plain words" not in (tmp_path / "note").read_bytes()
    await connections.close()
    for other, secrets, why in (
        (settings, {"KEY": "x" * 32}, "key"),
        (settings, {"KEY": "short"}, "32 bytes"),
        (replace(settings, encryption=None), {}, "encrypted"),
    ):
        connections = connected(other, secrets)
        with pytest.raises(RemoteError, match=why):
            await connections.remote(CELLAR)
        await connections.close()


async def test_a_remote_is_held_to_its_rate(tmp_path: Path) -> None:
    settings = Remote(CELLAR, LocalPlace(str(tmp_path)), rate_bytes_per_s=1024**2)
    connections = connected(settings, {})
    remote = await connections.remote(CELLAR)
    began = asyncio.get_running_loop().time()
    await remote.put("note", b"x" * 600 * 1024)
    await remote.put("note", b"x")
    assert asyncio.get_running_loop().time() - began > 0.4
    await connections.close()


async def test_another_place_than_the_one_that_is_meant_is_not_opened(tmp_path: Path) -> None:
    settings = Remote(CELLAR, LocalPlace(str(tmp_path)))
    connections = connected(settings, {})
    found = (await connections.remote(CELLAR)).identity
    assert found is not None
    await connections.close()
    for identity in (found, "5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11"):
        connections = connected(replace(settings, identity=identity), {})
        if identity == found:
            assert (await connections.remote(CELLAR)).identity == found
        else:
            with pytest.raises(WrongRemote):
                await connections.remote(CELLAR)
        await connections.close()


@pytest.mark.parametrize(
    ("remote", "what"),
    [
        (Remote(CELLAR, LocalPlace("/nowhere"), encryption=KEY), "the encryption key"),
        (Remote(CELLAR, SmbPlace("nas", "b", username="me", password=KEY)), "the password"),
        (Remote(CELLAR, S3Place("https://s3.invalid", "xen", KEY, KEY)), "the access key"),
    ],
)
async def test_a_secret_that_cannot_be_had_is_named(remote: Remote, what: str) -> None:
    connections = connected(remote, {})
    with pytest.raises(Denied, match=f"{what} cannot be read: the environment variable KEY"):
        await connections.remote(CELLAR)
    await connections.close()


class Mounts:
    """A mount(8) that notes what it is asked for, and refuses."""

    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.commands: list[Sequence[str]] = []
        self.mounter = Mounter(str(self.state), run=self._run, mounts=list)

    def _run(self, command: Sequence[str], deadline_s: float) -> Answer:
        self.commands.append(command)
        return Answer(32, "mount.nfs: no route to host")


SHARES = [
    (
        NfsPlace("2001:db8::5", "/b", mounted_by=MountedBy.OPERATOR, options=("vers=4.2",)),
        ("nfs", "[2001:db8::5]:/b", "vers=4.2"),
    ),
    (
        SmbPlace("nas", "b", "x", mounted_by=MountedBy.OPERATOR, username="me", password=KEY),
        ("cifs", "//nas/b", "credentials="),
    ),
]


@pytest.mark.parametrize(("place", "expected"), SHARES)
async def test_shares_are_mounted_for_those_who_act(
    tmp_path: Path, place: Place, expected: tuple[str, str, str]
) -> None:
    machine = Mounts(tmp_path)
    connections = connected(Remote(CELLAR, place), {"KEY": "pass"}, mounter=machine.mounter)
    with pytest.raises(Unavailable, match="no route to host"):
        await connections.remote(CELLAR)
    ((_, _, kind, _, options, source, directory),) = machine.commands
    assert (kind, source, directory) == (*expected[:2], str(machine.state / "cellar"))
    assert expected[2] in options
    assert options.startswith("rw,")
    await connections.close()


@pytest.mark.parametrize(("place", "expected"), SHARES)
async def test_looking_mounts_nothing(
    tmp_path: Path, place: Place, expected: tuple[str, str, str]
) -> None:
    machine = Mounts(tmp_path)
    connections = connected(
        Remote(CELLAR, place), {"KEY": "pass"}, mounter=machine.mounter, read_only=True
    )
    with pytest.raises(Unavailable, match="looking mounts nothing"):
        await connections.remote(CELLAR)
    assert machine.commands == []
    assert not machine.state.exists()
    await connections.close()


@pytest.mark.parametrize(("place", "expected"), SHARES)
async def test_who_restores_mounts_as_who_acts_does(
    tmp_path: Path, place: Place, expected: tuple[str, str, str]
) -> None:
    """Writable, too: a mount that differs would take the place of the one that is in use."""
    machine = Mounts(tmp_path)
    connections = connected(
        Remote(CELLAR, place),
        {"KEY": "pass"},
        mounter=machine.mounter,
        read_only=True,
        mounts=True,
    )
    with pytest.raises(Unavailable, match="no route to host"):
        await connections.remote(CELLAR)
    assert machine.commands[0][4].startswith("rw,")
    await connections.close()


async def test_a_ca_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    place = S3Place("https://s3.invalid", "xen", KEY, KEY, ca=str(tmp_path / "ca.pem"))
    connections = connected(Remote(CELLAR, place), {"KEY": "pass"})
    with pytest.raises(Denied, match=r"ca\.pem .*cannot be read"):
        await connections.remote(CELLAR)
    await connections.close()


async def test_what_only_limits_closes_nothing_that_is_in_use(tmp_path: Path) -> None:
    settings = Remote(CELLAR, LocalPlace(str(tmp_path)), rate_bytes_per_s=1000)
    desired = Latest(Desired(remotes={CELLAR: settings}))
    connections = Connections(desired, lambda _: "")
    first = await connections.remote(CELLAR)
    for changed in (
        replace(settings, rate_bytes_per_s=2000),
        replace(settings, rate_bytes_per_s=None),
        replace(settings, actions_max=3, suspend=True),
    ):
        desired.put(Desired(remotes={CELLAR: changed}))
        assert await connections.remote(CELLAR) is first
    await connections.close()
