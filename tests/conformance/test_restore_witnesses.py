"""Restored and merged disks before witnesses that nobody here wrote: qemu-img and libvhdi."""

import random
import subprocess
from contextlib import AsyncExitStack

import pytest
import pyvhdi

from reconciler.remotes.open import open_remote
from reconciler.transfer.export import receive_vhd
from reconciler.transfer.journal import journal_key_of
from reconciler.transfer.merge import Protocol, merge
from reconciler.transfer.restore import open_chain, vhd_stream, write_qcow2, write_raw, write_vhd
from reconciler.transfer.sink import Identity
from reconciler.transfer.source import StreamTruncated
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.layout import BLOCK, MIB, SECTOR

pytestmark = pytest.mark.disks

SIZE = 37 * MIB + 3 * SECTOR


class Bytes:
    """A stream from memory."""

    def __init__(self, content):
        self._view = memoryview(content)

    async def read_exactly(self, view):
        if len(self._view) < len(view):
            raise StreamTruncated(len(view), len(self._view))
        view[:], self._view = self._view[: len(view)], self._view[len(view) :]

    async def finish(self):
        assert not self._view

    async def abort(self):
        pass


def identity_of(number):
    uuid = "11111111-0000-4000-8000-{:012d}"
    if number == 1:
        return Identity(uuid.format(1))
    return Identity(uuid.format(number), uuid.format(number - 1), f"{number - 1}.vhd")


def as_exported(blocks, *, delta):
    """A pool's stream of these blocks."""
    parent = ("22222222-0000-4000-8000-000000000000", "whatever") if delta else None
    layout = Layout.of_disk(
        SIZE,
        list(blocks),
        "33333333-0000-4000-8000-000000000000",
        parent,
        packing=Packing.PACKED,
    )
    slots = (layout.slot_head + data for data in blocks.values())
    return b"".join((layout.preamble(), *slots, layout.trailer()))


@pytest.fixture
async def exported(tmp_path):
    """A full and three deltas on a remote; returns it, its directory, the disk at each point."""
    dice = random.Random(4)
    remote = await open_remote("cellar", str(tmp_path))
    points, disk = {}, bytearray(-(-SIZE // BLOCK) * BLOCK)
    for number in range(1, 5):
        changed = range(0, 19, 2) if number == 1 else dice.sample(range(19), 4)
        blocks = {}
        for block in sorted(changed):
            length = min(BLOCK, SIZE - block * BLOCK)
            pattern = dice.randbytes(4096) * (BLOCK // 4096)
            blocks[block] = pattern[:length].ljust(BLOCK, b"\0")
            disk[block * BLOCK : block * BLOCK + BLOCK] = blocks[block]
        stream = Bytes(as_exported(blocks, delta=number > 1))
        await receive_vhd(stream, remote, f".{number}.partial", identity_of(number))
        await remote.publish(f".{number}.partial", f"{number}.vhd")
        points[number] = bytes(disk[:SIZE])
    yield remote, tmp_path, points
    await remote.close()


def chain_below(number, directory):
    return [f"{n}.vhd" for n in range(number, 0, -1) if (directory / f"{n}.vhd").exists()]


def read_by_libvhdi(directory, keys):
    files = []
    for key in reversed(keys):
        file = pyvhdi.file()
        file.open(str(directory / key))
        if files:
            file.set_parent(files[-1])
        files.append(file)
    return files[-1].read(SIZE)


def qemu_img(*arguments):
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True)


async def test_restored_files_are_what_they_claim(exported, tmp_path_factory):
    remote, directory, points = exported
    out = tmp_path_factory.mktemp("out")
    async with open_chain(remote, chain_below(4, directory)) as reader:
        await write_raw(reader, str(out / "raw"))
        await write_vhd(reader, str(out / "vhd"))
        await write_qcow2(reader, str(out / "qcow2"))
        length, pieces = vhd_stream(reader)
        streamed = b"".join([bytes(piece) async for piece in pieces])
    assert (out / "raw").read_bytes() == points[4]
    (out / "streamed").write_bytes(streamed)
    assert length == len(streamed)
    assert read_by_libvhdi(out, ["vhd"]) == points[4]
    assert read_by_libvhdi(out, ["streamed"]) == points[4]
    qemu_img("check", "-f", "qcow2", str(out / "qcow2"))
    qemu_img("convert", "-f", "qcow2", "-O", "raw", str(out / "qcow2"), str(out / "from-qcow2"))
    assert (out / "from-qcow2").read_bytes() == points[4]


@pytest.mark.parametrize("copy_below_bytes", [0, 2**40])
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_chains_stay_right_merge_by_merge(exported, copy_below_bytes, order):
    remote, directory, points = exported
    for number in order:
        above = min(point for point in points if point > number)
        merged = await merge(
            remote,
            f"{number}.vhd",
            f"{above}.vhd",
            journal_key_of(f"{number}.vhd"),
            copy_below_bytes=copy_below_bytes,
        )
        assert merged.protocol is not Protocol.FINISHED
        del points[number]
        for point, disk in points.items():
            keys = chain_below(point, directory)
            assert read_by_libvhdi(directory, keys) == disk
            async with AsyncExitStack() as stack:
                reader = await stack.enter_async_context(open_chain(remote, keys))
                assert reader.size == SIZE
    left = sorted(path.name for path in directory.iterdir() if path.is_file())
    assert left == [f"{number}.vhd" for number in points]
