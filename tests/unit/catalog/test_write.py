import errno
import json

import pytest

from reconciler.catalog import cache, layout, write
from reconciler.catalog.errors import LastGoodPoint, MetadataInvalid
from reconciler.ids import JobId
from reconciler.remotes.errors import Missing, RemoteError

BLOCKS = {0: 9, 2: 9}


# ── publishing a disk ────────────────────────────────────────────────────────────────────────────


async def test_a_disk_is_renamed_once_it_is_looked_at(chain):
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    file = await chain.does(write.publish_disk, path)
    assert (file.path, file.parent) == (path, f"{chain.stamps[2]}.vhd")
    assert [change for change in chain.changes() if change[0] == "rename"] == [("rename", path)]
    assert (await chain.history()).files[path] == file


async def test_publishing_again_finds_it_done(chain):
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    first = await chain.does(write.publish_disk, path)
    assert await chain.does(write.publish_disk, path) == first
    assert chain.changes() == []


async def test_a_disk_that_was_never_uploaded_is_missing(chain):
    async with chain.lock() as lock:
        with pytest.raises(Missing):
            await write.publish_disk(lock, chain.path(chain.stamps[3]))


async def test_a_disk_that_is_not_whole_is_refused(chain):
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    async with chain.remote.open(chain.key(layout.partial_of(path)), write=True) as file:
        await file.truncate(await file.size() - 1)
    await chain.refuses(write.publish_disk, path, match="not whole")


async def test_a_disk_needs_its_very_parent(chain):
    name = f"{chain.stamps[2]}.vhd"
    wrong_uuid = chain.snapshot_of(chain.stamps[0])
    missing = f"{chain.stamps[6]}.vhd"
    for parent in ((wrong_uuid, name), (wrong_uuid, missing)):
        path = chain.path(chain.stamps[3])
        await chain.remote.delete(chain.key(layout.partial_of(path)))
        uuid = chain.snapshot_of(chain.stamps[3])
        await chain.put_disk(layout.partial_of(path), uuid, BLOCKS, parent)
        await chain.refuses(write.publish_disk, path)


async def test_a_parent_has_one_child(chain):
    """Xen Orchestra would delete the second one."""
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[1])
    await chain.refuses(write.publish_disk, path, match="stands on .* already")


async def test_a_disk_is_younger_than_its_parent(shelf):
    await shelf.point(shelf.stamps[3], BLOCKS)
    path = await shelf.upload(shelf.stamps[1], BLOCKS, shelf.stamps[3])
    await shelf.refuses(write.publish_disk, path, match="not older")


async def test_one_snapshot_makes_one_file(chain):
    path = chain.path(chain.stamps[3])
    uuid = chain.snapshot_of(chain.stamps[2])
    await chain.put_disk(layout.partial_of(path), uuid, BLOCKS)
    await chain.refuses(write.publish_disk, path, match="same snapshot")


async def test_a_file_of_a_point_is_never_replaced(chain):
    for stamp in chain.stamps[1:3]:
        path = await chain.upload(stamp, BLOCKS, chain.stamps[0])
        await chain.refuses(write.publish_disk, path)
    await chain.does(write.prune_point, chain.stamps[1])
    await chain.refuses(write.publish_disk, chain.path(chain.stamps[1]), match="stands on")


async def test_a_file_without_a_point_is_replaced_by_the_same_snapshots(chain):
    """The first try was cut short between disk and metadata; the second sends a full."""
    await chain.does(
        write.publish_disk, await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    )
    path = await chain.upload(chain.stamps[3], {0: 1, 1: 1})
    assert (await chain.does(write.publish_disk, path)).parent is None


async def test_a_file_of_another_snapshot_is_not_replaced(chain):
    path = chain.path(chain.stamps[3])
    await chain.put_disk(path, chain.snapshot_of(chain.stamps[5]), BLOCKS)
    await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    await chain.refuses(write.publish_disk, path, match="is there already")
    await chain.remote.put(chain.key(path), b"rubbish")
    await chain.refuses(write.publish_disk, path, match="not understood")


async def test_nothing_is_put_on_a_file_that_is_being_merged(chain):
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    journal = layout.journal_of(chain.path(chain.stamps[1]))
    names = [f"{stamp}.vhd" for stamp in chain.stamps[1:3]]
    await chain.remote.put(chain.key(journal), json.dumps({"chain": names}).encode())
    await chain.refuses(write.publish_disk, path, match="being merged")


@pytest.mark.parametrize("path", ["", "../x", "/etc/passwd", "20260101T020000Z.json", "vdis/x.vhd"])
async def test_hostile_paths_are_refused(chain, path):
    await chain.refuses(write.publish_disk, path)
    await chain.refuses(write.clean_files, [path])
    await chain.refuses(write.merge_disk, path, chain.path(chain.stamps[1]))
    await chain.refuses(write.merge_disk, chain.path(chain.stamps[0]), path)


async def test_a_disk_that_an_earlier_try_published_is_found(chain):
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    uuid = chain.snapshot_of(chain.stamps[3])
    assert await chain.does(write.find_disk, path, uuid) is None
    file = await chain.does(write.publish_disk, path)
    assert await chain.does(write.find_disk, path, uuid) == file
    other = chain.snapshot_of(chain.stamps[4])
    assert await chain.does(write.find_disk, path, other) is None
    await chain.remote.delete(chain.key(chain.path(chain.stamps[2])))
    assert await chain.does(write.find_disk, path, uuid) is None


# ── publishing a point ───────────────────────────────────────────────────────────────────────────


async def test_metadata_comes_last_and_the_cache_is_never_wrong(chain):
    await chain.put_cache()
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    await chain.does(write.publish_disk, path)
    point = await chain.does(write.publish_point, chain.metadata(chain.stamps[3]))
    assert [change for change in chain.changes() if change[0] in ("unlink", "rename", "sync")] == [
        ("sync", path),
        ("unlink", "cache.json.gz"),
        ("sync", f".{chain.stamps[3]}.json.x4.partial"),
        ("rename", f"{chain.stamps[3]}.json"),
        ("sync", ".cache.json.gz.x5.partial"),
        ("rename", "cache.json.gz"),
    ]
    entries = await chain.cache()
    assert set(entries) == {cache.entry_key(chain.vm, stamp) for stamp in chain.stamps[:4]}
    entry = entries[cache.entry_key(chain.vm, chain.stamps[3])]
    assert entry["_filename"] == entry["id"] == cache.entry_key(chain.vm, chain.stamps[3])
    history = await chain.history()
    assert history.points[-1] == point
    assert point.size_bytes == history.files[path].file_bytes
    assert entry["isVhdDifferencing"] == {"OpaqueRef:0": True}


async def test_publishing_a_point_again_is_no_matter(chain):
    metadata = chain.metadata(chain.stamps[2])
    before = await chain.history()
    assert await chain.does(write.publish_point, metadata) == before.points[-1]
    assert (await chain.history()).points == before.points


async def test_without_a_cache_none_is_made(chain):
    await chain.point(chain.stamps[3], BLOCKS, chain.stamps[2])
    assert await chain.cache() is None


async def test_a_cache_that_was_wrong_is_not_carried_on(chain):
    await chain.remote.put(layout.cache_key(chain.vm), cache.render({"/elsewhere": 1}))
    await chain.point(chain.stamps[3], BLOCKS, chain.stamps[2])
    assert await chain.cache() is None


async def test_a_cache_that_cannot_be_put_back_is_no_failure(chain):
    await chain.put_cache()
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    await chain.does(write.publish_disk, path)
    async with chain.lock() as lock:
        putting = chain.remote.put

        async def fail(key, content):
            if key.endswith(".gz"):
                raise RemoteError("cellar", key, "full", errno.ENOSPC)
            await putting(key, content)

        chain.remote.put = fail
        await write.publish_point(lock, chain.metadata(chain.stamps[3]))
    assert await chain.cache() is None
    assert len((await chain.history()).points) == 4


async def test_a_point_needs_all_its_disks_whole_and_of_its_snapshots(chain):
    metadata = chain.metadata(chain.stamps[3])
    await chain.refuses(write.publish_point, metadata, match="missing")
    path = chain.path(chain.stamps[3])
    await chain.put_disk(path, chain.snapshot_of(chain.stamps[5]), BLOCKS)
    await chain.refuses(write.publish_point, metadata, match="is of snapshot")
    both = chain.metadata(chain.stamps[2], (chain.disk, chain.other_disk))
    await chain.refuses(write.publish_point, both)


async def test_two_points_of_one_second_are_told_apart(chain):
    other = JobId("other-job")
    await chain.put_disk(
        chain.path(chain.stamps[2], job=other), chain.snapshot_of(chain.stamps[2]), BLOCKS
    )
    metadata = chain.metadata(chain.stamps[2], job=other)
    await chain.refuses(write.publish_point, metadata, match="same second")
    await chain.remote.put(layout.metadata_key(chain.vm, chain.stamps[2]), b"rubbish")
    await chain.refuses(write.publish_point, metadata, match="not understood")


async def test_metadata_of_another_vm_is_refused(chain):
    metadata = chain.metadata(chain.stamps[2])
    metadata = metadata.model_copy(update={"vm": metadata.vm.model_copy(update={"uuid": "x"})})
    async with chain.lock() as lock:
        with pytest.raises(MetadataInvalid):
            await write.publish_point(lock, metadata)


# ── pruning ──────────────────────────────────────────────────────────────────────────────────────


async def test_pruning_takes_the_metadata_and_nothing_else(chain):
    await chain.put_cache()
    before = set(chain.names())
    await chain.does(write.prune_point, chain.stamps[1])
    assert before - set(chain.names()) == {f"{chain.stamps[1]}.json"}
    assert set(await chain.cache()) == {
        cache.entry_key(chain.vm, chain.stamps[number]) for number in (0, 2)
    }


async def test_pruning_again_is_no_matter(chain):
    await chain.put_cache()
    for _ in range(2):
        await chain.does(write.prune_point, chain.stamps[1])
    assert len((await chain.history()).points) == 2
    assert len(await chain.cache()) == 2


async def test_the_last_good_point_stays(shelf):
    await shelf.chain(1)
    async with shelf.lock() as lock:
        with pytest.raises(LastGoodPoint):
            await write.prune_point(lock, shelf.stamps[0])
    assert len((await shelf.history()).points) == 1


async def test_points_that_cannot_be_restored_do_not_count(chain):
    await chain.remote.delete(chain.key(chain.path(chain.stamps[1])))
    await chain.refuses(write.prune_point, chain.stamps[0], match="could be restored")
    await chain.does(write.prune_point, chain.stamps[2])


async def test_what_is_not_understood_is_not_pruned(chain):
    for content in (b"rubbish", b'{"mode":"later"}'):
        await chain.remote.put(layout.metadata_key(chain.vm, chain.stamps[4]), content)
        await chain.refuses(write.prune_point, chain.stamps[4], match="not understood")
