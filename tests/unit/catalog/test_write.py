import errno
import json

import pytest

from reconciler.catalog import cache, layout, write
from reconciler.catalog.errors import LastGoodPoint, LockLost, MetadataInvalid, NotSafe
from reconciler.ids import JobId
from reconciler.remotes.errors import Missing, RemoteError
from reconciler.remotes.faults import Fault

BLOCKS = {0: 9, 2: 9}


@pytest.fixture
async def chain(shelf):
    """Three points, a full and two deltas on it; nothing recorded of how they were made."""
    await shelf.chain(3)
    shelf.filesystem.calls.clear()
    return shelf


def changes(shelf):
    """Everything that was changed but the lock, relative to the VM's directory."""
    prefix = f"{layout.vm_key(shelf.vm)}/"
    return [
        (call.kind, (call.target or call.path).removeprefix(prefix))
        for call in shelf.filesystem.calls
        if call.changes and not call.path.endswith(".lock") and call.kind != "make_directory"
    ]


async def refused(shelf, step, *arguments, match=None):
    """A step is refused, and nothing was changed."""
    async with shelf.lock() as lock:
        shelf.filesystem.calls.clear()
        with pytest.raises(NotSafe, match=match):
            await step(lock, *arguments)
        assert changes(shelf) == []


async def done(shelf, step, *arguments):
    async with shelf.lock() as lock:
        shelf.filesystem.calls.clear()
        return await step(lock, *arguments)


# ── publishing a disk ────────────────────────────────────────────────────────────────────────────


async def test_a_disk_is_renamed_once_it_is_looked_at(chain):
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    file = await done(chain, write.publish_disk, path)
    assert (file.path, file.parent) == (path, f"{chain.stamps[2]}.vhd")
    assert [change for change in changes(chain) if change[0] == "rename"] == [("rename", path)]
    assert (await chain.history()).files[path] == file


async def test_publishing_again_finds_it_done(chain):
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    first = await done(chain, write.publish_disk, path)
    assert await done(chain, write.publish_disk, path) == first
    assert changes(chain) == []


async def test_a_disk_that_was_never_uploaded_is_missing(chain):
    async with chain.lock() as lock:
        with pytest.raises(Missing):
            await write.publish_disk(lock, chain.path(chain.stamps[3]))


async def test_a_disk_that_is_not_whole_is_refused(chain):
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    async with chain.remote.open(chain.key(layout.partial_of(path)), write=True) as file:
        await file.truncate(await file.size() - 1)
    await refused(chain, write.publish_disk, path, match="not whole")


async def test_a_disk_needs_its_very_parent(chain):
    name = f"{chain.stamps[2]}.vhd"
    wrong_uuid = chain.snapshot_of(chain.stamps[0])
    missing = f"{chain.stamps[6]}.vhd"
    for parent in ((wrong_uuid, name), (wrong_uuid, missing)):
        path = chain.path(chain.stamps[3])
        await chain.remote.delete(chain.key(layout.partial_of(path)))
        uuid = chain.snapshot_of(chain.stamps[3])
        await chain.put_disk(layout.partial_of(path), uuid, BLOCKS, parent)
        await refused(chain, write.publish_disk, path)


async def test_a_parent_has_one_child(chain):
    """Xen Orchestra would delete the second one."""
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[1])
    await refused(chain, write.publish_disk, path, match="stands on .* already")


async def test_a_disk_is_younger_than_its_parent(shelf):
    await shelf.point(shelf.stamps[3], BLOCKS)
    path = await shelf.upload(shelf.stamps[1], BLOCKS, shelf.stamps[3])
    await refused(shelf, write.publish_disk, path, match="not older")


async def test_one_snapshot_makes_one_file(chain):
    path = chain.path(chain.stamps[3])
    uuid = chain.snapshot_of(chain.stamps[2])
    await chain.put_disk(layout.partial_of(path), uuid, BLOCKS)
    await refused(chain, write.publish_disk, path, match="same snapshot")


async def test_a_file_of_a_point_is_never_replaced(chain):
    for stamp in chain.stamps[1:3]:
        path = await chain.upload(stamp, BLOCKS, chain.stamps[0])
        await refused(chain, write.publish_disk, path)
    await done(chain, write.prune_point, chain.stamps[1])
    await refused(chain, write.publish_disk, chain.path(chain.stamps[1]), match="stands on")


async def test_a_file_without_a_point_is_replaced_by_the_same_snapshots(chain):
    """The first try was cut short between disk and metadata; the second sends a full."""
    await done(
        chain, write.publish_disk, await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    )
    path = await chain.upload(chain.stamps[3], {0: 1, 1: 1})
    assert (await done(chain, write.publish_disk, path)).parent is None


async def test_a_file_of_another_snapshot_is_not_replaced(chain):
    path = chain.path(chain.stamps[3])
    await chain.put_disk(path, chain.snapshot_of(chain.stamps[5]), BLOCKS)
    await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    await refused(chain, write.publish_disk, path, match="is there already")
    await chain.remote.put(chain.key(path), b"rubbish")
    await refused(chain, write.publish_disk, path, match="not understood")


async def test_nothing_is_put_on_a_file_that_is_being_merged(chain):
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    journal = layout.journal_of(chain.path(chain.stamps[1]))
    names = [f"{stamp}.vhd" for stamp in chain.stamps[1:3]]
    await chain.remote.put(chain.key(journal), json.dumps({"chain": names}).encode())
    await refused(chain, write.publish_disk, path, match="being merged")


@pytest.mark.parametrize("path", ["", "../x", "/etc/passwd", "20260101T020000Z.json", "vdis/x.vhd"])
async def test_hostile_paths_are_refused(chain, path):
    await refused(chain, write.publish_disk, path)
    await refused(chain, write.clean_files, [path])
    await refused(chain, write.merge_disk, path, chain.path(chain.stamps[1]))
    await refused(chain, write.merge_disk, chain.path(chain.stamps[0]), path)


async def test_a_disk_that_an_earlier_try_published_is_found(chain):
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    uuid = chain.snapshot_of(chain.stamps[3])
    assert await done(chain, write.find_disk, path, uuid) is None
    file = await done(chain, write.publish_disk, path)
    assert await done(chain, write.find_disk, path, uuid) == file
    other = chain.snapshot_of(chain.stamps[4])
    assert await done(chain, write.find_disk, path, other) is None
    await chain.remote.delete(chain.key(chain.path(chain.stamps[2])))
    assert await done(chain, write.find_disk, path, uuid) is None


# ── publishing a point ───────────────────────────────────────────────────────────────────────────


async def test_metadata_comes_last_and_the_cache_is_never_wrong(chain):
    await chain.put_cache()
    path = await chain.upload(chain.stamps[3], BLOCKS, chain.stamps[2])
    await done(chain, write.publish_disk, path)
    point = await done(chain, write.publish_point, chain.metadata(chain.stamps[3]))
    assert [change for change in changes(chain) if change[0] in ("unlink", "rename", "sync")] == [
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
    assert await done(chain, write.publish_point, metadata) == before.points[-1]
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
    await done(chain, write.publish_disk, path)
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
    await refused(chain, write.publish_point, metadata, match="missing")
    path = chain.path(chain.stamps[3])
    await chain.put_disk(path, chain.snapshot_of(chain.stamps[5]), BLOCKS)
    await refused(chain, write.publish_point, metadata, match="is of snapshot")
    both = chain.metadata(chain.stamps[2], (chain.disk, chain.other_disk))
    await refused(chain, write.publish_point, both)


async def test_two_points_of_one_second_are_told_apart(chain):
    other = JobId("other-job")
    await chain.put_disk(
        chain.path(chain.stamps[2], job=other), chain.snapshot_of(chain.stamps[2]), BLOCKS
    )
    metadata = chain.metadata(chain.stamps[2], job=other)
    await refused(chain, write.publish_point, metadata, match="same second")
    await chain.remote.put(layout.metadata_key(chain.vm, chain.stamps[2]), b"rubbish")
    await refused(chain, write.publish_point, metadata, match="not understood")


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
    await done(chain, write.prune_point, chain.stamps[1])
    assert before - set(chain.names()) == {f"{chain.stamps[1]}.json"}
    assert set(await chain.cache()) == {
        cache.entry_key(chain.vm, chain.stamps[number]) for number in (0, 2)
    }


async def test_pruning_again_is_no_matter(chain):
    await chain.put_cache()
    for _ in range(2):
        await done(chain, write.prune_point, chain.stamps[1])
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
    await refused(chain, write.prune_point, chain.stamps[0], match="could be restored")
    await done(chain, write.prune_point, chain.stamps[2])


async def test_what_is_not_understood_is_not_pruned(chain):
    for content in (b"rubbish", b'{"mode":"later"}'):
        await chain.remote.put(layout.metadata_key(chain.vm, chain.stamps[4]), content)
        await refused(chain, write.prune_point, chain.stamps[4], match="not understood")


async def test_a_full_mode_point_is_not_pruned(chain):
    stamp = chain.stamps[3]
    fields = json.loads(chain.metadata(stamp).render())
    fields.update(mode="full", vhds={}, vdis={})
    await chain.remote.put(layout.metadata_key(chain.vm, stamp), json.dumps(fields).encode())
    await refused(chain, write.prune_point, stamp, match="not an incremental")


# ── cleaning ─────────────────────────────────────────────────────────────────────────────────────


async def orphans(shelf):
    """Two files above the chain whose points are gone; a partial upload beside them."""
    for number in (3, 4):
        await shelf.point(shelf.stamps[number], BLOCKS, shelf.stamps[number - 1])
    for number in (3, 4):
        await done(shelf, write.prune_point, shelf.stamps[number])
    await shelf.upload(shelf.stamps[5], BLOCKS)
    files = [shelf.path(shelf.stamps[number]) for number in (3, 4)]
    return [*files, layout.partial_of(shelf.path(shelf.stamps[5]))]


async def test_files_that_nothing_needs_are_removed_tips_first(chain):
    paths = await orphans(chain)
    sizes = [chain.filesystem.content(chain.key(path)).size for path in paths]
    assert await done(chain, write.clean_files, paths) == sum(sizes)
    removed = [path for kind, path in changes(chain) if kind == "unlink"]
    assert removed == [paths[2], paths[1], paths[0]]
    assert await done(chain, write.clean_files, paths) == 0
    assert len((await chain.history()).files) == 3


async def test_one_that_is_needed_keeps_them_all(chain):
    paths = await orphans(chain)
    await refused(chain, write.clean_files, [*paths, chain.path(chain.stamps[2])], match="needs it")
    await refused(chain, write.clean_files, [paths[0], paths[2]], match="stands on it")
    await refused(chain, write.clean_files, [*paths, "cache.json.gz"], match="ever removed")
    await refused(chain, write.clean_files, [*paths, f"{chain.stamps[0]}.json"])
    await refused(chain, write.clean_files, [*paths, "notes.txt"])


@pytest.mark.parametrize("content", [b"", b"{", b'{"mode":"later"}'])
async def test_metadata_that_is_not_understood_might_need_any_file(chain, content):
    paths = await orphans(chain)
    await chain.remote.put(layout.metadata_key(chain.vm, chain.stamps[6]), content)
    await refused(chain, write.clean_files, paths, match="may need it")
    await done(chain, write.clean_files, paths[2:])


async def test_a_broken_file_stays_and_so_does_what_it_may_stand_on(chain):
    paths = await orphans(chain)
    await chain.remote.put(chain.key(paths[1]), b"rubbish")
    await refused(chain, write.clean_files, [paths[1]], match="kept for a person")
    await refused(chain, write.clean_files, [paths[0]], match="may stand on it")


async def test_what_cannot_be_understood_in_a_directory_protects_that_directory(chain):
    paths = await orphans(chain)
    alias = f"{paths[0].rpartition('/')[0]}/{chain.stamps[6]}.alias.vhd"
    await chain.remote.put(chain.key(alias), b"data/x.vhd")
    await refused(chain, write.clean_files, paths, match="may need it")
    await chain.remote.delete(chain.key(alias))
    elsewhere = alias.replace(chain.disk, chain.other_disk)
    await chain.remote.put(chain.key(elsewhere), b"data/x.vhd")
    await done(chain, write.clean_files, paths)


async def test_a_file_that_is_being_merged_stays(chain):
    paths = await orphans(chain)
    names = [path.rpartition("/")[2] for path in paths[:2]]
    journal = layout.journal_of(paths[0])
    await chain.remote.put(chain.key(journal), json.dumps({"chain": names}).encode())
    await refused(chain, write.clean_files, [paths[1]], match="being merged")


async def test_an_error_ends_the_pass_with_no_deletion(chain):
    """Each read in turn fails: whatever it was about, nothing is removed because of it."""
    paths = await orphans(chain)
    await done(chain, write.clean_files, [])
    count = len(chain.filesystem.calls)
    for at in range(count):
        async with chain.lock() as lock:
            chain.filesystem.calls.clear()
            chain.filesystem.fault = Fault(at, errno.EIO, lasting=True)
            with pytest.raises((RemoteError, LockLost)):
                await write.clean_files(lock, paths)
            assert all(kind != "unlink" for kind, _ in changes(chain)), at
            chain.filesystem.fault = None
    await done(chain, write.clean_files, paths)


async def test_nothing_is_removed_once_the_lock_is_gone(chain):
    paths = await orphans(chain)
    before = chain.names()
    with pytest.raises(LockLost):
        async with chain.lock() as lock:
            chain.filesystem.remove_directory(layout.lock_key(chain.vm))
            chain.filesystem.make_directory(layout.lock_key(chain.vm))
            await write.clean_files(lock, paths)
    assert chain.names() == before


# ── merging ──────────────────────────────────────────────────────────────────────────────────────


async def merged(shelf, target, source):
    target, source = (shelf.path(shelf.stamps[number]) for number in (target, source))
    return await done(shelf, write.merge_disk, target, source)


async def test_a_merge_leaves_the_younger_name_and_says_so_in_the_metadata(chain):
    await chain.put_cache()
    await done(chain, write.prune_point, chain.stamps[0])
    file = await merged(chain, 0, 1)
    assert (file.path, file.parent) == (chain.path(chain.stamps[1]), None)
    history = await chain.history()
    assert set(history.files) == {chain.path(stamp) for stamp in chain.stamps[1:3]}
    assert history.points[0].size_bytes == file.file_bytes
    entry = (await chain.cache())[cache.entry_key(chain.vm, chain.stamps[1])]
    assert (entry["size"], entry["isVhdDifferencing"]) == (file.file_bytes, {"OpaqueRef:0": False})


async def test_progress_is_told(chain):
    await done(chain, write.prune_point, chain.stamps[0])
    told = []
    target, source = (chain.path(stamp) for stamp in chain.stamps[:2])
    await done(chain, write.merge_disk, target, source, told.append)
    assert sum(told) > 0


async def test_a_file_that_a_point_needs_is_not_merged(chain):
    target, source = (chain.path(stamp) for stamp in chain.stamps[:2])
    await refused(chain, write.merge_disk, target, source, match="needs it")


async def test_a_file_that_unknown_metadata_may_need_is_not_merged(chain):
    await done(chain, write.prune_point, chain.stamps[0])
    await chain.remote.put(layout.metadata_key(chain.vm, chain.stamps[6]), b"rubbish")
    target, source = (chain.path(stamp) for stamp in chain.stamps[:2])
    await refused(chain, write.merge_disk, target, source, match="may need it")


async def test_a_file_with_two_children_or_a_broken_neighbour_is_not_merged(chain):
    await done(chain, write.prune_point, chain.stamps[0])
    target, source = (chain.path(stamp) for stamp in chain.stamps[:2])
    second = chain.path(chain.stamps[4])
    below = (chain.snapshot_of(chain.stamps[0]), f"{chain.stamps[0]}.vhd")
    await chain.put_disk(second, chain.snapshot_of(chain.stamps[4]), BLOCKS, below)
    await refused(chain, write.merge_disk, target, source, match="stands on it")
    await chain.remote.put(chain.key(second), b"rubbish")
    await refused(chain, write.merge_disk, target, source, match="is broken")


async def test_another_merge_is_finished_first(chain):
    await done(chain, write.prune_point, chain.stamps[0])
    names = [f"{stamp}.vhd" for stamp in chain.stamps[1:3]]
    journal = layout.journal_of(chain.path(chain.stamps[1]))
    await chain.remote.put(chain.key(journal), json.dumps({"chain": names}).encode())
    target, source = (chain.path(stamp) for stamp in chain.stamps[:2])
    await refused(chain, write.merge_disk, target, source, match="finish that one first")


async def test_files_of_two_disks_are_never_merged(chain):
    other = chain.path(chain.stamps[1], chain.other_disk)
    target = chain.path(chain.stamps[0])
    await refused(chain, write.merge_disk, target, other, match="another directory")
