"""Steps that span pool and remote: exports that continue, refusals, restores that leave nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
from place import NOW, Place, on

from reconciler.catalog.chains import chain_keys
from reconciler.ids import (
    PoolName,
    RemoteName,
)
from reconciler.lab.faults import DropConnection, FailCall
from reconciler.observed.chain import FileState
from reconciler.plan.restore_actions import RestoreVm
from reconciler.xapi.errors import StreamBroken, XapiError

EXPORT = "http:GET /export_raw_vdi"
IMPORT = "http:PUT /import_raw_vdi"


async def test_an_interrupted_export_sends_only_the_disks_that_lack(place: Place) -> None:
    export = await place.snapshot()
    place.lab.faults.add(EXPORT, DropConnection(after_bytes=5 << 20), times=2)
    with pytest.raises(ExceptionGroup) as failure:
        await place.carry_out(export)
    assert isinstance(failure.value.exceptions[0], StreamBroken)
    history = await place.history()
    assert history.points == (), "no metadata, no point"
    whole = {path: place.inode(path) for path in history.files}
    sent = await place.carry_out(export)
    history = await place.history()
    assert len(history.points) == 1
    for path, inode in whole.items():
        assert place.inode(path) == inode, "it was not sent again"
    assert 0 < sent < 20 << 20
    assert await place.carry_out(export) == 0, "the point is there: nothing is sent"


async def test_in_block_mode_an_interrupted_export_goes_on_from_the_blocks_that_are_there(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.transfer.block_sink.SENT_MAX", 1)
    place.lab.random_write("web", 0, 0, 16 << 20)
    export = replace(await place.snapshot(), blocks=True)
    place.lab.faults.add(EXPORT, DropConnection(after_bytes=15 << 20), times=2)
    with pytest.raises(ExceptionGroup) as failure:
        await place.carry_out(export)
    assert isinstance(failure.value.exceptions[0], StreamBroken)
    assert (await place.history()).points == ()
    there = {path: path.stat().st_ino for path in place.directory.rglob("blocks/*/*")}
    assert there, "of seven that came most can have been on their way, and not all"
    await place.carry_out(export)
    for path, inode in there.items():
        assert path.stat().st_ino == inode, "it was not put again"
    place.lab.random_write("web", 0, 3 << 20, 1 << 20)
    second = on(export, replace(await place.snapshot(), blocks=True))
    before = place.content(0)
    await place.carry_out(second)
    history = await place.history()
    assert history.partials == history.unreadable == ()
    assert all(file.blocks and file.state is FileState.OK for file in history.files.values())
    disk = history.points[-1].disks[0]
    assert history.files[disk.path].parent == f"{export.stamp}.alias.vhd"
    restored = await place.restored(second.stamp, disk.disk, tmp_path / "disk.raw")
    assert restored[: len(before)] == before


async def test_a_delta_that_the_pool_cannot_make_is_sent_whole(
    place: Place, tmp_path: Path
) -> None:
    first = await place.snapshot()
    await place.carry_out(first)
    place.lab.random_write("web", 0, 3 << 20, 1 << 20)
    contents = [place.content(0), place.content(1)]
    second = on(first, await place.snapshot())
    refusal = FailCall("INTERNAL_ERROR", ("Cannot compute differences on non-VHD images",))
    place.lab.faults.add(EXPORT, refusal)  # whichever disk comes first
    await place.carry_out(second)
    history = await place.history()
    newest = [file for file in history.files.values() if second.stamp in file.path]
    assert sorted(file.parent is None for file in newest) == [False, True]
    said = {disk.path: disk.since_full for disk in history.points[-1].disks}
    assert {file.path: said[file.path] for file in newest} == {
        file.path: 0 if file.parent is None else 1 for file in newest
    }, "what came whole says so, whatever was planned"
    for number, disk in enumerate(second.disks):
        output = tmp_path / f"{number}.raw"
        assert await place.restored(second.stamp, disk.disk, output) in contents


async def test_a_delta_stands_on_its_base_and_both_come_back(place: Place, tmp_path: Path) -> None:
    wanted, exports = [], []
    for _ in range(3):
        wanted.append({0: place.content(0), 1: place.content(1)})
        export = await place.snapshot()
        exports.append(on(exports[-1], export) if exports else export)
        await place.carry_out(exports[-1])
        place.lab.random_write("web", 0, 5 << 20, 1 << 20)
        place.lab.random_write("web", 1, 1 << 20, 4096)
    for export, content in zip(exports, wanted, strict=True):
        for disk in export.disks:
            output = tmp_path / f"{export.stamp}-{disk.disk}.raw"
            assert await place.restored(export.stamp, disk.disk, output) in content.values()
    keys = await chain_keys(place.remote, place.vm, exports[2].stamp, exports[2].disks[0].disk)
    assert len(keys) == 3
    said = [{disk.since_full for disk in point.disks} for point in (await place.history()).points]
    assert said == [{0}, {1}, {2}]


async def test_a_restore_that_fails_leaves_nothing_on_the_pool(place: Place) -> None:
    export = await place.snapshot()
    await place.carry_out(export)
    before = (await place.vdis(), set(await place.client.call("VM.get_all")))
    restore = RestoreVm(
        remote=RemoteName("cellar"),
        vm=place.vm,
        vm_name="web",
        stamp=export.stamp,
        pool=PoolName("lab"),
        sr=None,
        name="again",
        start=False,
        due=NOW,
    )
    place.lab.faults.add(IMPORT, FailCall("VDI_IO_ERROR", ("Device I/O errors",)))
    with pytest.raises((XapiError, ExceptionGroup)):
        await place.carry_out(restore)
    assert (await place.vdis(), set(await place.client.call("VM.get_all"))) == before
    await place.carry_out(restore)
    for position in (0, 1):
        copy = place.lab.read_disk("again", position, 0, 16 << 20)
        assert copy == place.content(position)
    (again,) = await place.client.call("VM.get_by_name_label", "again")
    record = await place.client.call("VM.get_record", again)
    assert record["blocked_operations"] == {}
    assert "restored from backup" in record["tags"]
    assert not any(key.startswith("xo:backup") for key in record["other_config"])


async def test_a_file_that_is_there_is_never_overwritten(place: Place, tmp_path: Path) -> None:
    export = await place.snapshot()
    await place.carry_out(export)
    output = tmp_path / "precious"
    output.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        await place.restored(export.stamp, export.disks[0].disk, output)
    assert output.read_bytes() == b"precious"
