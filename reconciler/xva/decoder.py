"""The archive as it flows by: what it is made of, and whether that is right.

```
        ova.xml      ── the description: which disks must follow, and how large they are
        Ref:4/00000000        1 MiB        ┐ the first chunk and the last of a disk always come;
        Ref:4/00000000.xxhash              │ those between that are nothing but zeros do not.
        Ref:4/00000007        1 MiB        │ A checksum follows its chunk at once.
        Ref:4/00000007.xxhash              ┘
        Ref:9/00000000 …
        two records of zeros
```

A disk's bytes are counted as the pool's importer counts them: a number that is left out stands for
a chunk of zeros, a chunk of no bytes is a sign of life and stands for nothing. A disk is whole if
its last chunk ends exactly where the disk does, an archive if all its disks are whole and the end
came. So whatever is missing is missed, even where a member ends.

`XvaDecoder` is pushed pieces of any size and never holds more than the description.
"""

import hashlib
import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from reconciler.xva.compression import Piece
from reconciler.xva.description import (
    DESCRIPTION_BYTES_MAX,
    NAME,
    ArchivedDisk,
    Description,
    parse_description,
)
from reconciler.xva.errors import XvaCorrupt, XvaInvalid, XvaTruncated
from reconciler.xva.tar import RECORD, Member, parse_head

CHUNK_BYTES_MAX = 16 * 1024 * 1024
"""XAPI's have 1 MiB."""

_CHUNK = re.compile(
    r"(?P<disk>Ref:\d{1,18})/(?P<number>\d{8,18})(?:\.(?P<sum>\w{1,16}))?", re.ASCII
)
_DIGITS = {"checksum": 40, "xxhash": 16}
_PADDING_MAX = 64 * 1024  # of zeros after the end: tar programs fill up to a multiple of 10 KiB
_SHOWN_MAX = 60


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a disk, valid until the next is asked for. offset: in the disk, bytes.

    Its checksum has not come yet: only a whole archive is to be believed.
    """

    disk: ArchivedDisk
    offset: int
    content: memoryview


@dataclass(frozen=True, slots=True)
class Seen:
    """What was in an archive that was whole. archive_bytes: unpacked. data_bytes: of chunks.

    unverified: chunks whose checksum could not be checked here (xxhash without its library).
    """

    description: Description
    archive_bytes: int
    data_bytes: int
    chunks: int
    unverified: int


class _Hash(Protocol):
    def update(self, content: Any, /) -> object: ...

    def hexdigest(self) -> str: ...


def _find_xxhash() -> Callable[[], _Hash] | None:
    """XXH64, if its library is here. In Python alone it would be a hundred times too slow."""
    try:
        found: Callable[[], _Hash] = importlib.import_module("xxhash").xxh64
    except ImportError:
        return None
    return found


XXH64 = _find_xxhash()

Event = Description | Chunk


@dataclass(slots=True)
class _Disk:
    """How far a disk has come. offset: where its next chunk goes if no number is left out."""

    disk: ArchivedDisk
    chunk_bytes: int = 0
    number: int = -1
    offset: int = 0


class XvaDecoder:
    """One archive that is not compressed. Raises XvaError; then it is of no more use."""

    def __init__(self) -> None:
        self.position = 0
        self._take: Callable[[memoryview], Iterator[Event]] = self._collect
        self._held = bytearray()
        self._wanted = RECORD
        self._then: Callable[[bytes], Iterator[Event]] = self._head
        self._after_padding: Callable[[bytes], Iterator[Event]] = self._head
        self._left = 0
        self._member = Member("", 0)
        self._description: Description | None = None
        self._disks: dict[str, _Disk] = {}
        self._current: _Disk | None = None
        self._chunk_at = 0
        self._sums: dict[str, _Hash] = {}
        self._sum_wanted = ""
        self._data_bytes = 0
        self._chunks = 0
        self._unverified = 0
        self._zero_records = 0
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the end of the archive was reached."""
        return self._ended

    def feed(self, piece: Piece) -> Iterator[Event]:
        """Take the next bytes; give what stands in them. Must be iterated to its end."""
        view = memoryview(piece)
        while view:
            wanted = self._left if self._take == self._flow else self._wanted - len(self._held)
            part = view[:wanted] if not self._ended else view
            view = view[len(part) :]
            self.position += len(part)
            yield from self._take(part)

    def finish(self) -> Seen:
        """Say that nothing follows. Raises XvaTruncated unless the archive was whole."""
        if not self._ended or self._description is None:
            raise XvaTruncated(f"the archive ends early, after {self.position} bytes")
        return Seen(
            description=self._description,
            archive_bytes=self.position,
            data_bytes=self._data_bytes,
            chunks=self._chunks,
            unverified=self._unverified,
        )

    # ── what is held together first ──────────────────────────────────────────────────────────

    def _expect(self, wanted: int, then: Callable[[bytes], Iterator[Event]]) -> None:
        self._held, self._wanted, self._then = bytearray(), wanted, then
        self._take = self._collect

    def _collect(self, part: memoryview) -> Iterator[Event]:
        self._held += part
        if len(self._held) == self._wanted:
            yield from self._then(bytes(self._held))

    def _pad(self, then: Callable[[bytes], Iterator[Event]] | None = None) -> None:
        """Pass over the member's padding to the next head."""
        self._after_padding = then or self._head
        if self._member.padding:
            self._expect(self._member.padding, self._padded)
        else:
            self._expect(RECORD, self._after_padding)

    def _padded(self, _: bytes) -> Iterator[Event]:
        self._expect(RECORD, self._after_padding)
        return iter(())

    # ── members ──────────────────────────────────────────────────────────────────────────────

    def _head(self, head: bytes) -> Iterator[Event]:
        member = parse_head(head)
        if member is None:
            self._end_record()
        elif self._zero_records:
            raise XvaInvalid("goes on after its end", member.name[:_SHOWN_MAX])
        else:
            self._member = member
            self._begin(member)
        return iter(())

    def _begin(self, member: Member) -> None:
        if self._description is None:
            if member.name != NAME:
                raise XvaInvalid(f"comes first instead of {NAME}", member.name[:_SHOWN_MAX])
            if not 0 < member.size <= DESCRIPTION_BYTES_MAX:
                raise XvaInvalid(f"has {member.size} bytes", NAME)
            self._expect(member.size, self._described)
            return
        match = _CHUNK.fullmatch(member.name)
        if match is None:
            raise XvaInvalid("is no part of a disk", member.name[:_SHOWN_MAX])
        if match["sum"] is not None:
            self._begin_checksum(member, match["sum"])
        elif self._sum_wanted:
            raise XvaInvalid("has no checksum", self._sum_wanted)
        else:
            self._begin_chunk(member, match["disk"], int(match["number"]))

    def _described(self, content: bytes) -> Iterator[Event]:
        self._description = parse_description(content)
        self._disks = {disk.ref: _Disk(disk) for disk in self._description.disks}
        self._pad()
        yield self._description

    # ── chunks ───────────────────────────────────────────────────────────────────────────────

    def _begin_chunk(self, member: Member, ref: str, number: int) -> None:
        disk = self._disks.get(ref)
        if disk is None:
            raise XvaInvalid(f"{NAME} knows no such disk", member.name)
        if disk is not self._current:
            self._leave_disk()
            if disk.number >= 0:
                raise XvaInvalid("its disk was over already", member.name)
            self._current = disk
        if number <= disk.number:
            raise XvaInvalid("comes after a higher number", member.name)
        if disk.chunk_bytes == 0:
            if number != 0 or not 0 < member.size <= CHUNK_BYTES_MAX:
                raise XvaInvalid(f"begins its disk, with {member.size} bytes", member.name)
            disk.chunk_bytes = member.size
        skipped = (number - disk.number - 1) * disk.chunk_bytes
        self._chunk_at = disk.offset + skipped
        end = self._chunk_at + member.size
        size = disk.disk.virtual_bytes
        if end > size or (member.size not in (0, disk.chunk_bytes) and end != size):
            raise XvaInvalid(f"ends at byte {end} of a disk of {size}", member.name)
        disk.number, disk.offset = number, end
        self._sum_wanted = member.name
        self._sums = {"checksum": hashlib.sha1(usedforsecurity=False)}
        if XXH64 is not None:
            self._sums["xxhash"] = XXH64()
        self._data_bytes += member.size
        self._chunks += member.size > 0
        self._left = member.size
        if member.size:
            self._take = self._flow
        else:
            self._pad()

    def _flow(self, part: memoryview) -> Iterator[Event]:
        """Pass a chunk's bytes on as they are."""
        assert self._current is not None
        for each in self._sums.values():
            each.update(part)
        at = self._chunk_at
        self._chunk_at += len(part)
        self._left -= len(part)
        if self._left == 0:
            self._pad()
        yield Chunk(self._current.disk, at, part)

    def _begin_checksum(self, member: Member, kind: str) -> None:
        if member.name != f"{self._sum_wanted}.{kind}" or kind not in _DIGITS:
            raise XvaInvalid("is not the checksum of the chunk before it", member.name)
        if member.size != _DIGITS[kind]:
            raise XvaInvalid(f"has {member.size} bytes", member.name)
        self._expect(member.size, self._check)

    def _check(self, said: bytes) -> Iterator[Event]:
        kind = self._member.name.rpartition(".")[2]
        if kind in self._sums:
            if self._sums[kind].hexdigest().encode() != said.lower():
                raise XvaCorrupt("is not what its checksum says", self._sum_wanted)
        else:
            self._unverified += 1
        self._sum_wanted = ""
        self._pad()
        return iter(())

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    def _leave_disk(self) -> None:
        if self._sum_wanted:
            raise XvaInvalid("has no checksum", self._sum_wanted)
        current = self._current
        if current is not None and current.offset != current.disk.virtual_bytes:
            raise XvaTruncated(
                f"only {current.offset} of its {current.disk.virtual_bytes} bytes came",
                current.disk.ref,
            )

    def _end_record(self) -> None:
        if self._description is None:
            raise XvaInvalid(f"has no {NAME}")
        self._leave_disk()
        for disk in self._disks.values():
            if disk.number < 0:
                raise XvaTruncated("nothing of this disk came", disk.disk.ref)
        self._zero_records += 1
        self._expect(RECORD, self._head)
        if self._zero_records == 2:
            self._ended = True
            self._left = _PADDING_MAX
            self._take = self._trail

    def _trail(self, part: memoryview) -> Iterator[Event]:
        self._left -= len(part)
        if self._left < 0 or any(part):
            raise XvaInvalid("goes on after its end")
        return iter(())
