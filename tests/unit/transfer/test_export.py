"""A stream becomes a file that is whole, or none at all."""

import asyncio
import struct
from errno import EIO

import pytest

from reconciler.remotes.errors import RemoteError
from reconciler.remotes.faults import Fault
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.export import receive_vhd
from reconciler.transfer.sink import Identity
from reconciler.transfer.source import StreamError, StreamTruncated
from reconciler.vhd.encoder import Packing
from reconciler.vhd.errors import VhdError, VhdInvalid, VhdUnsupported
from reconciler.vhd.layout import BLOCK, BLOCK_RECORD

MIB = 2**20
TEMPORARY = "d/.new.vhd.partial"
FULL = Identity("11111111-0000-4000-8000-000000000001", timestamp=1_790_000_000)
DELTA = Identity(
    "11111111-0000-4000-8000-000000000002",
    "11111111-0000-4000-8000-000000000001",
    "20260101T000000Z.vhd",
)


@pytest.fixture
def full(disk):
    return disk("s", 1, 9 * MIB, {0: 1, 1: 0, 4: 3}, packing=Packing.PACKED)


@pytest.fixture
def delta(disk, full):
    return disk("s", 2, 9 * MIB, {1: 0, 3: 9}, parent=full, packing=Packing.PACKED)


def as_xapi_exports_it(content):
    """Move the table to 2048 and name a parent by its path on the host."""
    header = bytearray(content[512:1536])
    header[16:24] = struct.pack(">Q", 2048)
    path = "/run/sr-mount/x/y.vhd".encode("utf-16-be")
    header[64 : 64 + len(path)] = path
    header[36:40] = bytes(4)
    header[36:40] = struct.pack(">I", ~sum(header) & 0xFFFFFFFF)
    entries = struct.unpack(">I", header[28:32])[0]
    table = bytearray(content[1536:2048])
    for n in range(entries):
        (sector,) = struct.unpack_from(">I", table, 4 * n)
        if sector != 0xFFFFFFFF:
            struct.pack_into(">I", table, 4 * n, sector + 1)
    return content[:512] + bytes(header) + bytes(512) + bytes(table) + content[2048:]


async def receive(source, remote, identity=FULL, **kwargs):
    return await receive_vhd(source, remote, TEMPORARY, identity, **kwargs)


async def published(remote, key="d/20260101T000000Z.vhd"):
    await remote.publish(TEMPORARY, key)
    return key


async def content_of(remote, keys):
    async with open_chain(remote, keys) as reader:
        buffer = bytearray(BLOCK)
        found = {}
        for block in reader.blocks():
            await reader.read_block_into(memoryview(buffer), block)
            found[block] = bytes(buffer)
        return found


@pytest.mark.parametrize("as_exported", [bytes, as_xapi_exports_it])
async def test_a_full_is_stored_under_our_identity(remote, stream, full, as_exported):
    source = stream(as_exported(full.file()))
    received = await receive(source, remote)
    key = await published(remote)
    async with open_chain(remote, [key]) as reader:
        (layer,) = reader.layers
        assert layer.uuid == FULL.uuid
        assert layer.footer.timestamp == FULL.timestamp
        assert layer.size == full.size == received.virtual_bytes
        assert layer.file_bytes == received.file_bytes
        assert not layer.is_differencing
        assert all((offset + 512) % 4096 == 0 for _, offset in layer.bat.allocated())
    assert await content_of(remote, [key]) == {0: full.content[0], 4: full.content[4]}
    assert (received.blocks, received.data_bytes) == (2, 2 * BLOCK)
    assert not received.differencing
    assert source.finished


async def test_zeros_of_a_delta_hide_what_is_below(remote, stream, full, delta):
    await receive(stream(full.file()), remote)
    below = await published(remote)
    received = await receive(stream(as_xapi_exports_it(delta.file())), remote, DELTA)
    key = await published(remote, "d/20260102T000000Z.vhd")
    assert received.differencing
    assert received.blocks == 2
    async with open_chain(remote, [key, below]) as reader:
        assert reader.layers[0].header.parent_name == DELTA.parent_name
        assert reader.layers[0].header.parent_uuid == DELTA.parent_uuid
    found = await content_of(remote, [key, below])
    assert found == {0: full.content[0], 1: bytes(BLOCK), 3: delta.content[3], 4: full.content[4]}


async def test_a_full_sent_instead_of_a_delta_is_stored_as_a_full(remote, stream, full):
    received = await receive(stream(full.file()), remote, DELTA)
    assert not received.differencing
    async with open_chain(remote, [TEMPORARY]) as reader:
        assert reader.layers[0].header.parent_uuid is None


async def test_a_delta_sent_instead_of_a_full_is_refused(remote, stream, delta, filesystem):
    with pytest.raises(StreamError, match="full was asked for"):
        await receive(stream(delta.file()), remote)
    assert filesystem.paths() == []


async def test_sectors_that_a_full_does_not_have_are_zero(remote, stream, disk):
    bitmap = b"\x0f" + bytes(510) + b"\x80"
    source = disk("s", 1, BLOCK, {0: 7}, bitmaps={0: bitmap}, packing=Packing.PACKED)
    await receive(stream(source.file()), remote)
    assert await content_of(remote, [TEMPORARY]) == source.content
    file = remote._filesystem.content(TEMPORARY).whole()
    assert file[8192 - 512 : 8192] == b"\xff" * 512


async def test_a_delta_with_partial_blocks_is_refused(remote, stream, disk, full, filesystem):
    source = disk("s", 2, BLOCK, {0: 7}, full, bitmaps={0: b"\x0f" + bytes(511)})
    with pytest.raises(VhdUnsupported, match="take a full instead"):
        await receive(stream(source.file()), remote, DELTA)
    assert filesystem.paths() == []


async def test_an_empty_disk(remote, stream, disk):
    source = disk("s", 1, 9 * MIB, {}, packing=Packing.PACKED)
    received = await receive(stream(source.file()), remote)
    assert received.blocks == 0
    assert await content_of(remote, [TEMPORARY]) == {}


async def test_progress_adds_up_to_the_stream(remote, stream, full):
    seen, expected = [], []
    await receive(stream(full.file()), remote, on_progress=seen.append, on_expected=expected.append)
    assert sum(seen) == len(full.file())
    assert len(expected) == 1


@pytest.mark.parametrize(
    "cut",
    [0, 1, 511, 512, 1535, 2047, 2048, 2048 + 512, 2048 + BLOCK_RECORD, -513, -512, -1],
)
async def test_a_cut_stream_leaves_nothing(remote, stream, full, filesystem, cut):
    source = stream(full.file()[:cut])
    with pytest.raises(StreamTruncated):
        await receive(source, remote)
    assert filesystem.paths() == []
    assert source.aborted


@pytest.mark.parametrize("at", [0, 3, 70, 512, 540, 1536, -1, -450])
async def test_a_damaged_table_leaves_nothing(remote, stream, full, filesystem, at):
    content = bytearray(full.file())
    content[at] ^= 0x55
    with pytest.raises((VhdError, StreamError)):
        await receive(stream(bytes(content)), remote, expected_bytes=len(content))
    assert filesystem.paths() == []


async def test_an_error_page_in_the_stream_is_quoted(remote, stream):
    page = b"HTTP/1.1 500 Internal Error\r\n\r\n<html>SR_BACKEND_FAILURE_46\x1b[31m</html>"
    with pytest.raises(StreamError, match=r"SR_BACKEND_FAILURE_46 \[31m") as caught:
        await receive(stream(page.ljust(5000)), remote)
    assert "\x1b" not in str(caught.value)


async def test_a_stream_longer_than_it_should_be_is_refused(remote, stream, full, filesystem):
    with pytest.raises(StreamError, match="there is more"):
        await receive(stream(full.file() + b"x"), remote)
    assert filesystem.paths() == []


async def test_a_length_that_is_not_the_streams_is_refused(remote, stream, full):
    with pytest.raises((VhdInvalid, StreamTruncated)):
        await receive(stream(full.file()), remote, expected_bytes=len(full.file()) + 512)


async def test_the_senders_word_counts(remote, stream, full, filesystem):
    with pytest.raises(StreamError, match="VDI_IO_ERROR"):
        await receive(stream(full.file(), failure="VDI_IO_ERROR"), remote)
    assert filesystem.paths() == []


async def test_what_an_earlier_try_left_is_replaced(remote, stream, full):
    async with remote.create(TEMPORARY) as file:
        await file.write([b"x" * 100 * MIB], 0)
    received = await receive(stream(full.file()), remote)
    assert (await remote.stat(TEMPORARY)).size_bytes == received.file_bytes


async def test_every_error_of_the_remote_comes_out_and_leaves_nothing(remote_with, stream, full):
    remote, filesystem = remote_with()
    await receive(stream(full.file()), remote)
    for index in range(len(filesystem.calls)):
        failing, world = remote_with()
        world.fault = Fault(index, EIO)
        source = stream(full.file())
        with pytest.raises(RemoteError):
            await receive(source, failing)
        assert source.aborted or source.finished
        assert world.paths() == [], world.calls[index]


async def test_a_cancelled_export_leaves_only_the_temporary_file(remote_with, stream, full):
    content = full.file()
    for stop_at in [0, 600, 1600, 2500, len(content) - 600, len(content) - 1]:
        remote, filesystem = remote_with()
        source = stream(content, stop_at=stop_at)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(receive(source, remote))
            await source.stopped.wait()
            task.cancel()
        assert task.cancelled()
        assert source.aborted
        has_begun = stop_at > 2048 + BLOCK_RECORD
        assert filesystem.paths() in ([[TEMPORARY]] if has_begun else [[], [TEMPORARY]])
        with pytest.raises(Exception, match=r"cut off|footer|cookie|No such"):
            await content_of(remote, [TEMPORARY])


async def test_a_file_that_looks_whole_is_whole_wherever_the_process_dies(
    remote, filesystem, stream, full, remote_with
):
    await receive(stream(full.file()), remote)
    looked = 0
    for crash in filesystem.crashes():
        if crash.name.startswith("cut"):
            continue  # only a sync tells what outlives a power cut
        other, _ = remote_with(crash.seen)
        try:
            found = await content_of(other, [TEMPORARY])
        except (ChainBroken, RemoteError):
            continue
        looked += 1
        assert found == {0: full.content[0], 4: full.content[4]}, crash.name
    assert looked >= 1


async def test_the_sender_is_let_go_before_the_remote_is_asked_again(remote, stream, full):
    """A remote that hangs must not keep the pool's disk attached."""
    source = stream(full.file()[:100_000])
    aborted_at = []

    def asked(key):
        aborted_at.append(source.aborted)

    remote._filesystem.unlink = asked
    with pytest.raises(StreamTruncated):
        await receive(source, remote)
    assert aborted_at == [True]
