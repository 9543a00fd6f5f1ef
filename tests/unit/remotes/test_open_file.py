import errno

import pytest

from reconciler.remotes.errors import RemoteError
from reconciler.remotes.faults import Fault
from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.remote import Move

ALIGN = 4096


@pytest.fixture(params=[True, False], ids=["reflink", "plain"])
def filesystem(request):
    return MemoryFilesystem(reflink=request.param)


async def opened(filesystem):
    return await FileRemote.attach("cellar", filesystem, threads=None)


def copies(filesystem):
    return [
        (call.kind, call.offset, call.count)
        for call in filesystem.calls
        if call.kind in ("clone_from", "copy_from") and call.path == "target"
    ]


async def moved(filesystem, moves):
    """Carry out moves between two files; return the calls that did it."""
    remote = await opened(filesystem)
    async with remote.create("source") as source, remote.create("target") as target:
        await source.write([bytes(range(256)) * 1024], 0)
        await target.move([Move(source, *move) for move in moves])
    return copies(filesystem)


async def test_moves_that_continue_each_other_are_one():
    filesystem = MemoryFilesystem(reflink=True)
    calls = await moved(filesystem, [(0, 0, ALIGN), (ALIGN, ALIGN, ALIGN), (8192, 8192, ALIGN)])
    assert calls == [("clone_from", 0, 3 * ALIGN)]


async def test_moves_that_do_not_are_apart():
    filesystem = MemoryFilesystem(reflink=True)
    calls = await moved(filesystem, [(0, 0, ALIGN), (ALIGN, 2 * ALIGN, ALIGN), (0, ALIGN, ALIGN)])
    assert calls == [("clone_from", offset, ALIGN) for offset in (0, 2 * ALIGN, ALIGN)]


async def test_the_aligned_middle_is_shared_and_the_ends_are_copied():
    """A block of ours: its bitmap ends where a page begins, its data fills pages."""
    filesystem = MemoryFilesystem(reflink=True)
    calls = await moved(filesystem, [(3584, 3584 + ALIGN, 512 + 8192 + 100)])
    assert calls == [
        ("clone_from", 8192, 8192),
        ("copy_from", 7680, 512),
        ("copy_from", 16384, 100),
    ]


@pytest.mark.parametrize(
    "move", [(512, 0, 8192), (0, 0, 100), (4000, 4000, 150)], ids=["offset", "small", "no-middle"]
)
async def test_what_cannot_be_shared_is_copied(filesystem, move):
    assert await moved(filesystem, [move]) == [("copy_from", move[1], move[2])]


async def test_without_reflinks_nothing_is_tried():
    assert await moved(MemoryFilesystem(), [(0, 0, 8192)]) == [("copy_from", 0, 8192)]


async def test_two_files_that_refuse_to_share_are_copied():
    filesystem = MemoryFilesystem(reflink=True)
    remote = await opened(filesystem)
    filesystem.reflink = False  # as for a swap file, or one without checksums on btrfs
    async with remote.create("source") as source, remote.create("target") as target:
        await source.write([b"x" * 8192], 0)
        await target.move([Move(source, 0, 0, 8192)])
        assert await target.read(0, 8192) == b"x" * 8192


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_real_errors_of_sharing_come_out(number):
    filesystem = MemoryFilesystem(reflink=True)
    remote = await opened(filesystem)
    async with remote.create("source") as source, remote.create("target") as target:
        await source.write([b"x" * 8192], 0)
        filesystem.fault = Fault(len(filesystem.calls), number)
        with pytest.raises(RemoteError) as raised:
            await target.move([Move(source, 0, 0, 8192)])
    assert raised.value.errno == number


async def test_long_copies_are_made_in_strides():
    stride = 16 * 1024 * 1024
    filesystem = MemoryFilesystem()
    remote = await opened(filesystem)
    async with remote.create("source") as source, remote.create("target") as target:
        await source.truncate(2 * stride + 5)
        await target.move([Move(source, 0, 0, 2 * stride + 5)])
    assert [count for _, _, count in copies(filesystem)] == [stride, stride, 5]


async def test_many_pieces_are_read_in_one_go(filesystem):
    remote = await opened(filesystem)
    async with remote.create("f") as file:
        await file.write([b"0123456789"], 0)
        assert await file.read_many([8, 0, 4], 2) == [b"89", b"01", b"45"]
        with pytest.raises(RemoteError, match="ends at byte 10"):
            await file.read_many([0, 9], 2)


async def test_an_error_of_close_is_an_error_of_the_file(filesystem):
    remote = await opened(filesystem)
    with pytest.raises(RemoteError):
        async with remote.create("f") as file:
            await file.write([b"x"], 0)
            filesystem.fault = Fault(len(filesystem.calls), errno.EIO)
