"""Notes of proofs: written whole, believed only as far as they make sense."""

import json
from datetime import UTC, datetime

import pytest

from reconciler.catalog import write
from reconciler.catalog.headers import Headers
from reconciler.catalog.proofs import (
    DAMAGES_MAX,
    NOTE_BYTES_MAX,
    list_noted,
    note_damage,
    note_key,
    note_proof,
    read_notes,
)
from reconciler.observed.chain import Chains, FileState
from reconciler.observed.proof import Damage, Proof, ProofLevel

NOW = datetime(2026, 1, 9, 2, tzinfo=UTC)


def proof_of(stamp) -> Proof:
    return Proof(ProofLevel.CHAIN, stamp, NOW, 123)


async def damage_of(shelf, path, why="cut off") -> Damage:
    stat = await shelf.remote.stat(shelf.key(path))
    return Damage(path, why, NOW, stat.size_bytes, stat.mtime_ns)


async def test_what_is_noted_is_read_again(shelf):
    await shelf.chain(2)
    assert await list_noted(shelf.remote) == set()
    damage = await damage_of(shelf, shelf.path(shelf.stamps[0]))
    await note_damage(shelf.remote, shelf.vm, shelf.job, damage)
    await note_proof(shelf.remote, shelf.vm, shelf.job, proof_of(shelf.stamps[1]), ())
    assert await list_noted(shelf.remote) == {shelf.vm}
    notes = await read_notes(shelf.remote, shelf.vm)
    assert notes.proofs == {shelf.job: proof_of(shelf.stamps[1])}
    assert notes.damages == {damage.path: damage}
    await note_proof(shelf.remote, shelf.vm, shelf.job, proof_of(shelf.stamps[1]), {damage.path})
    assert (await read_notes(shelf.remote, shelf.vm)).damages == {}, "it was read since"


async def test_a_damaged_file_counts_as_broken_as_long_as_it_is_the_same(shelf):
    await shelf.chain(3)
    path = shelf.path(shelf.stamps[1])
    headers = Headers()
    await shelf.history(headers)  # what is remembered of files does not hide it
    await note_damage(shelf.remote, shelf.vm, shelf.job, await damage_of(shelf, path))
    history = await shelf.history(headers)
    assert (history.files[path].state, history.files[path].why) == (FileState.BROKEN, "cut off")
    chains = Chains(history.files)
    assert [chains.is_whole(point) for point in history.points] == [True, False, False]
    below = shelf.stamps[0]
    again = {0: 2, 1: 2, 2: 2}  # of another size
    await shelf.remote.delete(shelf.key(path))
    parent = (shelf.snapshot_of(below), f"{below}.vhd")
    await shelf.put_disk(path, shelf.snapshot_of(shelf.stamps[1]), again, parent)
    history = await shelf.history(headers)
    assert history.files[path].state is FileState.OK


async def test_with_the_lock_too_a_damaged_file_is_broken_and_the_last_good_point_stays(shelf):
    await shelf.chain(2)
    await note_damage(
        shelf.remote, shelf.vm, shelf.job, await damage_of(shelf, shelf.path(shelf.stamps[1]))
    )
    await shelf.refuses(write.prune_point, shelf.stamps[0], match="no other point")


async def test_an_archive_that_was_found_damaged_is_flawed(shelf):
    await shelf.archive(shelf.stamps[0])
    name = f"{shelf.stamps[0]}.xva"
    await note_damage(shelf.remote, shelf.vm, shelf.job, await damage_of(shelf, name, "bad"))
    (point,) = (await shelf.history()).points
    assert point.flaw == "bad"


async def test_of_many_damages_the_newest_are_kept(shelf):
    for number in range(DAMAGES_MAX + 3):
        damage = Damage(f"vdis/{number}", "why " * 1000, NOW, number, number)
        await note_damage(shelf.remote, shelf.vm, shelf.job, damage)
    damages = (await read_notes(shelf.remote, shelf.vm)).damages
    assert list(damages) == [f"vdis/{number}" for number in range(3, DAMAGES_MAX + 3)]
    stat = await shelf.remote.stat(note_key(shelf.vm, shelf.job))
    assert stat.size_bytes < NOTE_BYTES_MAX, "what is written can be read"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}" + b" " * NOTE_BYTES_MAX,
        b"[" * 100_000,
        json.dumps({"version": 2}).encode(),
        json.dumps({"proof": {"level": "Boot", "stamp": "x", "at": "y"}}).encode(),
        json.dumps(
            {"proof": {"level": "Chain", "stamp": "20260101T020000Z", "at": "2026-01-01"}}
        ).encode(),
        json.dumps({"damages": [{"path": "x" * 2000}]}).encode(),
        json.dumps({"damages": [{}] * (DAMAGES_MAX + 1)}).encode(),
    ],
)
async def test_what_makes_no_sense_says_nothing(shelf, content):
    await shelf.chain(1)
    await shelf.remote.put(note_key(shelf.vm, shelf.job), content)
    history = await shelf.history()
    assert history.proofs == {}
    assert history.unreadable == (), "nothing hangs on it"
    assert len(history.points) == 1
    await note_proof(shelf.remote, shelf.vm, shelf.job, proof_of(shelf.stamps[0]), ())
    assert (await read_notes(shelf.remote, shelf.vm)).proofs


async def test_names_that_are_no_note_are_passed_over(shelf):
    for name in ("x.json", "notes", ".hidden.json"):
        await shelf.remote.put(f".reconciler/proofs/{shelf.vm}/{name}", b"{}")
    assert (await read_notes(shelf.remote, shelf.vm)).by_job == {}
    await shelf.remote.put(".reconciler/proofs/stray", b"")
    assert await list_noted(shelf.remote) == {shelf.vm}
