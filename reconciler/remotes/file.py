"""A remote that is a file system: `Remote` over the storage port, on threads of its own.

Knows keys, bytes and the order that makes them durable (durable.py). Never knows what the keys
mean; never retries: whoever asked decides whether asking again makes sense.
"""

import contextlib
import errno
import secrets
from collections.abc import AsyncIterator, Callable
from typing import ParamSpec, TypeVar

from reconciler.remotes.durable import Durable
from reconciler.remotes.errors import Denied, RemoteError, TooLarge
from reconciler.remotes.filesystem import Filesystem, Handle, Piece, Space, Stat
from reconciler.remotes.findings import Finding, examine, findings_of
from reconciler.remotes.identity import Identified
from reconciler.remotes.open_file import OpenFile
from reconciler.remotes.pieces import Appending, pieces_of
from reconciler.remotes.probe import READ_ONLY, probe
from reconciler.remotes.remote import Entry, RemoteFile, Traits, Upload
from reconciler.remotes.threads import DEFAULT_PATIENCE, Flag, Patience, Threads

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16
"""Enough for twelve streams and the small things beside them."""


def random_name() -> str:
    return secrets.token_hex(8)


class FileRemote(Identified):
    """Use `await FileRemote.attach(…)`: a remote has to be asked for its traits first."""

    def __init__(
        self,
        name: str,
        filesystem: Filesystem,
        threads: Threads,
        traits: Traits,
        names: Callable[[], str],
        *,
        read_only: bool,
    ) -> None:
        self._name = name
        self._filesystem = filesystem
        self._threads = threads
        self._traits = traits
        self._read_only = read_only
        self._durable = Durable(
            filesystem,
            names,
            directory_sync=traits.directory_sync,
            replace_open=traits.replace_open,
        )

    @classmethod
    async def attach(
        cls,
        name: str,
        filesystem: Filesystem,
        *,
        threads: int | None = THREADS,
        read_only: bool = False,
        names: Callable[[], str] = random_name,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> "FileRemote":
        """Find out the traits and return the remote. Raises RemoteError.

        threads: None calls in place. read_only: nothing is ever written, not even to find out.
        names: gives random parts of temporary names. patience: with calls that hang.
        """
        own = Threads(name, threads, patience)
        try:
            traits = READ_ONLY if read_only else await own.run("", probe, filesystem, names)
        except BaseException:
            await own.close()
            raise
        return cls(name, filesystem, own, traits, names, read_only=read_only)

    @property
    def name(self) -> str:
        return self._name

    @property
    def traits(self) -> Traits:
        return self._traits

    async def findings(self) -> list[Finding]:
        """What a person should know of it, tried out on scratch files. Raises RemoteError."""
        self._check_writable("")
        found = await self._threads.run("", examine, self._filesystem, random_name)
        return [*findings_of(self._traits), *found]

    async def close(self) -> None:
        """Release the threads. Files that are open stay so until their users leave them."""
        await self._threads.close()

    async def list(self, key: str) -> list[Entry]:
        found = await self._threads.run(key, self._filesystem.entries, key)
        return [Entry(name, stat) for name, stat in found]

    async def stat(self, key: str) -> Stat:
        return await self._threads.run(key, self._filesystem.stat, key)

    async def get(self, key: str, size_max: int) -> bytes:
        content = await self._threads.run(key, self._read_whole, key, size_max)
        if len(content) > size_max:
            raise TooLarge(self._name, key, f"more than {size_max} bytes", errno.EFBIG)
        return content

    async def put(self, key: str, content: Piece) -> None:
        await self._writing(key, self._durable.put, key, content)

    async def put_new(self, key: str, content: Piece) -> None:
        await self._writing(key, self._durable.put_new, key, content)

    @contextlib.asynccontextmanager
    async def upload(self, key: str, *, size_expected: int = 0) -> AsyncIterator[Upload]:
        temporary = self._durable.temporary_for(key)
        try:
            async with self.create(temporary) as file:
                upload = Appending(self._name, file)
                yield upload
                upload.conclude()
                await file.sync()
            await self.publish(temporary, key)
        except BaseException:
            with contextlib.suppress(RemoteError):
                await self._writing(temporary, self._durable.discard, temporary)
            raise

    @contextlib.asynccontextmanager
    async def download(self, key: str) -> AsyncIterator[AsyncIterator[memoryview]]:
        async with self.open(key) as file, contextlib.aclosing(pieces_of(file)) as pieces:
            yield pieces

    async def copy(self, source: str, target: str) -> None:
        def copy(flag: Flag) -> None:
            self._durable.copy(
                source, target, reflink=self._traits.reflink, wanted=lambda: not flag.is_set()
            )

        self._check_writable(target)
        await self._threads.run_stoppable(source, copy)

    async def delete(self, key: str) -> None:
        await self._writing(key, self._durable.delete, key)

    @contextlib.asynccontextmanager
    async def open(self, key: str, *, write: bool = False) -> AsyncIterator[RemoteFile]:
        if write:
            self._check_writable(key)
        handle = await self._threads.run_opening(
            key, lambda: self._durable.open(key, write=write), _close
        )
        async with self._leaving(key, handle) as file:
            yield file

    @contextlib.asynccontextmanager
    async def create(self, key: str) -> AsyncIterator[RemoteFile]:
        self._check_writable(key)
        handle = await self._threads.run_opening(key, lambda: self._durable.create(key), _close)
        async with self._leaving(key, handle) as file:
            yield file

    async def publish(self, temporary: str, key: str) -> None:
        await self._writing(key, self._durable.publish, temporary, key)

    async def settle(self, key: str) -> None:
        await self._writing(key, self._durable.settle, key)

    async def make_directory(self, key: str) -> None:
        await self._writing(key, self._durable.make_directory, key)

    async def remove_directory(self, key: str) -> None:
        await self._writing(key, self._durable.remove_directory, key)

    async def touch(self, key: str) -> Stat:
        return await self._writing(key, self._durable.touch, key)

    async def space(self) -> Space:
        return await self._threads.run("", self._filesystem.space)

    async def _writing(
        self, key: str, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Every call that changes something passes here. Raises Denied on a read-only remote."""
        self._check_writable(key)
        return await self._threads.run(key, call, *args, **kwargs)

    def _check_writable(self, key: str) -> None:
        if self._read_only:
            raise Denied(self._name, key, "the remote is read-only", errno.EROFS)

    @contextlib.asynccontextmanager
    async def _leaving(self, key: str, handle: Handle) -> AsyncIterator[RemoteFile]:
        """Close on leaving. An error of close counts, unless there was one before it."""
        file = OpenFile(self._threads, handle, key, self._name, self._traits)
        try:
            yield file
        except BaseException:
            with contextlib.suppress(RemoteError):
                await file.close()
            raise
        await file.close()

    def _read_whole(self, key: str, size_max: int) -> bytes:
        """Read up to one byte more than the limit, whatever the size is said to be."""
        handle = self._durable.open(key)
        try:
            content = bytearray(min(handle.size(), size_max) + 1)
            count = handle.pread_into(memoryview(content), 0)
            return bytes(memoryview(content)[:count])
        finally:
            handle.close()


def _close(handle: Handle) -> None:
    handle.close()
