"""Which protocol is taken, what is refused, and what the result is: the merge's table of cases."""

import pytest

from reconciler.remotes.errors import Missing, NoSpace
from reconciler.remotes.filesystem import Space
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.errors import ChainBroken, MergeRefused
from reconciler.transfer.journal import MergeJournal, Step, journal_key_of
from reconciler.transfer.merge import Protocol, merge, temporary_key_of
from reconciler.vhd.encoder import Packing
from reconciler.vhd.layout import BLOCK, BLOCK_RECORD

SIZE = 10 * BLOCK
ALL = {"copy_below_bytes": 0}


@pytest.fixture
def chain(disk):
    """root ◀ target ◀ source ◀ tip."""

    def make(*, target=None, source=None, grown=SIZE, **kwargs):
        root = disk("1.vhd", 1, SIZE, {0: 1, 9: 2})
        old = disk("2.vhd", 2, SIZE, target or {n: 10 + n for n in range(6)}, root, **kwargs)
        new = disk("3.vhd", 3, grown, source or {2: 30, 7: 31}, old, **kwargs)
        return root, old, new, disk("4.vhd", 4, grown, {2: 40}, new)

    return make


async def write_all(remote, disks):
    for disk in disks:
        await disk.write(remote)


async def run(remote, target, source, **kwargs):
    return await merge(remote, target.key, source.key, journal_key_of(target.key), **kwargs)


async def check(remote, disks, target, merged=None):
    """Everything reads as before, but that the target is gone."""
    keys = {disk.key: [key for key in disk.keys if key != target.key] for disk in disks}
    for disk in disks:
        if disk is target:
            continue
        async with open_chain(remote, keys[disk.key]) as reader:
            assert reader.size == disk.size
            buffer = bytearray(BLOCK)
            content = disk.content
            assert reader.blocks() == sorted(content)
            for block, data in content.items():
                await reader.read_block_into(memoryview(buffer), block)
                assert buffer == data, (disk.name, block)
            if merged is not None and disk.parent is target:
                assert merged.file_bytes == reader.layers[0].file_bytes
    left = remote._filesystem.paths()
    assert sorted(left) == sorted(disk.key for disk in disks if disk is not target)


@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize("grown", [SIZE, 300 * BLOCK])
async def test_clone(remote_with, chain, packing, grown):
    remote, filesystem = remote_with(reflink=True)
    disks = chain(packing=packing, grown=grown)
    await write_all(remote, disks)
    seen = []
    merged = await run(remote, *disks[1:3], on_progress=seen.append)
    assert merged.protocol is Protocol.CLONE
    assert sum(seen) == 2 * BLOCK_RECORD
    await check(remote, disks, disks[1], merged)
    assert "clone_from" in {call.kind for call in filesystem.calls}


@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize("grown", [SIZE, 300 * BLOCK])
async def test_copy(remote, chain, packing, grown):
    disks = chain(packing=packing, grown=grown)
    await write_all(remote, disks)
    merged = await run(remote, *disks[1:3])
    assert merged.protocol is Protocol.COPY
    await check(remote, disks, disks[1], merged)


@pytest.mark.parametrize("packing", Packing)
async def test_in_place(remote, chain, packing):
    disks = chain(packing=packing)
    await write_all(remote, disks)
    inode = (await remote.stat(disks[1].key)).inode
    merged = await run(remote, *disks[1:3], **ALL)
    assert merged.protocol is Protocol.IN_PLACE
    assert (await remote.stat(disks[2].key)).inode == inode
    await check(remote, disks, disks[1], merged)


async def test_records_that_follow_one_another_move_in_one_call(remote_with, chain):
    remote, filesystem = remote_with(reflink=True)
    disks = chain(target={n: n for n in range(2)}, source={n: n + 1 for n in range(2, 10)})
    await write_all(remote, disks)
    del filesystem.calls[:]
    await run(remote, *disks[1:3])
    clones = [call for call in filesystem.calls if call.kind == "clone_from"]
    assert len(clones) == 2  # the whole target, and all eight blocks
    assert "copy_from" not in {call.kind for call in filesystem.calls}


@pytest.mark.parametrize(("reflink", "kwargs"), [(True, {}), (False, {}), (False, ALL)])
async def test_no_file_is_open_while_names_change(remote_with, chain, reflink, kwargs):
    """SMB refuses to rename over an open file, and NFS keeps it under a name of its own."""
    remote, filesystem = remote_with(reflink=reflink)
    disks = chain()
    await write_all(remote, disks)
    del filesystem.calls[:]
    await run(remote, *disks[1:3], **kwargs)
    opened = changed = 0
    for call in filesystem.calls:
        if not call.path.endswith((".vhd", ".merging")):
            continue
        opened += {"open": 1, "create": 1, "close": -1}.get(call.kind, 0)
        if call.kind in ("rename", "unlink"):
            assert opened == 0, call
            changed += 1
    assert changed >= 1


async def test_the_oldest_file_of_all(remote, disk):
    target = disk("1.vhd", 1, SIZE, {0: 1, 1: 2, 2: 3, 3: 4})
    source = disk("2.vhd", 2, SIZE, {1: 5}, target)
    await write_all(remote, [target, source])
    await run(remote, target, source, **ALL)
    await check(remote, [target, source], target)
    async with open_chain(remote, [source.key]) as reader:
        assert not reader.layers[0].is_differencing


@pytest.mark.parametrize("reflink", [False, True])
@pytest.mark.parametrize("with_root", [False, True])
async def test_partial_blocks_are_merged_by_sectors(remote_with, disk, reflink, with_root):
    remote, _ = remote_with(reflink=reflink)
    root = disk("0.vhd", 9, SIZE, {1: 90, 2: 91, 3: 92, 8: 93}) if with_root else None
    target = disk("1.vhd", 1, SIZE, {n: n + 1 for n in range(6)}, root)
    target.bitmaps = {2: b"\xf0" * 512, 5: b"\x01" * 512}
    source = disk("2.vhd", 2, SIZE, {1: 51, 2: 52, 4: 53, 8: 54}, target)
    source.bitmaps = {1: b"\x33" * 512, 2: b"\x81" * 512, 8: b"\x7e" * 512}
    disks = [entry for entry in (root, target, source) if entry is not None]
    await write_all(remote, disks)
    merged = await run(remote, target, source, **ALL)
    assert merged.protocol is (Protocol.CLONE if reflink else Protocol.COPY)
    await check(remote, disks, target)


async def test_a_second_call_changes_nothing(remote, chain):
    disks = chain()
    await write_all(remote, disks)
    merged = await run(remote, *disks[1:3])
    again = await run(remote, *disks[1:3])
    assert again.protocol is Protocol.FINISHED
    assert again.file_bytes == merged.file_bytes
    await check(remote, disks, disks[1])


async def test_a_copy_without_room_is_made_in_place(remote, chain, monkeypatch):
    disks = chain(target={0: 1}, source={1: 2})
    await write_all(remote, disks)
    room = Space(20 * 2**20, 2**40)
    monkeypatch.setattr(remote._filesystem, "space", lambda: room)
    merged = await run(remote, *disks[1:3])
    assert merged.protocol is Protocol.IN_PLACE
    await check(remote, disks, disks[1])


async def test_no_room_at_all_is_seen_before_anything_is_touched(remote, chain, monkeypatch):
    disks = chain()
    await write_all(remote, disks)
    monkeypatch.setattr(remote._filesystem, "space", lambda: Space(2**20, 2**40))
    del remote._filesystem.calls[:]
    with pytest.raises(NoSpace, match="the merge needs"):
        await run(remote, *disks[1:3])
    assert not any(call.changes for call in remote._filesystem.calls)


async def test_files_that_are_not_parent_and_child_are_refused(remote, chain, disk):
    disks = chain()
    await write_all(remote, disks)
    stranger = disk("9.vhd", 99, SIZE, {0: 1})
    await stranger.write(remote)
    before = remote._filesystem.image.fingerprint()
    for target, source in [
        (disks[0], disks[2]),
        (disks[2], disks[1]),
        (disks[1], disks[3]),
        (stranger, disks[2]),
        (disks[1], stranger),
    ]:
        with pytest.raises(MergeRefused):
            await run(remote, target, source)
    assert remote._filesystem.image.fingerprint() == before


async def test_a_file_with_the_parents_name_and_another_uuid_is_refused(remote, chain, disk):
    disks = chain()
    await write_all(remote, disks)
    await remote.delete(disks[1].key)
    await disk(disks[1].name, 77, SIZE, {0: 1}, disks[0]).write(remote)
    with pytest.raises(MergeRefused, match="its parent is"):
        await run(remote, *disks[1:3])


async def test_damaged_files_are_left_alone(remote, chain):
    disks = chain()
    await write_all(remote, disks)
    for victim in disks[1:3]:
        async with remote.open(victim.key, write=True) as file:
            whole = await file.size()
            await file.truncate(whole - 1)
        before = remote._filesystem.image.fingerprint()
        with pytest.raises(ChainBroken):
            await run(remote, *disks[1:3])
        assert remote._filesystem.image.fingerprint() == before


async def test_a_target_that_somebody_removed_is_told(remote, chain):
    disks = chain()
    await write_all(remote, disks)
    await remote.delete(disks[1].key)
    with pytest.raises(MergeRefused, match="which it needs, is gone"):
        await run(remote, *disks[1:3])
    await remote.delete(disks[2].key)
    with pytest.raises(Missing):
        await run(remote, *disks[1:3])


async def test_a_source_that_somebody_removed_is_told(remote, chain):
    disks = chain()
    await write_all(remote, disks)
    await remote.delete(disks[2].key)
    journal = MergeJournal(("2.vhd", "3.vhd"), "", "", Step.BLOCKS)
    for content in (None, journal.render(), b""):
        if content is not None:
            await remote.put(journal_key_of(disks[1].key), content)
        with pytest.raises(MergeRefused, match="it is gone"):
            await run(remote, *disks[1:3])
    assert disks[1].key in remote._filesystem.paths()


async def test_a_journal_about_other_files_stops_everything(remote, chain):
    disks = chain()
    await write_all(remote, disks)
    for names in [("1.vhd", "3.vhd"), ("2.vhd", "4.vhd")]:
        journal = MergeJournal(names, "", "", Step.BLOCKS)
        await remote.put(journal_key_of(disks[1].key), journal.render())
        before = remote._filesystem.image.fingerprint()
        with pytest.raises(MergeRefused, match="is unfinished"):
            await run(remote, *disks[1:3])
        assert remote._filesystem.image.fingerprint() == before


def test_temporary_names_are_hidden_and_no_vhds():
    assert temporary_key_of("a/b/3.vhd") == "a/b/.3.vhd.merging"
