"""The storage port on a model of a file system: records every call, fails any, shows crashes.

What is built from the port's calls is proven here: run it once, then look at each state that a
crash at any point could have left (`crashes`), and run it again with each call failing in turn
(`Fault`). It is a model in the strict sense: slower to lose nothing than a real file system is,
and never kinder.

Not for several threads: use `FileRemote` with `threads=None` on it.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from reconciler.remotes.contents import Content, Extent, extents_of
from reconciler.remotes.crashes import (
    ROOT,
    Crash,
    Effect,
    Image,
    Naming,
    Overlay,
    Sync,
    Truncation,
    applied,
    crashes,
    crashes_at_end,
    inodes_of,
)
from reconciler.remotes.faults import Call, Fault
from reconciler.remotes.filesystem import Handle, Piece, Space, Stat

T = TypeVar("T")

_CLONE_ALIGN = 4096
_TOTAL_BYTES = 2**40


class MemoryFilesystem:
    """image: what is there and durable at first. pending: effects that are there and not durable.
    fault: what goes wrong, if anything.

    `calls` is everything that was asked, in order; `pass_time` moves the server's clock.
    """

    def __init__(
        self,
        image: Image | None = None,
        pending: Sequence[Effect] = (),
        *,
        reflink: bool = False,
        hard_links: bool = True,
        fault: Fault | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self.reflink = reflink
        self.hard_links = hard_links
        self.fault = fault
        self._base = image or Image()
        self._now = applied(self._base, pending)
        self._log: list[Effect | Sync] = list(pending)
        self._before = len(pending)
        self._next_inode = 1 + max(inodes_of(self._now, pending))
        self._clock_ns = 1_700_000_000 * 10**9
        self._mtimes: dict[int, int] = {}

    # --- what tests ask of the model

    @property
    def image(self) -> Image:
        """What everybody sees now, as if all of it were durable."""
        return self._now

    @property
    def forgotten(self) -> frozenset[int]:
        """Inodes of which a sync failed: what it was to write is never durable."""
        return frozenset(
            entry.inode for entry in self._log if isinstance(entry, Sync) and entry.failed
        )

    def crashes(
        self, *, subsets_max: int = 256, seed: int = 0, coarse: bool = False
    ) -> Iterator[Crash]:
        """What a crash at any point since the beginning could have left."""
        return crashes(
            self._base,
            self._log,
            after=self._before,
            subsets_max=subsets_max,
            seed=seed,
            coarse=coarse,
        )

    def crashes_now(self, *, subsets_max: int = 256, seed: int = 0) -> Iterator[Crash]:
        """What a crash at this moment could leave."""
        return crashes_at_end(self._base, self._log, subsets_max=subsets_max, seed=seed)

    def pass_time(self, seconds: float) -> None:
        self._clock_ns += int(seconds * 10**9)

    def content(self, path: str) -> Content:
        """A file's content as it is now, unrecorded. Raises OSError."""
        return self._now.contents.get(self._file(path), Content())

    def paths(self) -> list[str]:
        """Every file there is, unrecorded."""

        def below(path: str, inode: int) -> Iterator[str]:
            for name, inner in self._now.directories[inode].items():
                joined = f"{path}/{name}" if path else name
                if inner in self._now.directories:
                    yield from below(joined, inner)
                else:
                    yield joined

        return sorted(below("", ROOT))

    # --- the port

    def create(self, path: str) -> "MemoryHandle":
        def do() -> MemoryHandle:
            directory, name = self._place(path)
            if name in self._now.directories[directory]:
                raise _error(errno.EEXIST)
            inode = self._new_inode()
            self._apply(Naming(directory, ((name, inode),)))
            return MemoryHandle(self, inode, path, writable=True)

        return self._call(Call("create", path), do)

    def open(self, path: str, *, write: bool = False) -> "MemoryHandle":
        def do() -> MemoryHandle:
            return MemoryHandle(self, self._file(path), path, writable=write)

        return self._call(Call("open", path), do)

    def stat(self, path: str) -> Stat:
        return self._call(Call("stat", path), lambda: self._stat_of(self._inode(path)))

    def entries(self, path: str) -> list[tuple[str, Stat]]:
        def do() -> list[tuple[str, Stat]]:
            names = self._now.directories[self._directory(path)]
            return [(name, self._stat_of(inode)) for name, inode in sorted(names.items())]

        return self._call(Call("entries", path), do)

    def list(self, path: str) -> list[str]:
        return self._call(
            Call("list", path), lambda: sorted(self._now.directories[self._directory(path)])
        )

    def make_directory(self, path: str) -> None:
        def do() -> None:
            directory, name = self._place(path)
            if name in self._now.directories[directory]:
                raise _error(errno.EEXIST)
            inode = self._new_inode()
            self._apply(Naming(directory, ((name, inode),), made_directory=inode))

        self._call(Call("make_directory", path), do)

    def remove_directory(self, path: str) -> None:
        def do() -> None:
            directory, name = self._place(path)
            if self._now.directories[self._directory(path)]:
                raise _error(errno.ENOTEMPTY)
            self._apply(Naming(directory, ((name, None),)))

        self._call(Call("remove_directory", path), do)

    def rename(self, source: str, target: str) -> None:
        def do() -> None:
            inode = self._inode(source)
            source_directory, source_name = self._place(source)
            directory, name = self._place(target)
            replaced = self._now.directories[directory].get(name)
            if inode == replaced:
                return
            if replaced is not None and replaced in self._now.directories:
                raise _error(errno.EISDIR)
            if directory == source_directory:
                self._apply(Naming(directory, ((source_name, None), (name, inode))))
            else:
                self._apply(Naming(directory, ((name, inode),)))
                self._apply(Naming(source_directory, ((source_name, None),)))

        self._call(Call("rename", source, target=target), do)

    def link(self, source: str, target: str) -> None:
        def do() -> None:
            inode = self._file(source)
            directory, name = self._place(target)
            if name in self._now.directories[directory]:
                raise _error(errno.EEXIST)
            if not self.hard_links:
                raise _error(errno.ENOTSUP)
            self._apply(Naming(directory, ((name, inode),)))

        self._call(Call("link", source, target=target), do)

    def unlink(self, path: str) -> None:
        def do() -> None:
            self._file(path)
            directory, name = self._place(path)
            self._apply(Naming(directory, ((name, None),)))

        self._call(Call("unlink", path), do)

    def sync_directory(self, path: str) -> None:
        self._call(
            Call("sync_directory", path), lambda: self._log.append(Sync(self._directory(path)))
        )

    def set_mtime(self, path: str, mtime_ns: int | None) -> None:
        def do() -> None:
            self._mtimes[self._inode(path)] = self._clock_ns if mtime_ns is None else mtime_ns

        self._call(Call("set_mtime", path), do)

    def space(self) -> Space:
        def do() -> Space:
            used = sum(content.size for content in self._now.contents.values())
            return Space(max(_TOTAL_BYTES - used, 0), _TOTAL_BYTES)

        return self._call(Call("space", ""), do)

    # --- the model

    def _call(self, call: Call, do: Callable[[], T], half: Callable[[], None] | None = None) -> T:
        """Record a call and carry it out, unless it is its turn to fail."""
        index = len(self.calls)
        self.calls.append(call)
        self._clock_ns += 1000
        if self.fault is not None and self.fault.strikes(index, call):
            if self.fault.done:
                do()
            elif self.fault.short and half is not None:
                half()
            raise _error(self.fault.number)
        return do()

    def _apply(self, effect: Effect) -> None:
        self._log.append(effect)
        self._now = applied(self._now, [effect])
        self._mtimes[effect.inode] = self._clock_ns

    def _new_inode(self) -> int:
        self._next_inode += 1
        self._mtimes[self._next_inode] = self._clock_ns
        return self._next_inode

    def _stat_of(self, inode: int) -> Stat:
        is_directory = inode in self._now.directories
        size = 0 if is_directory else self._now.contents.get(inode, Content()).size
        mtime_ns = self._mtimes.get(inode, 1_600_000_000 * 10**9)
        return Stat(size, mtime_ns, is_directory, inode, is_regular=not is_directory)

    def _inode(self, path: str) -> int:
        inode = ROOT
        for component in path.split("/") if path else []:
            if component in ("", ".", "..") or "\0" in component:
                raise _error(errno.EINVAL)
            if inode not in self._now.directories:
                raise _error(errno.ENOTDIR)
            if component not in self._now.directories[inode]:
                raise _error(errno.ENOENT)
            inode = self._now.directories[inode][component]
        return inode

    def _directory(self, path: str) -> int:
        inode = self._inode(path)
        if inode not in self._now.directories:
            raise _error(errno.ENOTDIR)
        return inode

    def _file(self, path: str) -> int:
        inode = self._inode(path)
        if inode in self._now.directories:
            raise _error(errno.EISDIR)
        return inode

    def _place(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        if name in ("", ".", "..") or "\0" in name:
            raise _error(errno.EINVAL)
        return self._directory(above), name


class MemoryHandle:
    """An open file of the model; like a real one it outlives its name."""

    def __init__(
        self, filesystem: MemoryFilesystem, inode: int, path: str, *, writable: bool
    ) -> None:
        self._filesystem = filesystem
        self._inode = inode
        self._path = path
        self._writable = writable
        self._closed = False

    def pread_into(self, target: memoryview, offset: int) -> int:
        view = target.cast("B") if target.format != "B" else target
        call = Call("pread_into", self._path, offset, len(view))
        return self._call(call, lambda: self._content.read_into(view, offset))

    def pwritev(self, pieces: Sequence[Piece], offset: int) -> None:
        extents, count = extents_of(pieces, offset)
        self._overlay("pwritev", offset, count, extents)

    def truncate(self, size: int) -> None:
        call = Call("truncate", self._path, size)
        self._call(call, lambda: self._filesystem._apply(Truncation(self._inode, size)))

    def size(self) -> int:
        return self._call(Call("size", self._path), lambda: self._content.size)

    def sync(self) -> None:
        log = self._filesystem._log
        try:
            self._call(Call("sync", self._path), lambda: log.append(Sync(self._inode)))
        except OSError:
            log.append(Sync(self._inode, failed=True))
            raise

    def clone_from(self, source: Handle, source_offset: int, offset: int, count: int) -> None:
        assert isinstance(source, MemoryHandle), "both files are of one kind of file system"
        size = source._content.size
        stop = source_offset + count if count else size
        aligned = source_offset % _CLONE_ALIGN == 0 and offset % _CLONE_ALIGN == 0
        if not self._filesystem.reflink:
            refusal = errno.ENOTSUP
        elif not aligned or stop > size or (stop % _CLONE_ALIGN and stop != size):
            refusal = errno.EINVAL
        else:
            refusal = 0
        self._copy("clone_from", source, source_offset, offset, stop - source_offset, refusal)

    def copy_from(self, source: Handle, source_offset: int, offset: int, count: int) -> None:
        assert isinstance(source, MemoryHandle), "both files are of one kind of file system"
        refusal = errno.EIO if source_offset + count > source._content.size else 0
        self._copy("copy_from", source, source_offset, offset, count, refusal)

    def close(self) -> None:
        try:
            self._call(Call("close", self._path), lambda: None)
        finally:
            self._closed = True

    @property
    def _content(self) -> Content:
        return self._filesystem._now.contents.get(self._inode, Content())

    def _call(self, call: Call, do: Callable[[], T], half: Callable[[], None] | None = None) -> T:
        if self._closed or (call.changes and call.kind != "sync" and not self._writable):
            raise _error(errno.EBADF)
        return self._filesystem._call(call, do, half)

    def _copy(
        self,
        kind: str,
        source: "MemoryHandle",
        source_offset: int,
        offset: int,
        count: int,
        refusal: int,
    ) -> None:
        found = source._content.range(source_offset, source_offset + count)
        extents = [extent.moved(offset - source_offset) for extent in found]
        self._overlay(kind, offset, count, extents, refusal)

    def _overlay(
        self, kind: str, offset: int, count: int, extents: Sequence[Extent], refusal: int = 0
    ) -> None:
        overlay = Overlay(self._inode, offset, count, tuple(extents))

        def do() -> None:
            if refusal:
                raise _error(refusal)
            if count:
                self._filesystem._apply(overlay)

        def half() -> None:
            if count > 1 and not refusal:
                self._filesystem._apply(overlay.torn(count // 2))

        self._call(Call(kind, self._path, offset, count), do, half)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
