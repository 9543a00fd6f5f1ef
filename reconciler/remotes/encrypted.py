"""A remote in a skin that encrypts every object as Xen Orchestra does, and reads what it encrypted.

At the root, `encryption.json` names the algorithm, in clear; `metadata.json`, encrypted, proves
that the key is right. Names and directories are not encrypted. There is no reading or writing in
the middle of an object, so only block directories and archives live here, no VHD files.

A wrong key is found out before anything is written. What is read is given out whole and verified,
or, of objects that are read piece by piece, with an error in place of the end.

Knows keys, bytes and the format. Never knows what the bytes mean.
"""

import asyncio
import contextlib
import dataclasses
import functools
import json
import secrets
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TypeVar

from reconciler.remotes.aead import (
    KEY_BYTES,
    NONCE_BYTES,
    OVERHEAD_BYTES,
    TAG_BYTES,
    Algorithm,
    NotAuthentic,
    Sealer,
    Unsealer,
    seal,
    sealer,
    unseal,
    unsealer,
)
from reconciler.remotes.errors import (
    Damaged,
    Exists,
    Missing,
    RemoteError,
    TooLarge,
    Unavailable,
    WrongKey,
)
from reconciler.remotes.filesystem import Piece, Stat
from reconciler.remotes.read_only_file import BytesFile
from reconciler.remotes.remote import Entry, Remote, RemoteFile, Traits, Upload
from reconciler.remotes.skin import Skin

T = TypeVar("T")

ENCRYPTION = "encryption.json"
METADATA = "metadata.json"

_OPEN_MAX = 64 * 1024 * 1024
"""Objects that are opened are decrypted whole; longer ones are downloaded."""

_JSON_MAX = 64 * 1024
_LOOP_BYTES_MAX = 32 * 1024  # what may be encrypted on the event loop: some ten microseconds


class EncryptedRemote(Skin):
    """Use `await EncryptedRemote.attach(…)`: the remote says which algorithm it is of.

    Copies are of the ciphertext: nothing in it depends on its name.
    """

    def __init__(self, inner: Remote, algorithm: Algorithm, key: bytes) -> None:
        super().__init__(inner)
        self._algorithm = algorithm
        self._key = key

    @classmethod
    async def attach(
        cls, inner: Remote, key: Callable[[], str], *, read_only: bool = False
    ) -> "EncryptedRemote":
        """Open an encrypted remote, or make one of an empty one.

        key: 32 bytes of UTF-8, as they are: no derivation.
        Raises WrongKey, also if what is there is not encrypted, and other RemoteErrors.
        """
        secret = key().encode()
        if len(secret) != KEY_BYTES:
            raise WrongKey(
                inner.name, "", f"the encryption key must have {KEY_BYTES} bytes, has {len(secret)}"
            )
        algorithm = await _algorithm_of(inner)
        remote = cls(inner, algorithm or Algorithm.CHACHA20_POLY1305, secret)
        try:
            await remote._prove_key()
        except Missing:
            await _expect_empty(inner, encrypted=algorithm is not None)
            if read_only:
                raise WrongKey(
                    inner.name, "", "nothing is here yet, and nothing may be written"
                ) from None
            await remote._begin()
        return remote

    @property
    def traits(self) -> Traits:
        inner = self._inner.traits
        return dataclasses.replace(inner, reflink=False, patch=False, rename=False, encrypted=True)

    @property
    def algorithm(self) -> Algorithm:
        return self._algorithm

    # --- whole objects

    async def get(self, key: str, size_max: int) -> bytes:
        sealed = await self._inner.get(key, size_max + OVERHEAD_BYTES)
        try:
            return await _aside(len(sealed), lambda: unseal(self._algorithm, self._key, sealed))
        except NotAuthentic:
            raise self._damaged(key) from None

    async def put(self, key: str, content: Piece) -> None:
        await self._inner.put(key, await self._sealed(key, content))

    async def put_new(self, key: str, content: Piece) -> None:
        await self._inner.put_new(key, await self._sealed(key, content))

    # --- piece by piece

    @contextlib.asynccontextmanager
    async def upload(self, key: str, *, size_expected: int = 0) -> AsyncIterator[Upload]:
        nonce = secrets.token_bytes(NONCE_BYTES)
        expected = size_expected + OVERHEAD_BYTES if size_expected else 0
        async with self._inner.upload(key, size_expected=expected) as inner:
            await inner.write(nonce)
            upload = _SealedUpload(
                self.name, key, inner, self._algorithm, sealer(self._algorithm, self._key, nonce)
            )
            yield upload
            await upload.end()

    @contextlib.asynccontextmanager
    async def download(self, key: str) -> AsyncIterator[AsyncIterator[memoryview]]:
        async with (
            self._inner.download(key) as pieces,
            contextlib.aclosing(self._unsealed(key, pieces)) as unsealed,
        ):
            yield unsealed

    async def _unsealed(
        self, key: str, pieces: AsyncIterator[memoryview]
    ) -> AsyncGenerator[memoryview, None]:
        """Hold back what may be the tag. The end comes only if the tag fits."""
        held = bytearray()
        opening: Unsealer | None = None
        async for piece in pieces:
            held += piece
            if opening is None:
                if len(held) < NONCE_BYTES:
                    continue
                opening = unsealer(self._algorithm, self._key, bytes(held[:NONCE_BYTES]))
                del held[:NONCE_BYTES]
            if len(held) > TAG_BYTES:
                ciphertext = bytes(memoryview(held)[:-TAG_BYTES])
                del held[:-TAG_BYTES]
                update = functools.partial(opening.update, ciphertext)
                yield memoryview(await _aside(len(ciphertext), update))
        if opening is None or len(held) < TAG_BYTES:
            raise self._damaged(key)
        try:
            opening.finish(bytes(held))
        except NotAuthentic:
            raise self._damaged(key) from None

    @contextlib.asynccontextmanager
    async def open(self, key: str, *, write: bool = False) -> AsyncIterator[RemoteFile]:
        if write:
            raise self._unable(key)
        yield BytesFile(self.name, key, await self.get(key, _OPEN_MAX))

    def create(self, key: str) -> contextlib.AbstractAsyncContextManager[RemoteFile]:
        raise self._unable(key)

    async def publish(self, temporary: str, key: str) -> None:
        raise self._unable(key)

    # --- directories, which are as they are

    async def list(self, key: str) -> list[Entry]:
        return [Entry(entry.name, _plain(entry.stat)) for entry in await self._inner.list(key)]

    async def stat(self, key: str) -> Stat:
        return _plain(await self._inner.stat(key))

    async def touch(self, key: str) -> Stat:
        return _plain(await self._inner.touch(key))

    # --- the key

    async def _prove_key(self) -> None:
        """Raises WrongKey; Missing if there is no proof yet."""
        sealed = await self._inner.get(METADATA, _JSON_MAX)
        try:
            json.loads(unseal(self._algorithm, self._key, sealed))
        except (NotAuthentic, ValueError, RecursionError):
            raise WrongKey(
                self.name, METADATA, "the encryption key is not the one it was written with"
            ) from None

    async def _begin(self) -> None:
        """Make an empty remote an encrypted one. Somebody else may do the same right now."""
        clear = json.dumps({"algorithm": self._algorithm.value}, separators=(",", ":")).encode()
        with contextlib.suppress(Exists):
            await self._inner.put_new(ENCRYPTION, clear)
        algorithm = await _algorithm_of(self._inner)
        if algorithm is None:
            raise Missing(self.name, ENCRYPTION, "it was removed while it was written")
        self._algorithm = algorithm
        proof = json.dumps({"random": str(uuid.uuid4())}, separators=(",", ":")).encode()
        with contextlib.suppress(Exists):
            await self._inner.put_new(METADATA, await self._sealed(METADATA, proof))
        await self._prove_key()

    async def _sealed(self, key: str, content: Piece) -> bytes:
        size = memoryview(content).nbytes
        if size > self._algorithm.bytes_max:
            raise _too_large(self.name, key, self._algorithm)
        nonce = secrets.token_bytes(NONCE_BYTES)
        return await _aside(size, lambda: seal(self._algorithm, self._key, nonce, content))

    def _damaged(self, key: str) -> Damaged:
        return Damaged(self.name, key, "it is damaged, or was encrypted with another key")

    def _unable(self, key: str) -> RemoteError:
        return RemoteError(self.name, key, "encrypted objects are not changed in the middle")


class _SealedUpload:
    """Encrypts what is appended. What failed once stays failed: the cipher has gone on."""

    def __init__(
        self, remote: str, key: str, inner: Upload, algorithm: Algorithm, sealing: Sealer
    ) -> None:
        self._remote = remote
        self._key = key
        self._inner = inner
        self._algorithm = algorithm
        self._sealing = sealing
        self._bytes = 0
        self._whole = True

    async def write(self, piece: Piece) -> None:
        count = memoryview(piece).nbytes
        self._conclude()
        self._whole = False
        if self._bytes + count > self._algorithm.bytes_max:
            raise _too_large(self._remote, self._key, self._algorithm)
        await self._inner.write(await _aside(count, lambda: self._sealing.update(piece)))
        self._bytes += count
        self._whole = True

    async def end(self) -> None:
        self._conclude()
        await self._inner.write(self._sealing.finish())

    def _conclude(self) -> None:
        if not self._whole:
            raise Unavailable(self._remote, self._key, "a piece of it could not be written")


async def expect_not_encrypted(inner: Remote) -> None:
    """Raises WrongKey if a remote says that it is encrypted: what is written plainly into one is
    unreadable for whoever has the key."""
    with contextlib.suppress(Missing):
        content = await inner.get(ENCRYPTION, _JSON_MAX)
        if _algorithm_in(content) != "none":
            raise WrongKey(inner.name, ENCRYPTION, "it is encrypted, and no key was given")


def _algorithm_in(content: bytes) -> object:
    """Raises nothing: None is no algorithm."""
    try:
        return json.loads(content)["algorithm"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


async def _algorithm_of(inner: Remote) -> Algorithm | None:
    """What the remote says of itself; None: nothing. Raises WrongKey if it is nothing we know."""
    try:
        content = await inner.get(ENCRYPTION, _JSON_MAX)
    except Missing:
        return None
    try:
        return Algorithm(str(_algorithm_in(content)))
    except ValueError:
        known = " or ".join(Algorithm)
        raise WrongKey(
            inner.name, ENCRYPTION, f"it does not name an algorithm that is known here ({known})"
        ) from None


async def _expect_empty(inner: Remote, *, encrypted: bool) -> None:
    for entry in await inner.list(""):
        if not entry.name.startswith(".") and entry.name not in (ENCRYPTION, METADATA):
            raise WrongKey(
                inner.name,
                "",
                f"{METADATA}, which proves the key, is gone; restore it from a copy"
                if encrypted
                else "it holds data that is not encrypted; take an empty remote, or no key",
            )


async def _aside(count: int, work: Callable[[], T]) -> T:
    """Do what takes longer than a moment on a thread."""
    return work() if count <= _LOOP_BYTES_MAX else await asyncio.to_thread(work)


def _plain(stat: Stat) -> Stat:
    """With the size of what was encrypted."""
    if not stat.is_regular:
        return stat
    return dataclasses.replace(stat, size_bytes=max(stat.size_bytes - OVERHEAD_BYTES, 0))


def _too_large(remote: str, key: str, algorithm: Algorithm) -> TooLarge:
    return TooLarge(
        remote, key, f"{algorithm} takes no objects of more than {algorithm.bytes_max} bytes"
    )
