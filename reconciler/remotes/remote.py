"""The remote port: what the data plane and the catalog may ask of any place for bytes.

Asynchronous; every blocking call runs on the remote's own threads, so that a hung mount holds up
nothing but itself. Keys are relative paths as in `filesystem.py`.

Small objects are published whole by `put` (temporary name, fsync, rename, fsync of the directory:
after it returns they survive a power cut, before that nothing is seen); long ones come piece by
piece through `upload`, with the same promise. Disk files are written through `create`, writes at
any offset and `publish`: on file systems only (`Traits.rename`).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from reconciler.remotes.filesystem import Piece, Space, Stat


@dataclass(frozen=True, slots=True)
class Traits:
    """What a remote can do, asked of it once when it is opened.

    reflink: files can share extents, so that copies of aligned ranges cost nothing.
    replace: rename over an existing name is atomic. patch: files can be written in the middle.
    block_align: extents must start at multiples of this to be shared, bytes.
    replace_open: a file that somebody reads can be replaced; where it cannot (SMB), replacing it
    waits for some seconds, then fails.
    directory_sync: directories can be synced; where they cannot, a rename is as durable as the
    server makes it.
    rename: files are written under one name and given another (`create`, `publish`, `open` for
    writing); object stores cannot. exclusive: of many who `put_new` one key, one succeeds; where
    it is False the others may learn too late that they were not alone.
    encrypted: what is written is encrypted on its way, so nothing that is told of it may lie beside
    it in clear.
    """

    reflink: bool
    replace: bool = True
    patch: bool = True
    block_align: int = 4096
    directory_sync: bool = True
    replace_open: bool = True
    rename: bool = True
    exclusive: bool = True
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    stat: Stat


@dataclass(frozen=True, slots=True)
class Move:
    """Bytes from one open file to another: `count` bytes at `source_offset` to `offset`."""

    source: "RemoteFile"
    source_offset: int
    offset: int
    count: int


class RemoteFile(Protocol):
    """An open file on a remote."""

    @property
    def key(self) -> str: ...

    async def read_into(self, target: memoryview, offset: int) -> int: ...

    async def read(self, offset: int, count: int) -> bytes:
        """Read exactly `count` bytes. Raises RemoteError if the file is shorter."""

    async def read_many(self, offsets: Sequence[int], count: int) -> list[bytes]:
        """Read exactly `count` bytes at each offset, in one go (small pieces, far apart)."""

    async def write(self, pieces: Sequence[Piece], offset: int) -> None:
        """Write all pieces, one after the other.

        After an error, or cancelled, the pieces may still be read by a call that hangs: their
        memory must not be put to another use, and what is in the file is worth nothing."""

    async def move(self, moves: Sequence[Move]) -> None:
        """Carry out many moves in one go: shared extents where possible, else copies."""

    async def clone_whole(self, source: "RemoteFile") -> None:
        """Make this (empty) file share all of the source's extents."""

    async def truncate(self, size: int) -> None: ...

    async def size(self) -> int: ...

    async def sync(self) -> None: ...

    async def close(self) -> None: ...


class Upload(Protocol):
    """An object on its way, piece by piece; seen by nobody until it is whole."""

    async def write(self, piece: Piece) -> None:
        """Append. One call at a time; the piece may be used for something else afterwards."""


class Remote(Protocol):
    """A place for bytes. Raises RemoteError and its children only (see errors.py)."""

    @property
    def name(self) -> str: ...

    @property
    def traits(self) -> Traits: ...

    @property
    def identity(self) -> str | None:
        """What the identity file said when the remote was opened; None: there was none."""

    async def prove(self) -> None:
        """Look whether it still says so. Raises WrongRemote: hands off, all of it."""

    async def list(self, key: str) -> list[Entry]:
        """Entries of a directory, sorted by name. Raises Missing; any other error means unknown."""

    async def stat(self, key: str) -> Stat: ...

    async def get(self, key: str, size_max: int) -> bytes:
        """Read a small object whole. Raises TooLarge above `size_max` bytes."""

    async def put(self, key: str, content: Piece) -> None:
        """Publish a small object, replacing what is there, durable when this returns."""

    async def put_new(self, key: str, content: Piece) -> None:
        """Publish a small object under a free name. Raises Exists; what is there is durable then.

        How far to trust that among several callers: `Traits.exclusive`."""

    def upload(self, key: str, *, size_expected: int = 0) -> AbstractAsyncContextManager[Upload]:
        """Publish an object of any size, replacing what is there: durable once left cleanly.

        Left by an exception, nothing of it is seen under `key`. size_expected: about how many
        bytes will come, 0 if that is not known; more may come where the remote takes them."""

    def download(self, key: str) -> AbstractAsyncContextManager[AsyncIterator[memoryview]]:
        """Read an object of any size from its start. A piece is valid until the next is asked for.

        That all is well is known only once the iterator has ended by itself."""

    async def copy(self, source: str, target: str) -> None:
        """Have the bytes of one object under a second key as well, replaced in one step, durable.

        The two may be one file with two names: neither is ever opened for writing afterwards,
        only replaced or deleted."""

    async def delete(self, key: str) -> None:
        """Remove an object, durable when this returns. No error if it is not there."""

    def open(self, key: str, *, write: bool = False) -> AbstractAsyncContextManager[RemoteFile]: ...

    def create(self, key: str) -> AbstractAsyncContextManager[RemoteFile]:
        """Create a file under a name that must be free; its directories are made as needed."""

    async def publish(self, temporary: str, key: str) -> None:
        """Give a synced temporary file its name, replacing what is there; durable on return."""

    async def settle(self, key: str) -> None:
        """Make a file durable, content and name, that may have been published by a try that did
        not live to sync the directory."""

    async def make_directory(self, key: str) -> None:
        """Raises Exists if it is there: one of several callers wins (a lock)."""

    async def remove_directory(self, key: str) -> None: ...

    async def touch(self, key: str) -> Stat:
        """Set the modification time to the server's present; return what it then says."""

    async def space(self) -> Space | None:
        """None: it cannot tell."""

    async def close(self) -> None:
        """Release what was opened for it. Never waits for a server that hangs."""
