"""Any chain reads as a dict of sectors says, before and after any merge in it, by any protocol.

The model knows no files: a disk is a dict from blocks to bytes, and a delta changes sectors of it.
"""

import asyncio
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.remote import Traits
from reconciler.remotes.threads import Threads
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.journal import journal_key_of
from reconciler.transfer.merge import merge
from reconciler.transfer.restore import vhd_stream
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.layout import BITMAP, BLOCK, BLOCK_SECTORS, SECTOR

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FULL = b"\xff" * BITMAP


@dataclass(frozen=True)
class File:
    """blocks: (block, byte it is filled with, (first sector, count) that are there)."""

    blocks: tuple
    packing: Packing
    grows_by: int


extents = st.one_of(
    st.just((0, BLOCK_SECTORS)),
    st.integers(0, BLOCK_SECTORS - 1).flatmap(
        lambda first: st.tuples(st.just(first), st.integers(1, BLOCK_SECTORS - first))
    ),
)
files = st.builds(
    File,
    blocks=st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 255), extents),
        max_size=5,
        unique_by=lambda block: block[0],
    ).map(tuple),
    packing=st.sampled_from(Packing),
    grows_by=st.sampled_from([0, 0, 0, 1, 200]),
)
whole_files = files.map(
    lambda file: File(
        tuple((block, tag, (0, BLOCK_SECTORS)) for block, tag, _ in file.blocks),
        file.packing,
        file.grows_by,
    )
)
chains = st.one_of(
    st.lists(files, min_size=2, max_size=4), st.lists(whole_files, min_size=2, max_size=4)
)


def uuid(number):
    return f"00000000-0000-4000-8000-{number:012d}"


def bitmap_of(first, count):
    bits = ((1 << count) - 1) << (BLOCK_SECTORS - first - count)
    return bits.to_bytes(BITMAP, "big")


def remote_on(filesystem):
    return FileRemote(
        "cellar",
        filesystem,
        Threads("cellar", None),
        Traits(reflink=filesystem.reflink),
        iter(map(str, range(10**6))).__next__,
        read_only=False,
    )


async def write(remote, chain):
    """Write files; return for each the size and what the disk reads as there."""
    points, disk, size_blocks = [], {}, 8
    for number, file in enumerate(chain):
        size_blocks += file.grows_by
        size = size_blocks * BLOCK - 3 * SECTOR
        parent = (uuid(number - 1), f"{number - 1}.vhd") if number else None
        order = [block for block, _, _ in file.blocks]
        layout = Layout.of_disk(size, order, uuid(number), parent, packing=file.packing)
        async with remote.create(f"{number}.vhd") as target:
            await target.write([layout.preamble()], 0)
            await target.write([layout.trailer()], layout.trailer_offset)
            for index, (block, tag, (first, count)) in enumerate(file.blocks):
                record = [bitmap_of(first, count), bytes([tag]) * BLOCK]
                await target.write(record, layout.record_offset(index))
                content = bytearray(disk.get(block, bytes(BLOCK)))
                content[first * SECTOR : (first + count) * SECTOR] = bytes([tag]) * count * SECTOR
                disk[block] = bytes(content)
        points.append((size, dict(disk)))
    return points


async def check(remote, points):
    """points: number of each file that is left, to what it reads as."""
    for number, (size, disk) in points.items():
        keys = [f"{n}.vhd" for n in sorted(points, reverse=True) if n <= number]
        async with open_chain(remote, keys) as reader:
            assert reader.size == size
            assert reader.layers[0].uuid == uuid(number)
            assert reader.blocks() == sorted(disk)
            buffer = bytearray(BLOCK)
            for block, data in disk.items():
                await reader.read_block_into(memoryview(buffer), block)
                assert buffer == data, f"{number}.vhd, block {block}"
            length, pieces = vhd_stream(reader)
            records = [bytes(piece) async for piece in pieces]
        assert sum(map(len, records)) == length
        assert records[1:-1] == [FULL + disk[block] for block in sorted(disk)]


@SETTINGS
@given(
    chain=chains,
    reflink=st.booleans(),
    copy_below_bytes=st.sampled_from([0, 2**40]),
    data=st.data(),
)
def test_every_point_reads_as_before_whatever_is_merged(chain, reflink, copy_below_bytes, data):
    async def story():
        filesystem = MemoryFilesystem(reflink=reflink)
        remote = remote_on(filesystem)
        points = dict(enumerate(await write(remote, chain)))
        await check(remote, points)
        while len(points) > 1:
            target, source = data.draw(
                st.sampled_from(list(zip(sorted(points), sorted(points)[1:], strict=False)))
            )
            await merge(
                remote,
                f"{target}.vhd",
                f"{source}.vhd",
                journal_key_of(f"{target}.vhd"),
                copy_below_bytes=copy_below_bytes,
            )
            del points[target]
            await check(remote, points)
            assert filesystem.paths() == sorted(f"{number}.vhd" for number in points)

    asyncio.run(story())
