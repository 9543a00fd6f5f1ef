"""Disks on a remote in memory, streams from bytes, and what they must read as."""

import asyncio
from dataclasses import dataclass, field

import pytest

from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.remote import Traits
from reconciler.remotes.threads import Threads
from reconciler.transfer.block_codec import Packing, pack
from reconciler.transfer.block_directory import BlockDirectory, alias_content, write_tables
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.records import RUN_BYTES_MAX
from reconciler.transfer.source import StreamError, StreamTruncated
from reconciler.vhd.bitmap import runs
from reconciler.vhd.encoder import Layout
from reconciler.vhd.encoder import Packing as Gaps
from reconciler.vhd.footer import Footer
from reconciler.vhd.header import Header
from reconciler.vhd.layout import BLOCK, SECTOR, DiskType, blocks_of
from reconciler.vhd.presence import Presence

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
    packing: Gaps = Gaps.ALIGNED
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
    """Make a remote of its own, on what an image holds. Returns it and its file system."""

    def make(image=None, *, reflink=False, hard_links=True):
        filesystem = MemoryFilesystem(image, reflink=reflink, hard_links=hard_links)
        return remote_on(filesystem), filesystem

    return make


@pytest.fixture
def disk():
    return Disk


@pytest.fixture
def stream():
    return BytesSource


@dataclass
class BlockDisk:
    """A disk in block mode, as any program may have left it. blocks: block to its fill byte."""

    stamp: str
    number: int
    size: int
    blocks: dict
    parent: "BlockDisk | None" = None
    packing: Packing = Packing.BROTLI
    data: str = ""

    @property
    def name(self):
        return f"{self.stamp}.alias.vhd"

    @property
    def alias(self):
        return f"d/{self.name}"

    @property
    def directory(self):
        return f"d/data/{self.data or self.stamp}.vhd"

    @property
    def uuid(self):
        return uuid(self.number)

    @property
    def keys(self):
        return [self.alias, *(self.parent.keys if self.parent else [])]

    @property
    def content(self):
        """Block to the byte that it reads as."""
        return {**(self.parent.content if self.parent else {}), **self.blocks}

    async def write(self, remote, *, alias=True):
        below = (self.parent.uuid, self.parent.name) if self.parent else (None, None)
        disk = BlockDirectory(
            remote,
            self.alias,
            self.directory,
            Footer.new(
                self.size,
                self.uuid,
                DiskType.DIFFERENCING if self.parent else DiskType.DYNAMIC,
            ),
            Header.new(blocks_of(self.size), *below),
            Presence(self.blocks),
            self.packing,
        )
        for block, tag in self.blocks.items():
            await remote.put(disk.block_key(block), pack(self.packing, FULL + filled(tag)))
        await write_tables(disk)
        if alias:
            await remote.put(self.alias, alias_content(self.directory))
        return disk


@pytest.fixture
def block_disk():
    return BlockDisk


@pytest.fixture
def reads_as():
    """Read a whole chain; give block to the byte that fills it."""

    async def read(remote, keys):
        found, buffer = {}, bytearray(RUN_BYTES_MAX)
        async with open_chain(remote, keys) as reader:
            for run in reader.runs():
                await reader.read_run(buffer, run)
                for block, start in run.records:
                    data = buffer[start + 512 : start + 512 + BLOCK]
                    assert data == data[:1] * BLOCK, f"block {block} is mixed up"
                    found[block] = data[0]
        return found

    return read
