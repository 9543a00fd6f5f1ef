"""Disks in block mode in a VM's directory: looking, publishing, cleaning, and what is refused."""

import json

import pytest

from reconciler.catalog import incoming, layout, write
from reconciler.catalog.chains import chain_keys_of
from reconciler.catalog.errors import NotSafe
from reconciler.catalog.read import Headers
from reconciler.observed.chain import FileState, MergeInProgress, disk_name
from reconciler.transfer.block_codec import BlockWorkers
from reconciler.transfer.block_directory import alias_content, remove_tree
from reconciler.transfer.block_sink import BlockDirectorySink
from reconciler.transfer.sink import DiskHead, Identity
from reconciler.transfer.vhd_sink import VhdFileSink
from reconciler.vhd.layout import BLOCK

SIZE = 4 * BLOCK


@pytest.fixture
def workers():
    made = BlockWorkers(1)
    yield made
    made.close()


@pytest.fixture
def shelf(shelf, workers):
    """The shelf of block mode: `point` and `chain` make disks as block directories."""

    def path(stamp, disk=shelf.disk, job=shelf.job):
        return layout.disk_path(job, disk, stamp, blocks=True)

    async def upload(stamp, blocks, parent=None, disk=shelf.disk, job=shelf.job, size=SIZE):
        name = disk_name(parent, blocks=True) if parent else None
        below = (shelf.snapshot_of(parent, disk), name) if parent else (None, None)
        data = shelf.key(layout.data_path(job, disk, stamp))
        identity = Identity(shelf.snapshot_of(stamp, disk), *below)
        sink = BlockDirectorySink(
            shelf.remote, shelf.key(path(stamp, disk, job)), data, identity, workers
        )
        await sink.begin(DiskHead(size, parent is not None, list(blocks)))
        for block, tag in blocks.items():
            record = memoryview(b"\xff" * 512 + bytes([tag]) * BLOCK)
            await sink.block(block, record, tag == 0)
        await sink.end()
        return path(stamp, disk, job)

    shelf.path, shelf.upload = path, upload
    return shelf


def data(shelf, number):
    return layout.data_path(shelf.job, shelf.disk, shelf.stamps[number])


async def test_points_and_their_disks(chain):
    history = await chain.history()
    assert [point.stamp for point in history.points] == chain.stamps[:3]
    assert history.unreadable == history.partials == ()
    for number, point in enumerate(history.points):
        file = history.files[point.disks[0].path]
        assert file.blocks
        assert file.data == data(chain, number)
        assert file.stamp == chain.stamps[number]
        assert file.uuid == chain.snapshot_of(chain.stamps[number])
        below = f"{chain.stamps[number - 1]}.alias.vhd" if number else None
        assert file.parent == below
        assert file.virtual_bytes == SIZE
    keys = await chain_keys_of(chain.remote, chain.vm, history.points[-1].disks[0].path)
    assert keys == [chain.key(chain.path(stamp)) for stamp in reversed(chain.stamps[:3])]


async def test_what_did_not_change_is_not_read_again(chain):

    headers = Headers()
    first = await chain.history(headers)
    chain.calls()
    assert (await chain.history(headers)).files == first.files
    assert not [path for kind, path in chain.calls() if kind == "open"]


@pytest.mark.parametrize("lost", ["bat", "all of it"])
async def test_what_happens_to_a_block_directory_is_seen(chain, lost):

    headers = Headers()
    await chain.history(headers)
    directory = chain.key(data(chain, 2))
    if lost == "bat":
        chain.filesystem.pass_time(60)
        await chain.remote.delete(f"{directory}/bat")
    else:
        await remove_tree(chain.remote, directory)
    file = (await chain.history(headers)).files[chain.path(chain.stamps[2])]
    assert file.state is FileState.BROKEN
    assert "has no" in file.why
    assert file.data == data(chain, 2)


async def test_points_that_xen_orchestra_wrote_are_read(shelf):
    """An alias may lead to a directory of any name: of an older date, or a random one."""
    await shelf.chain(2)
    alias = shelf.path(shelf.stamps[1])
    above = alias.rpartition("/")[0]
    old, new = data(shelf, 1), f"{above}/data/7b1c9a52-0000-4000-8000-000000000000.vhd"
    for path in shelf.names():
        if path.startswith(old):
            content = await shelf.remote.get(shelf.key(path), 10**8)
            await shelf.remote.put(shelf.key(new + path.removeprefix(old)), content)
    await shelf.remote.put(shelf.key(alias), alias_content(shelf.key(new)))
    history = await shelf.history()
    assert history.files[alias].data == new
    assert history.files[alias].state is FileState.OK
    assert history.partials == (old,)


# ── unfinished ones ──────────────────────────────────────────────────────────────────────────────


async def test_a_block_directory_without_an_alias_is_an_unfinished_upload(chain):
    await chain.upload(chain.stamps[3], {0: 9}, chain.stamps[2])
    history = await chain.history()
    assert history.partials == (data(chain, 3),)
    freed = await chain.does(write.clean_files, history.partials)
    assert freed > 0
    assert not [name for name in chain.names() if name.startswith(data(chain, 3))]
    assert len((await chain.history()).points) == 3


@pytest.mark.parametrize(
    "puzzle",
    ["20260106T020000Z.alias.vhd", "something.alias.vhd", ".20260101T020000Z.alias.vhd.merge.json"],
)
async def test_where_something_makes_no_sense_nothing_is_an_unfinished_upload(chain, puzzle):
    await chain.upload(chain.stamps[3], {0: 9}, chain.stamps[2])
    directory = chain.path(chain.stamps[0]).rpartition("/")[0]
    await chain.remote.put(chain.key(f"{directory}/{puzzle}"), b"data/../nonsense")
    assert data(chain, 3) not in (await chain.history()).partials


async def test_what_got_its_alias_since_is_no_debris_any_more(chain):
    path = await chain.upload(chain.stamps[3], {0: 9}, chain.stamps[2])
    planned = (await chain.history()).partials
    await chain.does(write.publish_disk, path)
    await chain.does(write.clean_files, planned)
    assert (await chain.history()).files[path].state is FileState.OK


# ── publishing ───────────────────────────────────────────────────────────────────────────────────


async def test_the_alias_comes_last_and_is_all_that_publishing_writes(chain):
    path = await chain.upload(chain.stamps[3], {0: 9}, chain.stamps[2])
    file = await chain.does(write.publish_disk, path)
    assert [change for change in chain.changes() if change[0] == "rename"] == [("rename", path)]
    assert (await chain.history()).files[path] == file
    assert await chain.does(write.publish_disk, path) == file  # again is no matter


async def test_an_unfinished_one_is_refused(chain):
    path = await chain.upload(chain.stamps[3], {0: 9}, chain.stamps[2])
    await chain.remote.delete(chain.key(f"{data(chain, 3)}/bat"))
    await chain.refuses(write.publish_disk, path, match="not whole")


async def test_a_disk_that_grew_is_refused(chain):
    path = await chain.upload(chain.stamps[3], {0: 9}, chain.stamps[2], size=SIZE + BLOCK)
    await chain.refuses(write.publish_disk, path, match="larger than its parent")


async def test_layouts_are_not_mixed(chain):
    directory = chain.path(chain.stamps[0]).rpartition("/")[0]
    upper = f"{directory}/{chain.stamps[3]}.vhd"
    below = chain.snapshot_of(chain.stamps[2]), f"{chain.stamps[2]}.alias.vhd"
    partial = layout.partial_of(upper)
    await chain.put_disk(partial, chain.snapshot_of(chain.stamps[3]), {0: 9}, below)
    await chain.refuses(write.publish_disk, upper, match="other layout")
    await chain.refuses(write.merge_disk, chain.path(chain.stamps[0]), upper, match="other layout")


# ── where to ─────────────────────────────────────────────────────────────────────────────────────


async def test_each_layout_has_its_sink(chain, workers):
    path = chain.path(chain.stamps[3])
    identity = Identity(chain.snapshot_of(chain.stamps[3]))
    async with chain.lock() as lock:
        blocks = await incoming.sink_for(lock, path, identity, workers)
        file = await incoming.sink_for(lock, path.replace(".alias.vhd", ".vhd"), identity, workers)
    assert isinstance(blocks, BlockDirectorySink)
    assert isinstance(file, VhdFileSink)


async def test_a_directory_that_another_alias_names_is_never_filled_anew(chain, workers):
    """After a merge the newer name leads to the directory of the older stamp."""
    await chain.does(write.prune_point, chain.stamps[0])
    first, second = (chain.path(stamp) for stamp in chain.stamps[:2])
    await chain.does(write.merge_disk, first, second)
    assert (await chain.history()).files[second].data == data(chain, 0)
    identity = Identity(chain.snapshot_of(chain.stamps[0]))
    await chain.refuses(incoming.sink_for, first, identity, workers, match="names its block")


async def test_an_alias_of_a_try_that_made_no_point_goes_first(chain, workers):
    path = await chain.upload(chain.stamps[3], {0: 9}, chain.stamps[2])
    await chain.does(write.publish_disk, path)
    await chain.does(incoming.sink_for, path, Identity("u"), workers)
    history = await chain.history()
    assert path not in history.files
    assert history.partials == (data(chain, 3),)
    point = chain.path(chain.stamps[2])
    await chain.refuses(incoming.sink_for, point, Identity("u"), workers, match="is there already")


# ── removing and merging ─────────────────────────────────────────────────────────────────────────


async def test_the_alias_goes_before_what_it_names(chain):
    await chain.does(write.prune_point, chain.stamps[2])
    path = chain.path(chain.stamps[2])
    await chain.does(write.clean_files, [path])
    removed = [name for kind, name in chain.changes() if kind == "unlink"]
    assert removed[0] == path
    assert all(name.startswith(data(chain, 2)) for name in removed[1:])
    assert not [name for name in chain.names() if name.startswith(data(chain, 2))]


async def test_a_directory_with_two_aliases_stays_with_the_other(chain):
    """What Xen Orchestra leaves of a merge if its state is lost; itself it removes the blocks."""
    await chain.does(write.prune_point, chain.stamps[0])
    await chain.does(write.merge_disk, *(chain.path(stamp) for stamp in chain.stamps[:2]))
    first, second = (chain.path(stamp) for stamp in chain.stamps[:2])
    await chain.remote.put(chain.key(first), alias_content(chain.key(data(chain, 0))))
    await chain.does(write.clean_files, [first])
    history = await chain.history()
    assert first not in history.files
    assert history.files[second].state is FileState.OK
    assert [name for name in chain.names() if name.startswith(f"{data(chain, 0)}/blocks")]


async def test_a_merge_says_so_in_the_metadata(chain):
    await chain.does(write.prune_point, chain.stamps[0])
    first, second = (chain.path(stamp) for stamp in chain.stamps[:2])
    left = await chain.does(write.merge_disk, first, second)
    assert (left.path, left.parent, left.data) == (second, None, data(chain, 0))
    point = (await chain.history()).points[0]
    assert point.size_bytes == left.file_bytes


async def test_a_begun_merge_is_seen_and_nothing_is_removed_beside_it(chain):
    await chain.does(write.prune_point, chain.stamps[0])
    first, second = (chain.path(stamp) for stamp in chain.stamps[:2])
    await chain.remote.put(chain.key(layout.journal_of(first)), b"")
    history = await chain.history()
    assert history.merges == (MergeInProgress(layout.journal_of(first), first, second),)
    await chain.refuses(write.clean_files, [first], match="stands on it|being merged")
    await chain.does(write.merge_disk, first, second)
    assert (await chain.history()).merges == ()


async def test_a_newer_one_that_xen_orchestra_half_removed_is_replaced(chain):
    """Everybody else's directory with a broken disk in it is left alone; this merge is finished."""

    await chain.does(write.prune_point, chain.stamps[0])
    first, second = (chain.path(stamp) for stamp in chain.stamps[:2])
    content = {}
    for name in chain.names():  # as if merged: the newer one's tables and blocks, over the older
        if name.startswith(data(chain, 1)):
            content[name] = await chain.remote.get(chain.key(name), 10**8)
    await chain.does(write.merge_disk, first, second)
    await chain.remote.put(chain.key(first), alias_content(chain.key(data(chain, 0))))
    for name, piece in content.items():
        if not name.endswith("/bat"):
            await chain.remote.put(chain.key(name), piece)
    await chain.remote.put(chain.key(second), alias_content(chain.key(data(chain, 1))))
    state = {
        "child": {"uuid": chain.snapshot_of(chain.stamps[1])},
        "parent": {"uuid": chain.snapshot_of(chain.stamps[0])},
        "chain": [f"{stamp}.alias.vhd" for stamp in chain.stamps[:2]],
        "step": "cleanup",
    }
    await chain.remote.put(chain.key(layout.journal_of(first)), json.dumps(state).encode())
    history = await chain.history()
    assert history.files[second].state is FileState.BROKEN
    left = await chain.does(write.merge_disk, first, second)
    assert left.state is FileState.OK
    history = await chain.history()
    assert all(file.state is FileState.OK for file in history.files.values())
    assert history.partials == history.merges == ()


@pytest.mark.parametrize("path", ["vdis/j/d/data/x.vhd", "vdis/j/../data/20260101T020000Z.vhd"])
async def test_nothing_else_in_data_is_ever_removed(chain, path):
    with pytest.raises(NotSafe, match="nothing of a kind"):
        await chain.does(write.clean_files, [path])
