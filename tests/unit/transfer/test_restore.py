"""A chain comes out as one file, or as a stream, with the same bytes; or not at all."""

import asyncio
import os
import subprocess

import pytest

from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.export import receive_vhd
from reconciler.transfer.restore import vhd_stream, write_qcow2, write_raw, write_vhd
from reconciler.transfer.sink import Identity
from reconciler.vhd.encoder import Packing
from reconciler.vhd.layout import BLOCK

MIB = 2**20
SIZE = 33 * MIB + 512


@pytest.fixture
def chain(disk):
    root = disk("1.vhd", 1, 20 * MIB, {n: n + 1 for n in range(9)})
    middle = disk("2.vhd", 2, SIZE, {3: 40, 12: 41, 13: 42, 1: 0}, root, Packing.PACKED)
    return disk("3.vhd", 3, SIZE, {1: 0, 16: 60, 12: 61}, middle, bitmaps={12: b"\x55" * 512})


@pytest.fixture
async def reader(remote, chain):
    tip = chain
    while tip is not None:
        await tip.write(remote)
        tip = tip.parent
    async with open_chain(remote, chain.keys) as reader:
        yield reader


async def streamed(reader):
    length, pieces = vhd_stream(reader)
    content = b"".join([bytes(piece) async for piece in pieces])
    assert len(content) == length
    return content


async def test_raw(reader, chain, tmp_path):
    seen = []
    path = tmp_path / "disk.raw"
    await write_raw(reader, str(path), on_progress=seen.append)
    assert path.read_bytes() == chain.raw
    assert sum(seen) == len(reader.blocks()) * BLOCK
    assert os.listdir(tmp_path) == ["disk.raw"]


async def test_raw_has_holes_where_it_is_zero(reader, tmp_path):
    path = tmp_path / "disk.raw"
    await write_raw(reader, str(path))
    # Eleven blocks that are not zero, and a last one of one sector.
    assert path.stat().st_blocks * 512 <= 12 * BLOCK + MIB


async def test_vhd(reader, chain, tmp_path, remote):
    path = tmp_path / "disk.vhd"
    await write_vhd(reader, str(path))
    async with remote.create("copy.vhd") as file:
        await file.write([path.read_bytes()], 0)
    async with open_chain(remote, ["copy.vhd"]) as copy:
        assert copy.size == SIZE
        assert copy.layers[0].uuid == reader.layers[0].uuid
        await write_raw(copy, str(tmp_path / "copy.raw"))
    assert (tmp_path / "copy.raw").read_bytes() == chain.raw


@pytest.mark.disks
async def test_a_restored_vhd_has_its_exact_size_for_others_too(reader, chain, tmp_path):
    path, copy = tmp_path / "disk.vhd", tmp_path / "copy.raw"
    await write_vhd(reader, str(path))
    command = ["qemu-img", "convert", "-f", "vpc", "-O", "raw", str(path), str(copy)]
    await asyncio.to_thread(subprocess.run, command, check=True)
    assert copy.read_bytes() == chain.raw


async def test_stream(reader, chain, tmp_path, remote, stream):
    content = await streamed(reader)
    # No gaps: a pool reads blocks in the order they lie in.
    identity = Identity("11111111-0000-4000-8000-000000000001")
    await receive_vhd(stream(content), remote, "t", identity, expected_bytes=len(content))
    async with open_chain(remote, ["t"]) as copy:
        await write_raw(copy, str(tmp_path / "copy.raw"))
    assert (tmp_path / "copy.raw").read_bytes() == chain.raw


@pytest.mark.parametrize("write", [write_raw, write_vhd, write_qcow2])
async def test_a_file_that_is_there_is_never_replaced(reader, tmp_path, write):
    path = tmp_path / "disk"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        await write(reader, str(path))
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        await write(reader, str(path))
    assert os.listdir(tmp_path) == ["disk"]


@pytest.mark.parametrize("write", [write_raw, write_vhd, write_qcow2])
async def test_a_chain_that_breaks_leaves_no_file(reader, chain, remote, tmp_path, write):
    async with remote.open(chain.parent.key, write=True) as file:
        await file.truncate(3 * MIB)
    with pytest.raises(ChainBroken):
        await write(reader, str(tmp_path / "disk"))
    assert os.listdir(tmp_path) == []


async def test_a_file_that_appears_meanwhile_is_kept(reader, tmp_path):
    path = tmp_path / "disk"

    def appear(_):
        path.write_bytes(b"precious")

    with pytest.raises(FileExistsError):
        await write_raw(reader, str(path), on_progress=appear)
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["disk"]


async def test_a_directory_that_is_not_there(reader, tmp_path):
    with pytest.raises(FileNotFoundError):
        await write_raw(reader, str(tmp_path / "no" / "disk"))


async def test_an_empty_disk(disk, remote, tmp_path):
    empty = disk("1.vhd", 1, 5 * MIB, {})
    await empty.write(remote)
    async with open_chain(remote, empty.keys) as reader:
        await write_raw(reader, str(tmp_path / "raw"))
        await write_vhd(reader, str(tmp_path / "vhd"))
        await write_qcow2(reader, str(tmp_path / "qcow2"))
        assert len(await streamed(reader)) == 1536 + 512 + 512
    assert (tmp_path / "raw").read_bytes() == bytes(5 * MIB)
