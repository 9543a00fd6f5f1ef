import asyncio
import json

import pytest

from reconciler.remotes.errors import RemoteError, Unavailable, WrongRemote
from reconciler.remotes.faults import Fault
from reconciler.remotes.file import FileRemote
from reconciler.remotes.identity import (
    IDENTITY_KEY,
    IdentityInvalid,
    check_identity,
    content_of,
    identity_in,
    settle_identity,
)
from reconciler.remotes.memory import MemoryFilesystem

ONE = "0a0a0a0a-0000-4000-8000-000000000001"
OTHER = "0a0a0a0a-0000-4000-8000-000000000002"


@pytest.fixture
async def remote():
    return await FileRemote.attach("cellar", MemoryFilesystem(reflink=False), threads=None)


async def test_looking_writes_nothing(remote):
    assert await check_identity(remote, None) is None
    with pytest.raises(WrongRemote, match=f"should be {ONE} and there is none"):
        await check_identity(remote, ONE)
    assert [each.name for each in await remote.list(".reconciler")] == []


async def test_the_first_writer_says_who_it_is_and_it_stays_so(remote):
    identity = await settle_identity(remote, None)
    assert await settle_identity(remote, None) == identity
    assert await settle_identity(remote, identity) == identity
    assert await check_identity(remote, identity.upper()) == identity
    said = json.loads(await remote.get(IDENTITY_KEY, 1000))
    assert said == {"id": identity}


async def test_of_many_first_writers_all_hear_the_same(remote):
    heard = []

    async def first():
        heard.append(await settle_identity(remote, None))

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(first())
    assert len(heard) == 5
    assert set(heard) == {await check_identity(remote, None)}


async def test_what_is_pinned_is_never_made_up(remote):
    with pytest.raises(WrongRemote):
        await settle_identity(remote, ONE)
    assert await check_identity(remote, None) is None


async def test_another_remote_is_refused(remote):
    await remote.put(IDENTITY_KEY, content_of(OTHER))
    for look in (check_identity, settle_identity):
        with pytest.raises(WrongRemote, match=f"should be {ONE} and it is {OTHER}"):
            await look(remote, ONE)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"id": 7}', b'{"id": "x"}', b"\xff"]
)
async def test_a_file_that_says_nothing_is_not_written_over(remote, content):
    with pytest.raises(IdentityInvalid):
        identity_in(content)
    await remote.put(IDENTITY_KEY, content)
    with pytest.raises(WrongRemote, match="cannot be read"):
        await settle_identity(remote, None)
    assert await remote.get(IDENTITY_KEY, 1000) == content


async def test_a_huge_file_is_not_read(remote):
    await remote.put(IDENTITY_KEY, b" " * 5000)
    with pytest.raises(WrongRemote, match="cannot be read"):
        await check_identity(remote, None)


async def test_unknown_is_not_missing():
    filesystem = MemoryFilesystem(reflink=False)
    remote = await FileRemote.attach("cellar", filesystem, threads=None)
    filesystem.fault = Fault(at=0, number=5, spot=("open", IDENTITY_KEY))
    with pytest.raises(RemoteError) as raised:
        await settle_identity(remote, None)
    assert isinstance(raised.value, Unavailable)


async def test_a_remote_that_was_swapped_is_noticed(remote):
    await remote.identify(None)
    await remote.prove()
    await remote.put(IDENTITY_KEY, content_of(OTHER))
    with pytest.raises(WrongRemote):
        await remote.prove()
