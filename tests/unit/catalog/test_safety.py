"""What may be removed and what may be merged: nothing that is needed, nothing that might be."""

import errno
import json

import pytest

from reconciler.catalog import cache, layout, write
from reconciler.catalog.errors import LockLost
from reconciler.remotes.errors import RemoteError
from reconciler.remotes.faults import Fault

BLOCKS = {0: 9, 2: 9}

# ── cleaning ─────────────────────────────────────────────────────────────────────────────────────


async def test_files_that_nothing_needs_are_removed_tips_first(chain):
    paths = await chain.orphans()
    sizes = [chain.filesystem.content(chain.key(path)).size for path in paths]
    assert await chain.does(write.clean_files, paths) == sum(sizes)
    removed = [path for kind, path in chain.changes() if kind == "unlink"]
    assert removed == [paths[2], paths[1], paths[0]]
    assert await chain.does(write.clean_files, paths) == 0
    assert len((await chain.history()).files) == 3


async def test_one_that_is_needed_keeps_them_all(chain):
    paths = await chain.orphans()
    await chain.refuses(write.clean_files, [*paths, chain.path(chain.stamps[2])], match="needs it")
    await chain.refuses(write.clean_files, [paths[0], paths[2]], match="stands on it")
    await chain.refuses(write.clean_files, [*paths, "cache.json.gz"], match="ever removed")
    await chain.refuses(write.clean_files, [*paths, f"{chain.stamps[0]}.json"])
    await chain.refuses(write.clean_files, [*paths, "notes.txt"])


@pytest.mark.parametrize("content", [b"", b"{", b'{"mode":"later"}'])
async def test_metadata_that_is_not_understood_might_need_any_file(chain, content):
    paths = await chain.orphans()
    await chain.remote.put(layout.metadata_key(chain.vm, chain.stamps[6]), content)
    await chain.refuses(write.clean_files, paths, match="may need it")
    await chain.does(write.clean_files, paths[2:])


async def test_a_broken_file_stays_and_so_does_what_it_may_stand_on(chain):
    paths = await chain.orphans()
    await chain.remote.put(chain.key(paths[1]), b"rubbish")
    await chain.refuses(write.clean_files, [paths[1]], match="kept for a person")
    await chain.refuses(write.clean_files, [paths[0]], match="may stand on it")


async def test_what_cannot_be_understood_in_a_directory_protects_that_directory(chain):
    paths = await chain.orphans()
    other = f"{paths[0].rpartition('/')[0]}/copy of the other one.vhd"
    await chain.remote.put(chain.key(other), b"whatever")
    await chain.refuses(write.clean_files, paths, match="may need it")
    await chain.remote.delete(chain.key(other))
    elsewhere = other.replace(chain.disk, chain.other_disk)
    await chain.remote.put(chain.key(elsewhere), b"whatever")
    await chain.does(write.clean_files, paths)


async def test_a_file_that_is_being_merged_stays(chain):
    paths = await chain.orphans()
    names = [path.rpartition("/")[2] for path in paths[:2]]
    journal = layout.journal_of(paths[0])
    await chain.remote.put(chain.key(journal), json.dumps({"chain": names}).encode())
    await chain.refuses(write.clean_files, [paths[1]], match="being merged")


async def test_an_error_ends_the_pass_with_no_deletion(chain):
    """Each read in turn fails: whatever it was about, nothing is removed because of it."""
    paths = await chain.orphans()
    await chain.does(write.clean_files, [])
    count = len(chain.filesystem.calls)
    for at in range(count):
        async with chain.lock() as lock:
            chain.filesystem.calls.clear()
            chain.filesystem.fault = Fault(at, errno.EIO, lasting=True)
            with pytest.raises((RemoteError, LockLost)):
                await write.clean_files(lock, paths)
            assert all(kind != "unlink" for kind, _ in chain.changes()), at
            chain.filesystem.fault = None
    await chain.does(write.clean_files, paths)


async def test_nothing_is_removed_once_the_lock_is_gone(chain):
    paths = await chain.orphans()
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
    return await shelf.does(write.merge_disk, target, source)


async def test_a_merge_leaves_the_younger_name_and_says_so_in_the_metadata(chain):
    await chain.put_cache()
    await chain.does(write.prune_point, chain.stamps[0])
    file = await merged(chain, 0, 1)
    assert (file.path, file.parent) == (chain.path(chain.stamps[1]), None)
    history = await chain.history()
    assert set(history.files) == {chain.path(stamp) for stamp in chain.stamps[1:3]}
    assert history.points[0].size_bytes == file.file_bytes
    entry = (await chain.cache())[cache.entry_key(chain.vm, chain.stamps[1])]
    assert (entry["size"], entry["isVhdDifferencing"]) == (file.file_bytes, {"OpaqueRef:0": False})


async def test_progress_is_told(chain):
    await chain.does(write.prune_point, chain.stamps[0])
    told = []
    target, source = (chain.path(stamp) for stamp in chain.stamps[:2])
    await chain.does(write.merge_disk, target, source, told.append)
    assert sum(told) > 0


async def test_a_file_that_a_point_needs_is_not_merged(chain):
    target, source = (chain.path(stamp) for stamp in chain.stamps[:2])
    await chain.refuses(write.merge_disk, target, source, match="needs it")


async def test_a_file_that_unknown_metadata_may_need_is_not_merged(chain):
    await chain.does(write.prune_point, chain.stamps[0])
    await chain.remote.put(layout.metadata_key(chain.vm, chain.stamps[6]), b"rubbish")
    target, source = (chain.path(stamp) for stamp in chain.stamps[:2])
    await chain.refuses(write.merge_disk, target, source, match="may need it")


async def test_a_file_with_two_children_or_a_broken_neighbour_is_not_merged(chain):
    await chain.does(write.prune_point, chain.stamps[0])
    target, source = (chain.path(stamp) for stamp in chain.stamps[:2])
    second = chain.path(chain.stamps[4])
    below = (chain.snapshot_of(chain.stamps[0]), f"{chain.stamps[0]}.vhd")
    await chain.put_disk(second, chain.snapshot_of(chain.stamps[4]), BLOCKS, below)
    await chain.refuses(write.merge_disk, target, source, match="stands on it")
    await chain.remote.put(chain.key(second), b"rubbish")
    await chain.refuses(write.merge_disk, target, source, match="is broken")


async def test_another_merge_is_finished_first(chain):
    await chain.does(write.prune_point, chain.stamps[0])
    names = [f"{stamp}.vhd" for stamp in chain.stamps[1:3]]
    journal = layout.journal_of(chain.path(chain.stamps[1]))
    await chain.remote.put(chain.key(journal), json.dumps({"chain": names}).encode())
    target, source = (chain.path(stamp) for stamp in chain.stamps[:2])
    await chain.refuses(write.merge_disk, target, source, match="finish that one first")


async def test_files_of_two_disks_are_never_merged(chain):
    other = chain.path(chain.stamps[1], chain.other_disk)
    target = chain.path(chain.stamps[0])
    await chain.refuses(write.merge_disk, target, other, match="another directory")
