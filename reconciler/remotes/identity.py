"""The file that says which remote this is: `.reconciler/remote.json`, `{"id": "<uuid>"}`.

Another share or bucket in a remote's place would look like one whose restore points are gone, and
take new ones; so each gets an identity from the first of us who writes there, and from then on
that is looked at before anything is changed. Reading only looks.

What is expected: the id that the manifest pins; else the one that was there when the remote was
opened. So without a pin, a remote that is swapped while we run is noticed, one that was swapped
before is not; for mounted shares the source of the mount says it instead (mounts.py).
"""

import contextlib
import json
import uuid
from typing import Protocol

from reconciler.remotes.errors import Exists, Missing, TooLarge, WrongRemote
from reconciler.remotes.filesystem import Piece

IDENTITY_KEY = ".reconciler/remote.json"
SIZE_MAX = 4096


class Objects(Protocol):
    """What of a remote it takes to ask it."""

    @property
    def name(self) -> str: ...
    async def get(self, key: str, size_max: int) -> bytes: ...
    async def put_new(self, key: str, content: Piece) -> None: ...


class IdentityInvalid(ValueError):
    """The message says what is wrong with the file, in words for a person."""


def identity_in(content: bytes) -> str:
    """Read the file's content. Raises IdentityInvalid."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        raise IdentityInvalid("it is not JSON") from None
    identity = said.get("id") if isinstance(said, dict) else None
    if not isinstance(identity, str):
        raise IdentityInvalid('it has no "id"')
    try:
        return str(uuid.UUID(identity))
    except ValueError:
        raise IdentityInvalid(f'its "id" is no UUID: {identity[:50]!r}') from None


def content_of(identity: str) -> bytes:
    return json.dumps({"id": identity}).encode() + b"\n"


async def read_identity(remote: Objects) -> str | None:
    """Which remote this says it is; None if it never was told. Raises WrongRemote, RemoteError."""
    try:
        return identity_in(await remote.get(IDENTITY_KEY, SIZE_MAX))
    except Missing:
        return None
    except (IdentityInvalid, TooLarge) as error:
        raise WrongRemote(
            remote.name,
            IDENTITY_KEY,
            f"the identity file cannot be read ({error}); restore it from what"
            " `reconciler describe remote` said, or remove it if you know that this is the remote",
        ) from error


async def check_identity(remote: Objects, expected: str | None) -> str | None:
    """Look whether this is the remote that is meant; return its id, None if it has none.

    expected: None is content with any. Raises WrongRemote, RemoteError.
    """
    found = await read_identity(remote)
    if expected is not None and found != expected.lower():
        seen = "there is none" if found is None else f"it is {found}"
        raise WrongRemote(
            remote.name,
            IDENTITY_KEY,
            f"the identity should be {expected} and {seen}: another share or bucket lies here, or"
            " none; nothing is written and nothing deleted. Bring back the right one, or correct"
            " spec.identity",
        )
    return found


async def settle_identity(remote: Objects, expected: str | None) -> str:
    """The same before writing: a remote that was never told who it is, is told now.

    expected: pinned; it is never written, because whoever pins it has seen it. Returns the id.
    Raises WrongRemote, RemoteError.
    """
    found = await check_identity(remote, expected)
    if found is not None:
        return found
    identity = str(uuid.uuid4())
    with contextlib.suppress(Exists):  # somebody else was first
        await remote.put_new(IDENTITY_KEY, content_of(identity))
    # Where nobody can be kept from overwriting, the last one's word counts, for all.
    found = await read_identity(remote)
    if found is None:
        raise WrongRemote(remote.name, IDENTITY_KEY, "the identity was written and is not there")
    return found


class _Remembering(Objects, Protocol):
    _identity: str | None
    _read_only: bool


class Identified:
    """The part of a remote that remembers which one it is."""

    _identity: str | None = None

    @property
    def identity(self) -> str | None:
        return self._identity

    async def identify(self: _Remembering, expected: str | None) -> str | None:
        """Find out which remote this is, or tell it if it is written and never was told."""
        settle = check_identity if self._read_only else settle_identity
        self._identity = await settle(self, expected)
        return self._identity

    async def prove(self: _Remembering) -> None:
        if self._identity is not None:
            await check_identity(self, self._identity)
