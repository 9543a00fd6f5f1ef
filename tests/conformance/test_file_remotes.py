"""One suite for all file systems, modelled and real: what object stores cannot do."""

import asyncio
import errno
from collections.abc import AsyncIterator

import pytest

from reconciler.remotes.errors import Denied, Exists, Missing, RemoteError, Unavailable
from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.remote import Move

MIB = 1024 * 1024


@pytest.fixture
async def remote(filesystem) -> AsyncIterator[FileRemote]:
    threads = None if isinstance(filesystem, MemoryFilesystem) else 4
    remote = await FileRemote.attach("cellar", filesystem, threads=threads)
    yield remote
    await remote.close()


async def names(remote: FileRemote, key: str = "") -> list[str]:
    return [entry.name for entry in await remote.list(key)]


async def test_missing_things_are_missing(remote):
    await remote.put("a/there", b"")
    for attempt in (
        remote.get("a/nowhere", 10),
        remote.stat("a/nowhere"),
        remote.stat("nowhere/at/all"),
        remote.list("nowhere"),
        remote.touch("nowhere"),
        remote.remove_directory("nowhere"),
        remote.publish("a/nowhere", "a/there"),
    ):
        with pytest.raises(Missing):
            await attempt
    with pytest.raises(Missing):
        async with remote.open("nowhere"):
            pass


async def test_delete_is_content_with_what_is_gone(remote):
    await remote.put("a/b", b"x")
    await remote.delete("a/b")
    await remote.delete("a/b")
    await remote.delete("never/was")
    assert await names(remote, "a") == []


# --- directories


async def test_listing_is_sorted_and_says_what_things_are(remote):
    for name in ("b", "a", "ab", "Z"):
        await remote.put(f"d/{name}", name.encode())
    await remote.make_directory("d/c")
    entries = await remote.list("d")
    assert [entry.name for entry in entries] == ["Z", "a", "ab", "b", "c"]
    kinds = [(entry.stat.is_directory, entry.stat.is_regular) for entry in entries]
    assert kinds == [(False, True)] * 4 + [(True, False)]
    assert [entry.stat.size_bytes for entry in entries] == [1, 1, 2, 1, 0]
    assert entries[0].stat == await remote.stat("d/Z")


async def test_touch_is_the_servers_present(remote, filesystem):
    await remote.make_directory("x.lock")
    filesystem.set_mtime("x.lock", 10**18)
    assert (await remote.stat("x.lock")).mtime_ns == 10**18
    await remote.put("now", b"")
    touched = await remote.touch("x.lock")
    assert abs(touched.mtime_ns - (await remote.stat("now")).mtime_ns) < 10 * 10**9


# --- files


async def test_a_file_is_written_synced_and_published(remote):
    async with remote.create("d/.f.vhd.partial") as file:
        await file.write([b"head", bytearray(b"er"), memoryview(b"-body")], 0)
        await file.write([b"end"], 4096)
        await file.sync()
    await remote.publish("d/.f.vhd.partial", "d/f.vhd")
    assert await names(remote, "d") == ["f.vhd"]
    async with remote.open("d/f.vhd") as file:
        assert file.key == "d/f.vhd"
        assert await file.size() == 4099
        assert await file.read(0, 11) == b"header-body"
        assert await file.read(11, 4096 - 11) == bytes(4096 - 11)
        with pytest.raises(RemoteError):
            await file.read(4096, 4)
        buffer = bytearray(b"\xff" * 8)
        assert await file.read_into(memoryview(buffer), 4096) == 3
        assert buffer == b"end" + b"\xff" * 5
        assert await file.read_into(memoryview(buffer), 10_000) == 0


async def test_publishing_replaces_in_one_step_and_again_is_an_error(remote):
    await remote.put("f", b"old")
    async with remote.create("t") as file:
        await file.write([b"new"], 0)
        await file.sync()
    await remote.publish("t", "f")
    assert await remote.get("f", 10) == b"new"
    with pytest.raises(Missing):
        await remote.publish("t", "f")
    assert await remote.get("f", 10) == b"new"


async def test_a_taken_name_is_not_created_again(remote):
    await remote.put("f", b"old")
    with pytest.raises(Exists):
        async with remote.create("f"):
            pass
    assert await remote.get("f", 10) == b"old"


async def test_more_pieces_than_one_system_call_takes(remote):
    pieces = [bytes([index % 251]) * (index % 3) for index in range(5000)]
    async with remote.create("f") as file:
        await file.write(pieces, 7)
        assert await file.read(7, await file.size() - 7) == b"".join(pieces)
        await file.write([], 0)


async def test_truncate_shortens_and_lengthens(remote):
    async with remote.create("f") as file:
        await file.write([b"0123456789"], 0)
        await file.truncate(4)
        await file.truncate(8)
        assert await file.read(0, 8) == b"0123\0\0\0\0"


async def test_a_renamed_file_can_still_be_read_and_an_unlinked_one(remote):
    await remote.put("f", b"content")
    async with remote.open("f") as file:
        if remote.traits.replace_open:
            await remote.put("f", b"other")
        else:
            with pytest.raises(Unavailable, match="open"):
                await remote.put("f", b"other")
            assert await names(remote) == [".reconciler", "f"], "nothing is left beside"
        assert await file.read(0, 7) == b"content"
        await remote.delete("f")
        assert await file.read(0, 7) == b"content"


async def test_a_file_that_somebody_reads_is_replaced_once_it_is_closed_if_not_before(remote):
    await remote.put("f", b"content")
    async with asyncio.TaskGroup() as group:
        async with remote.open("f") as file:
            replacing = group.create_task(remote.put("f", b"other"))
            if remote.traits.replace_open:
                await replacing
            else:
                await asyncio.wait({replacing}, timeout=0.5)
                assert not replacing.done()
            assert await file.read(0, 7) == b"content"
        await replacing
    assert await remote.get("f", 10) == b"other"


@pytest.mark.parametrize(
    ("source_offset", "offset", "count"),
    [
        (0, 0, 2 * MIB),
        (4096, 8192, MIB),
        (3584, 3584 + 4096, 512 + 2 * MIB),
        (512, 1024, MIB + 17),
        (1, 4097, 4095),
        (1, 4097, 4096 + 4095),
        (100, 100, 5),
        (0, 0, 0),
    ],
)
async def test_moves_carry_bytes_whatever_their_alignment(remote, source_offset, offset, count):
    content = b"".join(index.to_bytes(4, "big") for index in range(3 * MIB // 4))
    async with remote.create("source") as source, remote.create("target") as target:
        await source.write([content], 0)
        await target.write([b"\xaa" * (4 * MIB)], 0)
        await target.move([Move(source, source_offset, offset, count)])
        moved = await target.read(0, 4 * MIB)
    expected = bytearray(b"\xaa" * (4 * MIB))
    expected[offset : offset + count] = content[source_offset : source_offset + count]
    assert moved == expected


async def test_many_moves_go_in_order(remote):
    async with remote.create("source") as source, remote.create("target") as target:
        await source.write([bytes([index]) * 4096 for index in range(16)], 0)
        moves = [Move(source, index * 4096, (15 - index) * 4096, 4096) for index in range(16)]
        moves += [Move(source, index * 4096, (16 + index) * 4096, 4096) for index in range(16)]
        moves += [Move(source, 4096, 0, 4096)]
        await target.move(moves)
        moved = await target.read(0, 32 * 4096)
    order = [1, *reversed(range(15)), *range(16)]
    assert [moved[index * 4096] for index in range(32)] == order


async def test_a_move_past_the_end_of_the_source_is_an_error(remote):
    async with remote.create("source") as source, remote.create("target") as target:
        await source.write([bytes(5000)], 0)
        with pytest.raises(RemoteError):
            await target.move([Move(source, 4096, 0, 4096)])


async def test_cloned_files_are_equal_and_then_apart(remote):
    if not remote.traits.reflink:
        pytest.skip("this file system shares no extents")
    async with remote.create("a") as source, remote.create("b") as clone:
        await source.write([b"x" * 10_000], 0)
        await clone.clone_whole(source)
        await clone.write([b"yy"], 0)
        assert await clone.size() == 10_000
        assert await clone.read(0, 4) == b"yyxx"
        assert await source.read(0, 4) == b"xxxx"


async def test_space_is_told(remote):
    space = await remote.space()
    assert 0 < space.free_bytes <= space.total_bytes


# --- traits and read-only remotes


async def test_the_probe_leaves_no_file_behind(remote):
    assert await names(remote, ".reconciler") == []
    assert remote.traits.replace
    assert remote.traits.directory_sync


async def test_traits_are_true(request, remote):
    kind = request.node.callspec.params["filesystem"]
    assert remote.traits.rename
    assert remote.traits.exclusive
    if kind != "posix":  # which may lie on anything
        assert remote.traits.reflink == (kind in ("memory-reflink", "xfs", "btrfs"))


async def test_a_read_only_remote_is_never_written(filesystem):
    threads = None if isinstance(filesystem, MemoryFilesystem) else 1
    remote = await FileRemote.attach("vault", filesystem, threads=threads, read_only=True)
    assert await names(remote) == []
    for attempt in (
        remote.put("f", b""),
        remote.delete("f"),
        remote.publish("f", "g"),
        remote.make_directory("d"),
        remote.remove_directory("d"),
        remote.touch("d"),
        remote.put_new("f", b""),
        remote.copy("f", "g"),
    ):
        with pytest.raises(Denied) as raised:
            await attempt
        assert raised.value.errno == errno.EROFS
    for opening in (remote.create("f"), remote.open("f", write=True), remote.upload("f")):
        with pytest.raises(Denied):
            async with opening:
                pass
    assert await names(remote) == []
    await remote.close()


async def test_a_file_is_no_directory(remote):
    await remote.put("f", b"")
    with pytest.raises(Unavailable):
        await remote.list("f")
    with pytest.raises(RemoteError):
        await remote.put("f/g", b"")
    with pytest.raises(RemoteError):
        await remote.get("", 10)
