"""One suite for every kind of remote: all must pass all of it (conftest.py has the kinds)."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from reconciler.remotes.errors import Exists, Missing, RemoteError, TooLarge, Unavailable
from reconciler.remotes.remote import Remote

MIB = 1024 * 1024


@pytest.fixture
async def remote(place) -> AsyncIterator[Remote]:
    async with place() as remote:
        yield remote


async def names(remote: Remote, key: str = "") -> list[str]:
    """What is in a directory. Where directories are only what keys have in common, an empty one is
    not there."""
    try:
        return [entry.name for entry in await remote.list(key)]
    except Missing:
        assert not remote.traits.rename
        return []


# --- small objects


async def test_what_was_put_is_got(remote):
    await remote.put("a/b/c.json", b"one")
    assert await remote.get("a/b/c.json", 100) == b"one"
    assert (await remote.stat("a/b/c.json")).size_bytes == 3
    assert await names(remote, "a/b") == ["c.json"]


async def test_put_replaces_and_leaves_nothing_beside(remote):
    await remote.put("a/c.json", b"one")
    await remote.put("a/c.json", b"another")
    assert await remote.get("a/c.json", 100) == b"another"
    assert await names(remote, "a") == ["c.json"]


async def test_a_free_name_is_taken_once(remote):
    await remote.put_new("a/new", b"one")
    with pytest.raises(Exists):
        await remote.put_new("a/new", b"two")
    assert await remote.get("a/new", 10) == b"one"
    assert await names(remote, "a") == ["new"]


async def all_at_once(remote, attempts) -> None:
    """Run attempts at once; where no promise is made to those, one after the other."""
    if not remote.traits.exclusive:
        for attempt in attempts:
            await attempt
        return
    async with asyncio.TaskGroup() as group:
        for attempt in attempts:
            group.create_task(attempt)


async def test_of_many_who_put_a_new_object_one_wins(remote):
    outcomes = {}

    async def attempt(number: int) -> None:
        try:
            await remote.put_new("a/new", f"from {number}".encode())
            outcomes[number] = "won"
        except Exists:
            outcomes[number] = "lost"

    await all_at_once(remote, [attempt(number) for number in range(8)])
    assert sorted(outcomes.values()) == ["lost"] * 7 + ["won"]
    winner = next(number for number, outcome in outcomes.items() if outcome == "won")
    assert await remote.get("a/new", 10) == f"from {winner}".encode()


async def download(remote, key: str) -> bytes:
    async with remote.download(key) as pieces:
        return b"".join([bytes(piece) async for piece in pieces])


async def test_what_was_uploaded_is_downloaded(remote):
    pieces = [bytes([index]) * (index * 70_001 % (3 * MIB)) for index in range(12)]
    async with remote.upload("a/b/big", size_expected=len(b"".join(pieces))) as upload:
        for piece in pieces:
            buffer = bytearray(piece)
            await upload.write(memoryview(buffer))
            buffer[:] = bytes(len(buffer))  # it is ours again
    assert await download(remote, "a/b/big") == b"".join(pieces)
    assert await names(remote, "a/b") == ["big"]


async def test_an_empty_upload_is_an_object(remote):
    async with remote.upload("a/empty"):
        pass
    assert await download(remote, "a/empty") == b""


async def test_an_upload_is_seen_once_it_is_whole(remote):
    await remote.put("a/f", b"old")
    async with remote.upload("a/f", size_expected=9) as upload:
        await upload.write(b"new")
        assert await remote.get("a/f", 10) == b"old"
    assert await remote.get("a/f", 10) == b"new"


@pytest.mark.parametrize("mib", [1, 20])
async def test_an_upload_that_is_left_leaves_nothing(remote, mib):
    await remote.put("a/f", b"old")
    with pytest.raises(KeyError):
        async with remote.upload("a/f") as upload:
            for _ in range(mib):
                await upload.write(bytes(MIB))
            raise KeyError("mine")
    assert await remote.get("a/f", 10) == b"old"
    assert await names(remote, "a") == ["f"]


async def test_a_missing_object_is_not_downloaded(remote):
    with pytest.raises(Missing):
        await download(remote, "a/nowhere")


async def test_a_copy_has_the_same_bytes_and_its_own_life(remote):
    await remote.put("a/f", b"content")
    await remote.put("c/g", b"old")
    await remote.copy("a/f", "c/g")
    await remote.copy("a/f", "c/g")
    await remote.copy("a/f", "d/e/h")
    await remote.put("a/f", b"other")
    assert await remote.get("c/g", 10) == b"content"
    await remote.delete("a/f")
    assert await remote.get("c/g", 10) == await remote.get("d/e/h", 10) == b"content"
    assert await names(remote, "c") == ["g"]
    with pytest.raises(Missing):
        await remote.copy("a/f", "c/g")
    assert await remote.get("c/g", 10) == b"content"


async def test_empty_objects_are_objects(remote):
    await remote.put("empty", b"")
    assert await remote.get("empty", 0) == b""


async def test_get_is_bounded(remote):
    await remote.put("big", bytes(1001))
    assert len(await remote.get("big", 1001)) == 1001
    with pytest.raises(TooLarge):
        await remote.get("big", 1000)


async def test_of_many_who_make_a_directory_one_wins(remote):
    outcomes = []

    async def take() -> None:
        try:
            await remote.make_directory("locks/one.lock")
            outcomes.append("won")
        except Exists:
            outcomes.append("lost")

    await all_at_once(remote, [take() for _ in range(8)])
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]
    await remote.remove_directory("locks/one.lock")
    await remote.make_directory("locks/one.lock")


async def test_a_directory_with_something_in_it_stays(remote):
    await remote.put("d/x", b"")
    with pytest.raises(Exists):
        await remote.remove_directory("d")
    assert await names(remote, "d") == ["x"]


async def test_hostile_keys_never_leave_the_root(remote):
    for key in ("../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/.", "..", "a\0b", "a/"):
        with pytest.raises(RemoteError):
            await remote.put(key, b"")
        with pytest.raises(RemoteError):
            await remote.get(key, 10)


async def test_an_error_in_the_body_of_open_comes_out_as_it_is(remote):
    await remote.put("f", b"")
    with pytest.raises(KeyError):
        async with remote.open("f"):
            raise KeyError("mine")


async def test_missing_things_are_missing(remote):
    await remote.put("a/there", b"")
    for attempt in (
        remote.get("a/nowhere", 10),
        remote.stat("a/nowhere"),
        remote.stat("nowhere/at/all"),
        remote.list("nowhere"),
        remote.touch("nowhere"),
        remote.remove_directory("nowhere"),
        remote.settle("nowhere"),
        remote.copy("nowhere", "a/there"),
    ):
        with pytest.raises(Missing):
            await attempt
    with pytest.raises(Missing):
        async with remote.open("nowhere"):
            pass


async def test_an_empty_remote_is_no_missing_one(remote):
    visible = set(await names(remote)) - {".reconciler"}
    assert visible in (set(), {"encryption.json", "metadata.json"})


async def test_delete_is_content_with_what_is_gone(remote):
    await remote.put("a/b", b"x")
    await remote.delete("a/b")
    await remote.delete("a/b")
    await remote.delete("never/was")
    assert await names(remote, "a") == []


async def test_keys_are_what_they_are(remote):
    odd = [
        "b c",
        "b%20d",
        "\u00fc",
        "x#y?z&w=1",
        "..hidden",
        "+",
        "~",
        "a'b\"c",
        "(1)",
        "a:b@c",
        "%",
    ]
    for index, name in enumerate(odd):
        await remote.put(f"odd/{name}", bytes([index]))
        await remote.put(f"under/{name}/x", b"")
    assert sorted(await names(remote, "odd")) == sorted(odd)
    assert sorted(await names(remote, "under")) == sorted(odd)
    for index, name in enumerate(odd):
        assert await remote.get(f"odd/{name}", 1) == bytes([index])
        await remote.copy(f"odd/{name}", f"copies/{name}")
    assert sorted(await names(remote, "copies")) == sorted(odd)
    for name in odd:
        await remote.delete(f"odd/{name}")
    assert await names(remote, "odd") == []


# --- directories


async def test_listing_is_sorted_and_says_what_things_are(remote):
    for name in ("b", "a", "ab", "Z"):
        await remote.put(f"d/{name}", name.encode())
    await remote.put("d/c/inside", b"")
    await remote.make_directory("d/e")
    entries = await remote.list("d")
    assert [entry.name for entry in entries] == ["Z", "a", "ab", "b", "c", "e"]
    kinds = [(entry.stat.is_directory, entry.stat.is_regular) for entry in entries]
    assert kinds == [(False, True)] * 4 + [(True, False)] * 2
    assert [entry.stat.size_bytes for entry in entries] == [1, 1, 2, 1, 0, 0]
    assert entries[0].stat == await remote.stat("d/Z")
    assert (await remote.stat("d/c")).is_directory
    assert (await remote.stat("d/e")).is_directory
    assert await remote.list("d/e") == []


async def test_more_names_than_fit_on_a_page(remote, fill):
    """An S3 server gives a thousand at once."""
    many = [f"{index:04}" for index in range(1100)]
    await fill(remote, "many", many)
    assert await names(remote, "many") == many


async def test_contents_are_told_apart_without_reading_them(remote):
    await remote.put("f", b"one")
    first = await remote.stat("f")
    assert await remote.stat("f") == first
    await remote.put("f", b"two")
    assert await remote.stat("f") != first


async def test_a_touched_directory_is_another_but_in_its_place(remote):
    await remote.make_directory("x.lock")
    made = await remote.stat("x.lock")
    assert await remote.stat("x.lock") == made
    touched = await remote.touch("x.lock")
    assert await remote.stat("x.lock") == touched
    assert touched.is_directory
    # SMB clients touch by their own clock, which may be a little behind the server's.
    assert touched.mtime_ns > made.mtime_ns - 10**9
    await remote.put("now", b"")
    assert abs(touched.mtime_ns - (await remote.stat("now")).mtime_ns) < 60 * 10**9
    await remote.remove_directory("x.lock")
    with pytest.raises(Missing):
        await remote.touch("x.lock")
    assert "x.lock" not in await names(remote)


async def test_a_directory_made_by_what_is_in_it_is_there(remote):
    await remote.put("d/x", b"")
    with pytest.raises(Exists):
        await remote.make_directory("d")
    assert (await remote.touch("d")).is_directory
    assert await names(remote, "d") == ["x"]


# --- reading in the middle


async def test_ranges_are_exact(remote):
    content = random.Random(5).randbytes(3 * MIB + 17)
    await remote.put("d/f", content)
    async with remote.open("d/f") as file:
        assert file.key == "d/f"
        assert await file.size() == len(content)
        for offset, count in (
            (0, 1),
            (0, len(content)),
            (MIB, 2 * MIB),
            (len(content) - 1, 1),
            (7, 0),
        ):
            assert await file.read(offset, count) == content[offset : offset + count]
        with pytest.raises(RemoteError):
            await file.read(len(content) - 5, 6)
        with pytest.raises(RemoteError):
            await file.read(len(content) + 5, 6)
        buffer = bytearray(b"\xff" * 8)
        assert await file.read_into(memoryview(buffer), len(content) - 3) == 3
        assert buffer == content[-3:] + b"\xff" * 5
        assert await file.read_into(memoryview(buffer), len(content) + 10) == 0


async def test_many_small_reads_come_in_the_order_asked_for(remote):
    content = random.Random(6).randbytes(3 * MIB)
    await remote.put("f", content)
    offsets = [*random.Random(7).sample(range(0, 3 * MIB, 512), 60), 0, 0, 3 * MIB - 512]
    async with remote.open("f") as file:
        pieces = await file.read_many(offsets, 512)
        assert pieces == [content[offset : offset + 512] for offset in offsets]
        assert await file.read_many([], 512) == []
        with pytest.raises(RemoteError):
            await file.read_many([0, 3 * MIB - 511], 512)


async def test_a_file_that_is_read_is_of_one_making(remote):
    """What is read after it was replaced is the old content or an error, never the new one."""
    await remote.put("f", b"1" * 1000)
    async with remote.open("f") as file:
        assert await file.read(0, 10) == b"1" * 10
        try:
            await remote.put("f", b"2" * 1000)
        except Unavailable:
            assert not remote.traits.replace_open
        try:
            content = await file.read(10, 10)
        except RemoteError:
            return
        assert content == b"1" * 10


# --- what it is


async def test_the_probe_leaves_nothing_behind(remote):
    assert await names(remote, ".reconciler") == []


async def test_what_it_cannot_do_is_refused(remote):
    if remote.traits.rename:
        return
    await remote.put("f", b"content")
    for opening in (lambda: remote.create("g"), lambda: remote.open("f", write=True)):
        with pytest.raises(RemoteError):
            async with opening():
                pass
    with pytest.raises(RemoteError):
        await remote.publish("f", "g")
    async with remote.open("f") as file:
        with pytest.raises(RemoteError):
            await file.write([b"x"], 0)
        with pytest.raises(RemoteError):
            await file.truncate(0)
    assert await remote.get("f", 10) == b"content"


async def test_two_processes_see_the_same(place):
    async with place() as one, place() as other:
        await one.put("a/f", b"content")
        assert await other.get("a/f", 10) == b"content"
        await other.delete("a/f")
        with pytest.raises(Missing):
            await one.get("a/f", 10)
