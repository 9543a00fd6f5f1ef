"""Disks on a remote in memory, streams from bytes, and what they must read as."""

import asyncio
from dataclasses import dataclass, field

import pytest

from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.remote import Traits
from reconciler.remotes.threads import Threads
from reconciler.transfer.source import StreamError, StreamTruncated
from reconciler.vhd.bitmap import runs
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.layout import BLOCK, SECTOR

FULL = b"\xff" * 512


def uuid(number):
    return f"00000000-0000-4000-8000-{number:012d}"


def filled(tag):
    return bytes([tag]) * BLOCK


def overlay(below, bitmap, data):
    """What a block reads as: set sectors from the file, the others from below."""
    content = bytearray(below)
    for sector, count in runs(bitmap):
        span = slice(sector * SECTOR, (sector + count) * SECTOR)
        content[span] = data[span]
    return bytes(content)


@dataclass
class Disk:
    """A file of a chain. blocks: block to the byte it is filled with. bitmaps: where not full."""

    name: str
    number: int
    size: int
    blocks: dict
    parent: "Disk | None" = None
    packing: Packing = Packing.ALIGNED
    bitmaps: dict = field(default_factory=dict)
    directory: str = "d"

    @property
    def key(self):
        return f"{self.directory}/{self.name}"

    @property
    def keys(self):
        """The chain, tip first."""
        return [self.key, *(self.parent.keys if self.parent else [])]

    @property
    def content(self):
        """Block to what it reads as; blocks that are in no file are not there."""
        found = dict(self.parent.content) if self.parent else {}
        for block, tag in self.blocks.items():
            below = found.get(block, bytes(BLOCK))
            found[block] = overlay(below, self.bitmaps.get(block, FULL), filled(tag))
        return found

    @property
    def raw(self):
        image = bytearray(self.size)
        for block, data in self.content.items():
            span = image[block * BLOCK : (block + 1) * BLOCK]
            image[block * BLOCK : (block + 1) * BLOCK] = data[: len(span)]
        return bytes(image)

    def pieces(self):
        """(offset, bytes) of the file."""
        parent = (uuid(self.parent.number), self.parent.name) if self.parent else None
        order = list(self.blocks)
        layout = Layout.of_disk(self.size, order, uuid(self.number), parent, packing=self.packing)
        yield 0, layout.preamble()
        for index, block in enumerate(order):
            yield layout.record_offset(index), self.bitmaps.get(block, FULL)
            yield layout.data_offset(index), filled(self.blocks[block])
        yield layout.trailer_offset, layout.trailer()

    def file(self):
        """The file's bytes."""
        content = bytearray()
        for offset, piece in self.pieces():
            content.extend(bytes(offset - len(content)))
            content.extend(piece)
        return bytes(content)

    async def write(self, remote):
        async with remote.create(self.key) as file:
            for offset, piece in self.pieces():
                await file.write([piece], offset)


class BytesSource:
    """A stream from bytes. stop_at: from this byte on nothing comes, for ever."""

    def __init__(self, content, *, stop_at=None, failure=None):
        self.content = content
        self.stop_at = stop_at
        self.failure = failure
        self.position = 0
        self.aborted = False
        self.finished = False
        self.stopped = asyncio.Event()

    async def read_exactly(self, view):
        await asyncio.sleep(0)
        if self.stop_at is not None and self.position + len(view) > self.stop_at:
            self.stopped.set()
            await asyncio.Event().wait()
        piece = self.content[self.position : self.position + len(view)]
        if len(piece) < len(view):
            raise StreamTruncated(len(view), len(piece))
        view[:] = piece
        self.position += len(view)

    async def finish(self):
        if self.failure is not None:
            raise StreamError(self.failure)
        if self.position < len(self.content):
            raise StreamError("there is more")
        self.finished = True

    async def abort(self):
        self.aborted = True


def remote_on(filesystem):
    return FileRemote(
        "cellar",
        filesystem,
        Threads("cellar", None),
        Traits(reflink=filesystem.reflink),
        iter(map(str, range(10**6))).__next__,
        read_only=False,
    )


@pytest.fixture
def filesystem():
    return MemoryFilesystem()


@pytest.fixture
def remote(filesystem):
    return remote_on(filesystem)


@pytest.fixture
def remote_with():
    """Make a remote of its own. Returns it and its file system."""

    def make(*, reflink=False):
        filesystem = MemoryFilesystem(reflink=reflink)
        return remote_on(filesystem), filesystem

    return make


@pytest.fixture
def disk():
    return Disk


@pytest.fixture
def stream():
    return BytesSource
