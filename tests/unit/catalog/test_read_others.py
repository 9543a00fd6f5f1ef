"""What others leave in a VM's directory: merges under way, and locks."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.catalog import layout, read, write
from reconciler.observed.chain import Chains, FileState, MergeInProgress, chain_of
from reconciler.transfer.journal import MergeJournal, Step
from reconciler.vhd.footer import Footer


def whys(history):
    return {item.path: item.why for item in history.unreadable}


# ── merges under way ─────────────────────────────────────────────────────────────────────────────


def journal(chain, step=Step.BLOCKS):
    return MergeJournal(tuple(f"{stamp}.vhd" for stamp in chain), "a", "b", step).render()


async def test_a_journal_is_a_merge_in_progress_and_its_file_may_lack_an_end(shelf):
    await shelf.chain(3)
    target, source = (shelf.path(stamp) for stamp in shelf.stamps[:2])
    await shelf.remote.put(shelf.key(layout.journal_of(target)), journal(shelf.stamps[:2]))
    async with shelf.remote.open(shelf.key(target), write=True) as file:
        size = await file.size()
        await file.write([b"\xaa" * 4096], size - 512)
    history = await shelf.history()
    assert history.merges == (MergeInProgress(layout.journal_of(target), target, source),)
    assert history.files[target].state is FileState.OK
    await shelf.remote.delete(shelf.key(layout.journal_of(target)))
    assert (await shelf.history()).files[target].state is FileState.BROKEN


async def test_with_the_journal_the_same_file_is_looked_at_anew(shelf):
    await shelf.chain(2)
    headers = read.Headers()
    await shelf.history(headers)
    target = shelf.path(shelf.stamps[0])
    await shelf.remote.put(shelf.key(layout.journal_of(target)), journal(shelf.stamps[:2]))
    shelf.calls()
    await shelf.history(headers)
    assert ("open", shelf.key(target)) in shelf.calls()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"x" * 2_000_000])
async def test_an_empty_journal_is_about_the_only_child(shelf, content):
    await shelf.chain(2)
    target, source = (shelf.path(stamp) for stamp in shelf.stamps[:2])
    await shelf.remote.put(shelf.key(layout.journal_of(target)), content)
    history = await shelf.history()
    assert history.merges == (MergeInProgress(layout.journal_of(target), target, source),)


async def test_a_journal_about_nothing_that_can_be_told_is_unreadable(shelf):
    await shelf.chain(1)
    target = shelf.path(shelf.stamps[0])
    for content in (b"", journal([shelf.stamps[1], shelf.stamps[2]])):
        await shelf.remote.put(shelf.key(layout.journal_of(target)), content)
        history = await shelf.history()
        assert history.merges == ()
        assert list(whys(history)) == [layout.journal_of(target)]


async def test_a_journal_that_leads_elsewhere_is_not_followed(shelf):
    await shelf.chain(2)
    target = shelf.path(shelf.stamps[0])
    for name in ("../../x.vhd", "x.vhd", ".20260102T020000Z.vhd.partial"):
        content = {"chain": [f"{shelf.stamps[0]}.vhd", name], "step": "mergeBlocks"}
        key = shelf.key(layout.journal_of(target))
        await shelf.remote.put(key, json.dumps(content).encode())
        history = await shelf.history()
        assert all("/" not in merge.source.rpartition("/")[2] for merge in history.merges)
        assert all(layout.parse_disk_path(merge.source) for merge in history.merges)


# ── other people's locks ─────────────────────────────────────────────────────────────────────────


async def test_a_living_lock_of_others_is_seen(shelf):
    await shelf.chain(1)
    now_ns = int(shelf.clock.now().timestamp() * 10**9)
    headers = read.Headers()
    await shelf.remote.make_directory(layout.lock_key(shelf.vm))
    shelf.filesystem.set_mtime(layout.lock_key(shelf.vm), now_ns)
    assert (await shelf.history(headers)).locked_by_others
    shelf.clock.step(timedelta(seconds=60))
    assert not (await shelf.history(headers)).locked_by_others
    shelf.filesystem.remove_directory(layout.lock_key(shelf.vm))
    assert not (await shelf.history(headers)).locked_by_others


async def test_a_lock_that_stands_still_is_dead_whatever_the_servers_clock_says(shelf):
    await shelf.chain(1)
    future_ns = int(shelf.clock.now().timestamp() * 10**9) + 10**15
    headers = read.Headers()
    await shelf.remote.make_directory(layout.lock_key(shelf.vm))
    for beat in range(3):
        shelf.filesystem.set_mtime(layout.lock_key(shelf.vm), future_ns + beat)
        assert (await shelf.history(headers)).locked_by_others
        shelf.clock.step(timedelta(seconds=30))
    assert not (await shelf.history(headers)).locked_by_others


async def test_our_own_lock_is_not_somebody_elses(shelf):
    age_s = shelf.filesystem.stat("").mtime_ns / 10**9 - shelf.clock.now().timestamp()
    shelf.filesystem.pass_time(-age_s)
    async with shelf.lock():
        assert not (await shelf.history()).locked_by_others


async def test_a_target_that_took_the_newer_identity_is_still_seen_as_the_older(shelf):
    await shelf.chain(4)
    await shelf.does(write.prune_point, shelf.stamps[0])
    target, source, tip = (shelf.path(shelf.stamps[number]) for number in (0, 1, 3))
    uuids = [shelf.snapshot_of(shelf.stamps[number]) for number in (0, 1)]
    content = {
        "parent": {"uuid": uuids[0]},
        "child": {"uuid": uuids[1]},
        "chain": [f"{shelf.stamps[0]}.vhd", f"{shelf.stamps[1]}.vhd"],
        "currentBlock": 0,
        "step": "cleanup",
    }
    key = shelf.key(layout.journal_of(target))
    await shelf.remote.put(key, json.dumps(content).encode())
    async with shelf.remote.open(shelf.key(target), write=True) as file:
        size = await file.size()
        footer = replace(Footer.parse(await file.read(0, 512)), unique_id=uuids[1])
        await file.write([footer.pack()], size - 512)
        await file.write([footer.pack()], 0)
    history = await shelf.history()
    assert history.files[target].uuid == uuids[0]
    assert [file.path for file in chain_of(history.files, tip)][-2:] == [source, target]
    assert all(Chains(history.files).is_whole(point) for point in history.points)
