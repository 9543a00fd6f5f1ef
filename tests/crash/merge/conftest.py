"""A chain on a remote, and what each of its restore points must read as, at any moment.

    root ◀── target ◀── source ◀── tip         the target's own restore point was pruned

`World.check` is the checker for the harness: it finds each chain by the names in the files, as a
catalog would, reads every block, and compares.
"""

from dataclasses import dataclass, field

import pytest

from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.journal import journal_key_of
from reconciler.transfer.merge import merge
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.footer import Footer
from reconciler.vhd.header import Header
from reconciler.vhd.layout import BLOCK, DiskType

DIRECTORY = "vms/vdis/job/disk"


def uuid(number):
    return f"00000000-0000-4000-8000-{number:012d}"


def filled(tag):
    return bytes([tag]) * BLOCK


@dataclass
class Disk:
    """One file: `blocks` maps a block to the byte it is filled with."""

    name: str
    number: int
    size_blocks: int
    blocks: dict
    parent: "Disk | None" = None
    packing: Packing = Packing.ALIGNED
    bitmaps: dict = field(default_factory=dict)

    @property
    def key(self):
        return f"{DIRECTORY}/{self.name}"

    def content(self):
        """What a reader of the chain up to here sees: block to 2 MiB."""
        below = self.parent.content() if self.parent else {}
        return below | {block: filled(tag) for block, tag in self.blocks.items()}

    async def write(self, remote):
        parent = (uuid(self.parent.number), self.parent.name) if self.parent else None
        order = sorted(self.blocks)
        layout = Layout.of_disk(
            self.size_blocks * BLOCK, order, uuid(self.number), parent, packing=self.packing
        )
        async with remote.create(self.key) as file:
            await file.write([layout.preamble()], 0)
            for index, block in enumerate(order):
                data = filled(self.blocks[block])
                await file.write([layout.slot_head, data], layout.slot_offset(index))
            await file.write([layout.trailer()], layout.trailer_offset)
            await file.sync()


class World:
    """disks: oldest first. pruned: names of those that are no restore points of their own."""

    def __init__(self, disks, target, source, copy_below_bytes, middle=None):
        self.disks = disks
        self.middle = middle
        self.copy_below_bytes = copy_below_bytes
        self.target = target
        self.source = source
        self.points = [disk for disk in disks if disk not in (target, middle)]
        self.expected = {disk.name: disk.content() for disk in self.points}
        self.journal_key = journal_key_of(target.key)
        self.protocols = set()
        self._buffer = bytearray(BLOCK)
        self._right = set()

    async def scenario(self, remote):
        for disk in self.disks:
            await disk.write(remote)

    async def operation(self, remote):
        merged = await merge(
            remote,
            self.target.key,
            self.source.key,
            self.journal_key,
            copy_below_bytes=self.copy_below_bytes,
        )
        self.protocols.add(merged.protocol)

    async def check(self, remote, filesystem, stage):
        for disk in self.points:
            await self.check_point(remote, filesystem, disk)
        if stage == "after":
            wanted = sorted(disk.key for disk in self.points)
            # Names of `put` that a crash leaves are random; the catalog cleans them away.
            found = [path for path in filesystem.paths() if not path.endswith(".partial")]
            assert found == wanted, f"left behind: {found}"

    async def check_point(self, remote, filesystem, disk):
        expected = self.expected[disk.name]
        keys = await chain_of(remote, disk.key)
        # What reads right once does so again from the same bytes: thousands of states share them.
        paths = [*keys, *(key for key in map(journal_key_of, keys) if key in filesystem.paths())]
        seen = (disk.name, *((path, filesystem.content(path).key) for path in paths))
        if seen in self._right:
            return
        async with open_chain(remote, keys) as reader:
            assert reader.size == disk.size_blocks * BLOCK, f"{disk.name}: size {reader.size}"
            assert reader.layers[0].uuid == uuid(disk.number), f"{disk.name}: another's uuid"
            assert set(reader.blocks()) == set(expected), f"{disk.name}: {reader.blocks()}"
            view = memoryview(self._buffer)
            for block, data in expected.items():
                await reader.read_block_into(view, block)
                assert self._buffer == data, f"{disk.name}: block {block} is wrong"
        self._right.add(seen)


async def chain_of(remote, key):
    """Follow the parents' names down, with nothing but what stands in the files."""
    keys = []
    while key is not None:
        keys.append(key)
        async with remote.open(key) as file:
            first = await file.read(0, 1536)
            size = await file.size()
            last = await file.read(size - 512, 512)
        footer = next(iter(_parsed(first, last)))
        if footer.disk_type is DiskType.DIFFERENCING:
            key = f"{DIRECTORY}/{Header.parse(first[512:]).parent_name}"
        else:
            key = None
    return keys


def _parsed(*copies):
    for copy in copies:
        try:
            yield Footer.parse(copy)
        except Exception:
            continue


@pytest.fixture
def chain():
    """Make a world: four files, the second one to be merged into the third.

    grown: size of the source and the tip in blocks. packing: of the target and the source.
    full: the target is the oldest file, without parent. copy: rather than in place.
    between: another pruned file lies between the two, as Xen Orchestra merges several at once.
    """

    def make(
        *,
        copy=False,
        size=8,
        grown=None,
        full=False,
        between=False,
        target_packing=Packing.ALIGNED,
        source_packing=Packing.ALIGNED,
    ):
        grown = grown or size
        root = Disk("20260101T000000Z.vhd", 1, size, {0: 1, 1: 2, 2: 3})
        target = Disk(
            "20260102T000000Z.vhd",
            2,
            size,
            {0: 10, 1: 11, 2: 12, 4: 13, 5: 14},
            None if full else root,
            target_packing,
        )
        middle = None
        if between:
            middle = Disk("20260102T120000Z.vhd", 9, size, {1: 91, 6: 92}, target, source_packing)
        below = middle or target
        blocks = {0: 20, 2: 21, 3: 22, 5: 24}
        source = Disk("20260103T000000Z.vhd", 3, grown, blocks, below, source_packing)
        if grown > size:
            source.blocks[grown - 1] = 23
        tip = Disk("20260104T000000Z.vhd", 4, grown, {3: 31, 0: 32}, source)
        disks = [root, target, middle, source, tip]
        if full:
            disks = disks[1:]
        disks = [disk for disk in disks if disk is not None]
        return World(disks, target, source, 2**50 if copy else 0, middle)

    return make
