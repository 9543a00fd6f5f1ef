"""The remote port: what the data plane and the catalog may ask of any place for bytes.

Asynchronous; every blocking call runs on the remote's own threads, so that a hung mount holds up
nothing but itself. Keys are relative paths as in `filesystem.py`.

Small objects are published whole by `put` (temporary name, fsync, rename, fsync of the directory:
after it returns they survive a power cut, before that nothing is seen). Disk files are written
through `create`, `Upload`'s writes and `publish`, with the same promise.
"""

from collections.abc import Sequence
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
    directory_sync: directories can be synced; where they cannot, a rename is as durable as the
    server makes it.
    """

    reflink: bool
    replace: bool = True
    patch: bool = True
    block_align: int = 4096
    directory_sync: bool = True


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

    async def write(self, pieces: Sequence[Piece], offset: int) -> None: ...

    async def move(self, moves: Sequence[Move]) -> None:
        """Carry out many moves in one go: shared extents where possible, else copies."""

    async def clone_whole(self, source: "RemoteFile") -> None:
        """Make this (empty) file share all of the source's extents."""

    async def truncate(self, size: int) -> None: ...

    async def size(self) -> int: ...

    async def sync(self) -> None: ...

    async def close(self) -> None: ...


class Remote(Protocol):
    """A place for bytes. Raises RemoteError and its children only (see errors.py)."""

    @property
    def name(self) -> str: ...

    @property
    def traits(self) -> Traits: ...

    async def list(self, key: str) -> list[Entry]:
        """Entries of a directory, sorted by name. Raises Missing; any other error means unknown."""

    async def stat(self, key: str) -> Stat: ...

    async def get(self, key: str, size_max: int) -> bytes:
        """Read a small object whole. Raises TooLarge above `size_max` bytes."""

    async def put(self, key: str, content: Piece) -> None:
        """Publish a small object, replacing what is there, durable when this returns."""

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

    async def space(self) -> Space: ...
