"""Block directories read by what the documentation says, without any of our code."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.remotes.file import FileRemote
from reconciler.remotes.posix import PosixFilesystem
from reconciler.transfer.block_codec import BlockWorkers
from reconciler.transfer.block_sink import BlockDirectorySink
from reconciler.transfer.sink import DiskHead, Identity
from reconciler.vhd.layout import BLOCK

FORMAT = Path(__file__).parents[2] / "docs" / "format.md"
SIZE = 1003 * BLOCK
CHAIN = [
    ("20260101T020000Z", {0: 1, 7: 2, 999: 3, 1000: 4, 1002: 5}),
    ("20260102T020000Z", {7: 12, 1000: 0}),
]


def program():
    """The shell lines under "Getting data back by hand" that are about block mode."""
    found = re.search(r"```\n(touch disk\.raw\n.*?)```", FORMAT.read_text(), re.DOTALL)
    assert found is not None, "docs/format.md says how to read a block directory"
    return found[1].replace("python3", sys.executable)


@pytest.fixture
async def remote(tmp_path):
    opened = await FileRemote.attach("cellar", PosixFilesystem(str(tmp_path)))
    yield opened
    await opened.close()


async def write(remote, stamp, blocks, parent):
    workers = BlockWorkers(2)
    uuid = f"{stamp[:8]}-0000-4000-8000-000000000000"
    below = (f"{parent[:8]}-0000-4000-8000-000000000000", f"{parent}.alias.vhd") if parent else ()
    sink = BlockDirectorySink(
        remote, f"{stamp}.alias.vhd", f"data/{stamp}.vhd", Identity(uuid, *below), workers
    )
    await sink.begin(DiskHead(SIZE, bool(parent), list(blocks)))
    for block, tag in blocks.items():
        record = memoryview(b"\xff" * 512 + bytes([tag]) * BLOCK)
        await sink.block(block, record, tag == 0)
    await sink.end()
    workers.close()


async def test_the_documented_way_to_read_one_works(remote, tmp_path):
    parent = None
    for stamp, blocks in CHAIN:
        await write(remote, stamp, blocks, parent)
        parent = stamp
        lines = program().replace("20260101T020000Z", stamp)
        await asyncio.to_thread(
            subprocess.run, lines, shell=True, check=True, cwd=tmp_path, timeout=120
        )
    expected = {**CHAIN[0][1], **CHAIN[1][1]}
    with (tmp_path / "disk.raw").open("rb") as image:
        for block in (0, 1, 7, 998, 999, 1000, 1001, 1002):
            image.seek(block * BLOCK)
            assert image.read(BLOCK) == bytes([expected.get(block, 0)]) * BLOCK
