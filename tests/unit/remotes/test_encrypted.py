"""Remotes as Xen Orchestra encrypts them. What it would write is made here by other means: the
library's whole-message calls, never the code under test."""

import contextlib
import json
import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from reconciler.remotes.encrypted import EncryptedRemote, expect_not_encrypted
from reconciler.remotes.errors import Damaged, Missing, RemoteError, TooLarge, WrongKey
from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem

KEY = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
CIPHERS = {"chacha20-poly1305": ChaCha20Poly1305, "aes-256-gcm": AESGCM}


def theirs(algorithm: str, content: bytes) -> bytes:
    nonce = os.urandom(12)
    return nonce + CIPHERS[algorithm](KEY.encode()).encrypt(nonce, content, None)


def theirs_read(algorithm: str, sealed: bytes) -> bytes:
    return CIPHERS[algorithm](KEY.encode()).decrypt(sealed[:12], sealed[12:], None)


@pytest.fixture
async def inner():
    remote = await FileRemote.attach("cellar", MemoryFilesystem(), threads=None)
    yield remote
    await remote.close()


async def made_by_others(inner, algorithm):
    await inner.put("encryption.json", json.dumps({"algorithm": algorithm}).encode())
    await inner.put("metadata.json", theirs(algorithm, b'{"random":"7c7f"}'))


def with_key(inner, key=KEY, **more):
    return EncryptedRemote.attach(inner, lambda: key, **more)


async def everything(inner):
    return {
        name: await inner.get(name, 10**6)
        for name in ("encryption.json", "metadata.json")
        if name in [entry.name for entry in await inner.list("")]
    }


async def download(remote, key):
    async with remote.download(key) as pieces:
        return b"".join([bytes(piece) async for piece in pieces])


async def test_an_empty_remote_becomes_one(inner):
    await inner.make_directory("#recycle/.x")
    await inner.remove_directory("#recycle/.x")
    await inner.remove_directory("#recycle")
    remote = await with_key(inner)
    found = await everything(inner)
    assert found["encryption.json"] == b'{"algorithm":"chacha20-poly1305"}'
    proof = json.loads(theirs_read("chacha20-poly1305", found["metadata.json"]))
    assert list(proof) == ["random"]
    await remote.put("f", b"content")
    again = await with_key(inner)
    assert await again.get("f", 10) == b"content"
    assert await everything(inner) == found


@pytest.mark.parametrize("algorithm", CIPHERS)
async def test_what_others_wrote_is_read_and_the_other_way(inner, algorithm):
    await made_by_others(inner, algorithm)
    remote = await with_key(inner)
    assert remote.algorithm == algorithm
    await inner.put("d/theirs", theirs(algorithm, b"their content"))
    assert await remote.get("d/theirs", 13) == b"their content"
    assert await download(remote, "d/theirs") == b"their content"
    assert (await remote.stat("d/theirs")).size_bytes == 13
    await remote.put("d/ours", b"our content")
    await remote.put_new("d/new", b"our content")
    async with remote.upload("d/up") as upload:
        await upload.write(b"our ")
        await upload.write(bytearray(b"content"))
    await remote.copy("d/up", "d/copy")
    nonces = set()
    for name in ("ours", "new", "up"):
        sealed = await inner.get(f"d/{name}", 100)
        assert theirs_read(algorithm, sealed) == b"our content"
        nonces.add(sealed[:12])
    assert len(nonces) == 3
    assert await inner.get("d/copy", 100) == await inner.get("d/up", 100)


async def test_a_remote_of_which_only_the_proof_is_known_has_the_default(inner):
    await inner.put("metadata.json", theirs("chacha20-poly1305", b'{"random":"x"}'))
    remote = await with_key(inner)
    await remote.put("f", b"x")
    assert theirs_read("chacha20-poly1305", await inner.get("f", 100)) == b"x"


async def test_a_wrong_key_is_found_out_before_anything_is_written(inner):
    remote = await with_key(inner)
    await remote.put("f", b"content")
    before = await everything(inner)
    for key in (OTHER, "short", KEY + "0", "\u00fc" * 32):
        with pytest.raises(WrongKey) as raised:
            await with_key(inner, key)
        assert key not in str(raised.value)
    assert await everything(inner) == before
    assert await remote.get("f", 10) == b"content"


async def test_a_key_has_32_bytes_not_characters(inner):
    remote = await with_key(inner, "\u00fc" * 16)
    await remote.put("f", b"content")
    assert ChaCha20Poly1305(("\u00fc" * 16).encode())


async def test_what_is_there_in_clear_is_not_encrypted_over(inner):
    await inner.put("xo-vm-backups/x", b"in clear")
    with pytest.raises(WrongKey, match="not encrypted"):
        await with_key(inner)
    assert await everything(inner) == {}


async def test_what_begins_with_a_dot_does_not_count(inner):
    await inner.put(".reconciler/remote.json", b"{}")
    await inner.put(".hidden", b"")
    await with_key(inner)
    assert set(await everything(inner)) == {"encryption.json", "metadata.json"}


async def test_a_lost_proof_is_made_anew_only_where_there_is_nothing(inner):
    remote = await with_key(inner)
    await inner.delete("metadata.json")
    remote = await with_key(inner)  # a try that died between the two
    await remote.put("f", b"content")
    await inner.delete("metadata.json")
    with pytest.raises(WrongKey, match=r"metadata\.json"):
        await with_key(inner)


async def test_looking_makes_nothing(inner):
    with pytest.raises(WrongKey):
        await with_key(inner, read_only=True)
    assert await everything(inner) == {}


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'"x"', b"{}", b'{"algorithm":7}', b'{"algorithm":"rot13"}', b"\xff"]
)
async def test_an_algorithm_nobody_knows_is_refused(inner, content):
    await inner.put("encryption.json", content)
    with pytest.raises(WrongKey, match="chacha20"):
        await with_key(inner)
    with pytest.raises(WrongKey):
        await expect_not_encrypted(inner)


async def test_without_a_key_an_encrypted_remote_is_left_alone(inner):
    await expect_not_encrypted(inner)
    await inner.put("encryption.json", b'{"algorithm":"none"}')
    await expect_not_encrypted(inner)
    await made_by_others(inner, "aes-256-gcm")
    with pytest.raises(WrongKey, match="no key"):
        await expect_not_encrypted(inner)


async def test_a_remote_that_cannot_be_asked_is_not_an_empty_one(inner, monkeypatch):
    async def broken(key, size_max):
        raise RemoteError("cellar", key, "no answer")

    monkeypatch.setattr(inner, "get", broken)
    with pytest.raises(RemoteError):
        await with_key(inner)
    monkeypatch.undo()
    assert await everything(inner) == {}


@pytest.mark.parametrize("algorithm", CIPHERS)
@pytest.mark.parametrize("size", [0, 1, 11, 12, 15, 27])
async def test_what_is_too_short_is_damaged(inner, algorithm, size):
    await made_by_others(inner, algorithm)
    remote = await with_key(inner)
    await inner.put("f", bytes(size))
    with pytest.raises(Damaged):
        await remote.get("f", 100)
    with pytest.raises(Damaged):
        await download(remote, "f")


@pytest.mark.parametrize("algorithm", CIPHERS)
@pytest.mark.parametrize("change", ["first", "middle", "last", "cut", "longer"])
async def test_a_reader_is_not_told_that_all_is_well(inner, algorithm, change):
    await made_by_others(inner, algorithm)
    remote = await with_key(inner)
    sealed = bytearray(theirs(algorithm, bytes(5_000_000)))
    match change:
        case "first":
            sealed[0] ^= 1
        case "middle":
            sealed[2_500_000] ^= 1
        case "last":
            sealed[-1] ^= 1
        case "cut":
            del sealed[-1]
        case "longer":
            sealed += b"\0"
    await inner.put("f", bytes(sealed))
    with pytest.raises(Damaged):
        await download(remote, "f")
    with pytest.raises(Damaged):
        async with remote.open("f"):
            pass


class Pieces:
    """Downloads in pieces of given sizes."""

    def __init__(self, inner, sizes):
        self._inner, self._sizes = inner, sizes

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def download(self, key):
        @contextlib.asynccontextmanager
        async def opened():
            content = await self._inner.get(key, 10**6)

            async def pieces():
                position = 0
                for size in [*self._sizes, len(content)]:
                    if position < len(content):
                        yield memoryview(content)[position : position + size]
                    position += size

            yield pieces()

        return opened()


@pytest.mark.parametrize("algorithm", CIPHERS)
@given(sizes=st.lists(st.integers(1, 40), max_size=12), size=st.integers(0, 200))
async def test_any_split_of_a_download_is_the_same(algorithm, sizes, size):
    inner = await FileRemote.attach("cellar", MemoryFilesystem(), threads=None)
    await made_by_others(inner, algorithm)
    content = os.urandom(size)
    await inner.put("f", theirs(algorithm, content))
    remote = await with_key(Pieces(inner, sizes))
    assert await download(remote, "f") == content


async def test_the_limit_of_the_cipher_is_the_limit_of_an_object(inner, monkeypatch):
    monkeypatch.setattr("reconciler.remotes.aead.Algorithm.bytes_max", property(lambda self: 1000))
    remote = await with_key(inner)
    await remote.put("f", bytes(1000))
    with pytest.raises(TooLarge):
        await remote.put("f", bytes(1001))
    with pytest.raises(TooLarge):
        async with remote.upload("g") as upload:
            await upload.write(bytes(999))
            await upload.write(bytes(2))
    with pytest.raises(Missing):
        await inner.stat("g")


async def test_a_failed_piece_is_not_forgotten(inner, monkeypatch):
    monkeypatch.setattr("reconciler.remotes.aead.Algorithm.bytes_max", property(lambda self: 1000))
    remote = await with_key(inner)
    with pytest.raises(RemoteError, match="could not be written"):
        async with remote.upload("g") as upload:
            with pytest.raises(TooLarge):
                await upload.write(bytes(1001))
            with contextlib.suppress(RemoteError):
                await upload.write(b"")
    with pytest.raises(Missing):
        await inner.stat("g")
