"""Points that are verified: what is read, what is noted, and what damage leads to."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from place import Place, on

from reconciler.catalog.lock import vm_lock
from reconciler.catalog.proofs import note_key, read_notes
from reconciler.catalog.write import merge_disk, prune_point
from reconciler.desired.state import Compression
from reconciler.executor.refusal import Refused
from reconciler.ids import Stamp
from reconciler.observed.chain import Chains, FileState
from reconciler.observed.proof import ProofLevel
from reconciler.plan.actions import Archive, Export, Verify
from reconciler.plan.reasons import Reason
from reconciler.remotes.errors import Unavailable
from reconciler.remotes.file import FileRemote

BLOCK = 2 << 20


def verification(export: Export | Archive) -> Verify:
    return Verify(
        remote=export.remote,
        vm=export.vm,
        vm_name=export.vm_name,
        job=export.job,
        job_id=export.job_id,
        stamp=export.stamp,
        size_bytes=0,
        due=export.due,
        reason=Reason.PROOF_DUE,
    )


async def chain(
    place: Place, *, blocks: bool = False, checksums: bool = False
) -> tuple[Export, Export]:
    """Make a full and a delta on it."""
    place.lab.random_write("web", 0, 0, 6 << 20)
    how = {"blocks": blocks, "checksums": checksums}
    first = replace(await place.snapshot(), **how)
    await place.carry_out(first)
    place.lab.random_write("web", 0, 3 << 20, 1 << 20)
    second = on(first, replace(await place.snapshot(), **how))
    await place.carry_out(second)
    return first, second


def block_of(place: Place, stamp: Stamp) -> Path:
    """Find a packed block of one stamp's directory."""
    return min(place.directory.rglob(f"data/{stamp}.vhd/blocks/*/*"))


def tree(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and ".reconciler" not in path.parts
    }


@pytest.mark.parametrize("blocks", [False, True], ids=["files", "blocks"])
async def test_every_block_of_a_chain_is_read_and_nothing_but_a_note_is_written(
    place: Place, blocks: bool
) -> None:
    _, second = await chain(place, blocks=blocks)
    before, began = tree(place.directory), place.clock.now()
    read = await place.carry_out(verification(second))
    assert tree(place.directory) == before
    history = await place.history()
    chains = Chains(history.files)
    assert all(chains.depth(disk.path) == 2 for disk in history.points[-1].disks)
    proof = history.proofs[second.job_id]
    assert (proof.level, proof.stamp) == (ProofLevel.CHAIN, second.stamp)
    assert began < proof.at < place.clock.now()
    assert proof.read_bytes == read >= 6 << 20
    assert read % BLOCK == 0


async def test_an_archive_is_checked_to_its_end(place: Place) -> None:
    export = await place.snapshot()
    archive = Archive(
        pool=export.pool,
        vm=export.vm,
        vm_name=export.vm_name,
        job=export.job,
        job_id=export.job_id,
        schedules=(),
        snapshot=export.snapshot,
        stamp=export.stamp,
        due=export.due,
        reason=export.reason,
        remote=export.remote,
        compression=Compression.ZSTD,
    )
    await place.carry_out(archive)
    (path,) = place.directory.rglob("*.xva")
    assert await place.carry_out(verification(archive)) == path.stat().st_size
    assert (await place.history()).proofs[archive.job_id].stamp == archive.stamp

    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        flipped = bytes(255 - byte for byte in file.read(64))
        file.seek(-64, 1)
        file.write(flipped)
    with pytest.raises(Refused, match=rf"what stands on {archive.stamp}\.xva") as refused:
        await place.carry_out(verification(archive))
    assert refused.value.reason is Reason.PROOF_FAILED
    history = await place.history()
    assert history.points[0].flaw
    assert not Chains(history.files).is_whole(history.points[0])
    assert history.proofs[archive.job_id].stamp == archive.stamp, "what was proven then stays so"


async def test_a_damaged_block_breaks_the_file_it_is_of_and_what_stands_on_it(
    place: Place,
) -> None:
    first, second = await chain(place, blocks=True)
    block = block_of(place, second.stamp)
    block.write_bytes(block.read_bytes()[:-7])
    with pytest.raises(Refused) as refused:
        await place.carry_out(verification(second))
    assert refused.value.reason is Reason.PROOF_FAILED
    history = await place.history()
    (bad,) = (file for file in history.files.values() if file.state is FileState.BROKEN)
    assert bad.stamp == second.stamp
    assert "block " in bad.why
    chains = Chains(history.files)
    assert [chains.is_whole(point) for point in history.points] == [True, False]
    assert second.job_id not in history.proofs

    await place.carry_out(verification(first))
    assert (await place.history()).proofs[first.job_id].stamp == first.stamp

    lower = block_of(place, first.stamp)
    lower.unlink()
    with pytest.raises(Refused):
        await place.carry_out(verification(first))
    history = await place.history()
    chains = Chains(history.files)
    assert not any(map(chains.is_whole, history.points)), "both stand on it"
    assert history.proofs[first.job_id].stamp == first.stamp, "what was proven then stays so"


async def test_a_file_that_was_put_right_again_is_believed(place: Place) -> None:
    _, second = await chain(place, blocks=True)
    block = block_of(place, second.stamp)
    content = block.read_bytes()
    block.write_bytes(b"")
    with pytest.raises(Refused):
        await place.carry_out(verification(second))
    block.write_bytes(content)
    (alias,) = {
        place.directory / "xo-vm-backups" / place.vm / file.path
        for file in (await place.history()).files.values()
        if file.state is FileState.BROKEN
    }
    text = alias.read_bytes()
    alias.unlink()
    alias.write_bytes(text)  # as somebody does who brings it back from a copy
    history = await place.history()
    assert all(file.state is FileState.OK for file in history.files.values())
    await place.carry_out(verification(second))
    notes = await read_notes(place.remote, place.vm)
    assert notes.damages == {}, "what was read since is sound"
    assert notes.proofs[second.job_id].stamp == second.stamp


async def test_what_cannot_be_read_says_nothing_of_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second = await chain(place, blocks=True)
    get = FileRemote.get

    async def fail(self: FileRemote, key: str, size_max: int) -> bytes:
        if "/blocks/" in key:
            raise Unavailable(self.name, key, "no answer")
        return await get(self, key, size_max)

    with monkeypatch.context() as patched:
        patched.setattr(FileRemote, "get", fail)
        with pytest.raises(Unavailable):
            await place.carry_out(verification(second))
    assert not (place.directory / note_key(place.vm, second.job_id)).exists()
    history = await place.history()
    assert all(file.state is FileState.OK for file in history.files.values())


async def test_what_is_right_when_it_is_read_again_is_not_damaged(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second = await chain(place, blocks=True)
    get, wrong = FileRemote.get, [1]

    async def cut_once(self: FileRemote, key: str, size_max: int) -> bytes:
        content = await get(self, key, size_max)
        return content[:-1] if "/blocks/" in key and wrong and wrong.pop() else content

    monkeypatch.setattr(FileRemote, "get", cut_once)
    with pytest.raises(Refused, match="read again it was right") as refused:
        await place.carry_out(verification(second))
    assert refused.value.reason is Reason.WORLD_CHANGED
    assert (await read_notes(place.remote, place.vm)).damages == {}


def turn_a_bit(place: Place, stamp: Stamp) -> str:
    """Turn one bit in the data of the largest file of a stamp; return the file's path."""
    file = max(place.directory.rglob(f"{stamp}.vhd"), key=lambda path: path.stat().st_size)
    at, data = file.stat(), bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    with file.open("r+b") as handle:
        handle.write(data)
    os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))  # as rot does
    return str(file.relative_to(place.directory / "xo-vm-backups" / place.vm))


@pytest.mark.parametrize("blocks", [False, True], ids=["files", "blocks"])
async def test_what_was_sent_is_what_is_read(place: Place, blocks: bool) -> None:
    first, second = await chain(place, blocks=blocks, checksums=True)
    for export in (second, first):
        await place.carry_out(verification(export))
        proof = (await place.history()).proofs[export.job_id]
        assert (proof.level, proof.stamp) == (ProofLevel.CHECKSUM, export.stamp)


async def test_one_bit_that_turned_in_the_file_below_is_found(place: Place) -> None:
    first, second = await chain(place, checksums=True)
    path = turn_a_bit(place, first.stamp)
    with pytest.raises(Refused, match="is not what was written") as refused:
        await place.carry_out(verification(second))
    assert refused.value.reason is Reason.PROOF_FAILED
    history = await place.history()
    assert history.files[path].state is FileState.BROKEN
    chains = Chains(history.files)
    assert not any(map(chains.is_whole, history.points)), "both stand on it"


async def test_what_was_folded_together_reads_as_before(place: Place) -> None:
    first, second = await chain(place, checksums=True)
    async with vm_lock(place.remote, place.vm, place.clock) as lock:
        await prune_point(lock, first.stamp)
        for disk in (await place.history()).points[0].disks:
            target = disk.path.replace(second.stamp, first.stamp)
            await merge_disk(lock, target, disk.path)
    await place.carry_out(verification(second))
    assert (await place.history()).proofs[second.job_id].level is ProofLevel.CHECKSUM
    turn_a_bit(place, second.stamp)
    with pytest.raises(Refused, match="is not what was written"):
        await place.carry_out(verification(second))


async def test_what_has_no_checksums_gets_them_by_being_read(place: Place) -> None:
    _, second = await chain(place)
    await place.carry_out(verification(second))
    assert (await place.history()).proofs[second.job_id].level is ProofLevel.CHAIN
    await place.carry_out(verification(second))
    assert (await place.history()).proofs[second.job_id].level is ProofLevel.CHECKSUM
    place.lab.random_write("web", 0, 9 << 20, 1 << 20)
    third = on(second, replace(await place.snapshot(), checksums=True))
    await place.carry_out(third)
    await place.carry_out(verification(third))
    assert (await place.history()).proofs[second.job_id].level is ProofLevel.CHECKSUM
    turn_a_bit(place, third.stamp)
    with pytest.raises(Refused, match="is not what was written"):
        await place.carry_out(verification(third))
