"""A remote that is a prefix of a bucket: `Remote` as far as an object store can be one.

Objects are replaced as a whole and never changed: no `create`, `publish` or writing in place. What
a server may not honour is asked of it when it is opened (a put on condition that the name is
free), never assumed. Directories are what keys have in common; one that is made for its own sake
(a lock) is a marker object inside it, with content of its own each time it is touched, so that
whoever looks sees whether it is still the same.

Knows keys, bytes and requests. Never knows what the keys mean.
"""

import asyncio
import contextlib
import errno
import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import obstore
from obstore.store import S3Store

from reconciler.clock import Clock, SystemClock
from reconciler.remotes.errors import Denied, Exists, Missing, RemoteError, TooLarge, Unavailable
from reconciler.remotes.filesystem import Piece, Space, Stat
from reconciler.remotes.identity import Identified
from reconciler.remotes.places import S3Place
from reconciler.remotes.remote import Entry, RemoteFile, Traits, Upload
from reconciler.remotes.s3_file import S3File, Server, tag_of
from reconciler.remotes.s3_store import Asking, open_store
from reconciler.remotes.s3_upload import S3Upload, part_bytes

MARKER = ".reconciler-directory"
"""The object that keeps an otherwise empty directory; never listed."""

SCRATCH_DIRECTORY = ".reconciler"

_TRY = "reconciler-try"  # metadata of a new object: by which try it came to be
_PROBE_PREFIX = "probe-"
_LEFT_BEHIND_NS = 3600 * 10**9
_LIST_DEADLINE_S = 600.0
_COPY_DEADLINE_S = 600.0
_COPY_MAX = 5 * 1024**3  # of a server-side copy in one request
_KEY_BYTES_MAX = 1024
_READ_BYTES = 2 * 1024 * 1024
# Where nobody is told that a name is taken, whoever wrote last has it; so long one waits to see.
_SETTLE_S = 1.0

_UNASKED = Traits(
    reflink=False, replace=True, patch=False, directory_sync=True, rename=False, exclusive=False
)


def random_name() -> str:
    return secrets.token_hex(8)


class S3Remote(Identified):
    """Use `await S3Remote.attach(…)`: a remote has to be asked for its traits first."""

    def __init__(
        self,
        name: str,
        store: S3Store,
        traits: Traits,
        names: Callable[[], str],
        *,
        read_only: bool,
    ) -> None:
        self._name = name
        self._store = store
        self._traits = traits
        self._names = names
        self._read_only = read_only
        self._asking = Asking(name)
        self._server = Server()

    @classmethod
    async def attach(
        cls,
        name: str,
        place: S3Place,
        *,
        read_only: bool = False,
        clock: Clock | None = None,
        names: Callable[[], str] = random_name,
    ) -> "S3Remote":
        """See that the bucket is there, find out the traits, return the remote. Raises RemoteError.

        read_only: nothing is ever written, not even to find out.
        names: gives random parts of names.
        """
        store = open_store(name, place, clock or SystemClock())
        remote = cls(name, store, _UNASKED, names, read_only=read_only)
        with contextlib.suppress(Missing):
            await remote.list(SCRATCH_DIRECTORY)
        if not read_only:
            remote._traits = await remote._probe()
        return remote

    @property
    def name(self) -> str:
        return self._name

    @property
    def traits(self) -> Traits:
        return self._traits

    async def close(self) -> None:
        """Connections end with the store."""

    # --- whole objects

    async def get(self, key: str, size_max: int) -> bytes:
        self._check(key)

        async def fetch() -> bytes:
            result = await obstore.get_async(self._store, key)
            if result.meta["size"] > size_max:
                raise TooLarge(self._name, key, f"more than {size_max} bytes")
            return (await result.bytes_async()).to_bytes()

        return await self._asking.ask(key, fetch)

    async def put(self, key: str, content: Piece) -> None:
        self._check_writable(key)
        await self._put(key, content)

    async def put_new(self, key: str, content: Piece) -> None:
        self._check_writable(key)
        attempt = self._names()
        if self._traits.exclusive:
            try:
                await self._put(key, content, attempt=attempt, only_new=True)
            except Exists:
                # What the library repeats may meet what it did.
                if not await self._is_of(key, attempt, content):
                    raise
            return
        with contextlib.suppress(Missing):
            await self._head(key)
            raise Exists(self._name, key, "the name is taken")
        await self._put(key, content, attempt=attempt)
        await asyncio.sleep(_SETTLE_S)
        if not await self._is_of(key, attempt, content):
            raise Exists(self._name, key, "somebody else took the name at the same time")

    async def delete(self, key: str) -> None:
        self._check_writable(key)
        with contextlib.suppress(Missing):
            await self._asking.ask(key, lambda: obstore.delete_async(self._store, key))

    async def copy(self, source: str, target: str) -> None:
        self._check(source)
        self._check_writable(target)
        if source == target:
            await self._head(source)
            return

        def copy() -> "asyncio.Future[None]":
            return asyncio.ensure_future(obstore.copy_async(self._store, source, target))

        try:
            await self._asking.ask(source, copy, _COPY_DEADLINE_S)
        except Missing:
            raise
        except RemoteError:
            size = (await self._head(source))["size"]
            if size <= _COPY_MAX:
                raise
            async with (
                self.download(source) as pieces,
                self.upload(target, size_expected=size) as upload,
            ):
                async for piece in pieces:
                    await upload.write(piece)

    async def settle(self, key: str) -> None:
        """What an object store shows is durable."""
        self._check(key)
        await self._head(key)

    # --- piece by piece

    @contextlib.asynccontextmanager
    async def upload(self, key: str, *, size_expected: int = 0) -> AsyncIterator[Upload]:
        self._check_writable(key)
        upload = S3Upload(self._name, key, self._store, self._asking, part_bytes(size_expected))
        async with upload.underway():
            yield upload
        size = (await self._head(key))["size"]
        if size != upload.size_bytes:
            raise Unavailable(self._name, key, f"{size} bytes are there of {upload.size_bytes}")

    @contextlib.asynccontextmanager
    async def download(self, key: str) -> AsyncIterator[AsyncIterator[memoryview]]:
        self._check(key)
        result = await self._asking.ask(key, lambda: obstore.get_async(self._store, key))
        async with contextlib.aclosing(self._pieces(key, result)) as pieces:
            yield pieces

    async def _pieces(
        self, key: str, result: "obstore.GetResult"
    ) -> AsyncGenerator[memoryview, None]:
        stream = result.stream(min_chunk_size=_READ_BYTES)
        left = result.meta["size"]
        while piece := await self._asking.ask(key, lambda: anext(stream, b"")):
            left -= len(piece)
            yield memoryview(piece)
        if left:
            raise Unavailable(self._name, key, f"its last {left} bytes did not come")

    @contextlib.asynccontextmanager
    async def open(self, key: str, *, write: bool = False) -> AsyncIterator[RemoteFile]:
        if write:
            raise self._unable(key)
        self._check(key)
        meta = await self._head(key)
        yield S3File(self._name, key, self._store, self._asking, meta, self._server)

    def create(self, key: str) -> contextlib.AbstractAsyncContextManager[RemoteFile]:
        raise self._unable(key)

    async def publish(self, temporary: str, key: str) -> None:
        raise self._unable(key)

    # --- directories

    async def list(self, key: str) -> list[Entry]:
        found = await self._listed(key)
        if key and not found:
            raise Missing(self._name, key, "no such directory")
        found.pop(MARKER, None)
        return [Entry(name, stat) for name, stat in sorted(found.items())]

    async def stat(self, key: str) -> Stat:
        """Directories have the times of their markers; without one, none (0)."""
        self._check(key)
        with contextlib.suppress(Missing):
            return _stat_of(await self._head(key))
        with contextlib.suppress(Missing):
            return _directory(await self._head(f"{key}/{MARKER}"))
        if await self._listed(key):
            return Stat(0, 0, True, _number(key), is_regular=False)
        raise Missing(self._name, key, "no such object")

    async def make_directory(self, key: str) -> None:
        self._check_writable(key)
        if await self._listed(key):
            raise Exists(self._name, key, "the directory is there")
        await self.put_new(f"{key}/{MARKER}", self._names().encode())

    async def remove_directory(self, key: str) -> None:
        self._check_writable(key)
        found = await self._listed(key)
        if not found:
            raise Missing(self._name, key, "no such directory")
        if set(found) != {MARKER}:
            raise Exists(self._name, key, "the directory is not empty")
        await self.delete(f"{key}/{MARKER}")

    async def touch(self, key: str) -> Stat:
        """Of directories only: objects do not change their times without being written anew."""
        self._check_writable(key)
        if not await self._listed(key):
            raise Missing(self._name, key, "no such directory")
        marker = f"{key}/{MARKER}"
        await self._put(marker, self._names().encode())
        return _directory(await self._head(marker))

    async def space(self) -> Space | None:
        return None

    async def _listed(self, key: str) -> dict[str, Stat]:
        """Every name in a directory, its marker among them. What has both uses is a file."""
        if key:
            self._check(key)
        found = await self._asking.ask(
            key,
            lambda: obstore.list_with_delimiter_async(self._store, key or None),
            _LIST_DEADLINE_S,
        )
        names = {
            path.rpartition("/")[2]: Stat(0, 0, True, _number(path), is_regular=False)
            for path in found["common_prefixes"]
        }
        names.update((meta["path"].rpartition("/")[2], _stat_of(meta)) for meta in found["objects"])
        return names

    # --- requests

    async def _head(self, key: str) -> "obstore.ObjectMeta":
        return await self._asking.ask(key, lambda: obstore.head_async(self._store, key))

    async def _put(
        self, key: str, content: Piece, *, attempt: str = "", only_new: bool = False
    ) -> None:
        """One request, however large. attempt: kept with the object, to know it again."""
        view = memoryview(content).cast("B")
        await self._asking.ask(
            key,
            lambda: obstore.put_async(
                self._store,
                key,
                view,
                attributes={_TRY: attempt} if attempt else None,
                mode="create" if only_new else "overwrite",
                use_multipart=False,
            ),
            conditional=only_new,
        )

    async def _is_of(self, key: str, attempt: str, content: Piece) -> bool:
        """Whether the object that is there came to be by this try, or at least has its content.

        Raises Unavailable if there is none: somebody else's try is under way or was given up."""
        try:
            result = await self._asking.ask(
                key, lambda: obstore.get_async(self._store, key, options={"head": True})
            )
        except Missing:
            raise Unavailable(self._name, key, "somebody else is writing it") from None
        kept = dict(result.attributes).get(_TRY)
        if kept is not None:
            return kept == attempt
        size = memoryview(content).nbytes
        return result.meta["size"] == size and await self.get(key, size) == bytes(content)

    async def _probe(self) -> Traits:
        """Put a scratch object twice on condition that it is new: the second must be refused."""
        key = f"{SCRATCH_DIRECTORY}/{_PROBE_PREFIX}{self._names()}"
        exclusive = False
        try:
            await self._put(key, b"first", only_new=True)
            try:
                await self._put(key, b"second", only_new=True)
            except Exists:
                exclusive = await self.get(key, _READ_BYTES) == b"first"
            await self._remove_left_behind(key)
        finally:
            with contextlib.suppress(RemoteError):
                await self.delete(key)
        return Traits(
            reflink=False,
            replace=True,
            patch=False,
            directory_sync=True,
            rename=False,
            exclusive=exclusive,
        )

    async def _remove_left_behind(self, ours: str) -> None:
        """Remove scratch objects of probes that were killed; ages are by the server's clock."""
        present_ns = _stat_of(await self._head(ours)).mtime_ns
        for name, stat in (await self._listed(SCRATCH_DIRECTORY)).items():
            if name.startswith(_PROBE_PREFIX) and present_ns - stat.mtime_ns > _LEFT_BEHIND_NS:
                with contextlib.suppress(RemoteError):
                    await self.delete(f"{SCRATCH_DIRECTORY}/{name}")

    # --- refusals

    def _check(self, key: str) -> None:
        """Raises RemoteError for what is no key on every server, and on file systems."""
        parts = key.split("/")
        if (
            any(part in ("", ".", "..") or not part.isprintable() for part in parts)
            or len(key.encode(errors="replace")) > _KEY_BYTES_MAX
        ):
            raise RemoteError(self._name, key, "is not a path below the root")

    def _check_writable(self, key: str) -> None:
        self._check(key)
        if self._read_only:
            raise Denied(self._name, key, "the remote is read-only", errno.EROFS)

    def _unable(self, key: str) -> RemoteError:
        return RemoteError(self._name, key, "an object store has no files to write in; upload it")


def _stat_of(meta: "obstore.ObjectMeta") -> Stat:
    """The inode tells contents apart: it is made of the entity tag. Times are whole seconds: in
    listings some servers give fractions which they do not give elsewhere."""
    seconds = int(meta["last_modified"].timestamp())
    return Stat(
        size_bytes=meta["size"],
        mtime_ns=seconds * 10**9,
        is_directory=False,
        inode=_number(tag_of(meta) or f"{meta['size']} {seconds}"),
    )


def _directory(marker: "obstore.ObjectMeta") -> Stat:
    stat = _stat_of(marker)
    return Stat(0, stat.mtime_ns, True, stat.inode, is_regular=False)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
