import errno
import json
from dataclasses import replace

import pytest

from reconciler.catalog import layout, read
from reconciler.catalog.headers import Headers
from reconciler.observed.chain import Chains, FileState, PointKind
from reconciler.remotes.errors import RemoteError
from reconciler.remotes.faults import Fault
from reconciler.remotes.file import FileRemote
from reconciler.remotes.posix import PosixFilesystem

READS = {"open", "size", "pread_into", "close"}


def whys(history):
    return {item.path: item.why for item in history.unreadable}


# ── which VMs there are ──────────────────────────────────────────────────────────────────────────


async def test_a_new_remote_has_no_vms(shelf):
    assert await read.list_vms(shelf.remote) == []


async def test_vms_are_directories_with_a_uuid_for_a_name(shelf):
    root = layout.ROOT
    for name in (shelf.vm, f"{shelf.vm}.lock", ".queue", "notes", shelf.vm.replace("1", "A")):
        await shelf.remote.make_directory(f"{root}/{name}")
    await shelf.remote.put(f"{root}/{shelf.vm.replace('1', '2')}", b"a file")
    assert await read.list_vms(shelf.remote) == [shelf.vm]


async def test_a_remote_that_cannot_be_listed_is_not_empty(shelf):
    shelf.filesystem.fault = Fault(0, errno.EIO, lasting=True)
    with pytest.raises(RemoteError):
        await read.list_vms(shelf.remote)


# ── points and files ─────────────────────────────────────────────────────────────────────────────


async def test_a_vm_that_is_not_there_has_an_empty_history(shelf):
    history = await shelf.history()
    assert (history.points, history.files, history.unreadable) == ((), {}, ())


async def test_points_and_their_files(shelf):
    await shelf.chain(3)
    as_of = shelf.clock.now()
    history = await read.read_vm(shelf.remote, shelf.vm, as_of)
    assert [point.stamp for point in history.points] == shelf.stamps[:3]
    assert history.as_of == as_of
    full, delta, tip = (history.files[shelf.path(stamp)] for stamp in shelf.stamps[:3])
    assert (full.parent, full.parent_uuid) == (None, None)
    assert (delta.parent, delta.parent_uuid) == (full.file_name, full.uuid)
    assert tip.parent == delta.file_name
    assert full.uuid == shelf.snapshot_of(shelf.stamps[0])
    assert full.virtual_bytes == 8 * 1024 * 1024
    assert (full.data_bytes, delta.data_bytes) == (2 * 1024 * 1024, 4 * 1024 * 1024)
    assert full.file_bytes == shelf.filesystem.content(shelf.key(full.path)).size
    assert {file.state for file in history.files.values()} == {FileState.OK}


async def test_a_parent_is_believed_only_of_a_delta(shelf):
    """The disk type decides; a full with a name left in its header stands alone."""
    await shelf.chain(2)
    key = shelf.key(shelf.path(shelf.stamps[1]))
    async with shelf.remote.open(key, write=True) as file:
        whole = bytearray(await file.read(0, await file.size()))
        for footer in (0, len(whole) - 512):
            whole[footer + 60 : footer + 64] = (3).to_bytes(4, "big")
            whole[footer + 64 : footer + 68] = bytes(4)
            total = ~sum(whole[footer : footer + 512]) & 0xFFFFFFFF
            whole[footer + 64 : footer + 68] = total.to_bytes(4, "big")
        await file.write([whole], 0)
    file = (await shelf.history()).files[shelf.path(shelf.stamps[1])]
    assert (file.state, file.parent, file.parent_uuid) == (FileState.OK, None, None)


async def test_our_unfinished_files_are_listed_and_others_are_not(shelf):
    await shelf.chain(1)
    directory = shelf.path(shelf.stamps[0]).rpartition("/")[0]
    ours = [
        f".{shelf.stamps[1]}.json.0a1b.partial",
        ".cache.json.gz.0a1b.partial",
        f"{directory}/.{shelf.stamps[1]}.vhd.partial",
        f"{directory}/.{shelf.stamps[1]}.vhd.merging",
    ]
    others = [".nfs01", f"{directory}/.1767225600000.{shelf.stamps[1]}.vhd", f"{directory}/.x.vhd"]
    for path in ours + others:
        await shelf.remote.put(shelf.key(path), b"half")
    history = await shelf.history()
    assert history.partials == tuple(sorted(ours))
    assert history.unreadable == ()
    assert set(history.files) == {shelf.path(shelf.stamps[0])}


# ── what makes no sense ──────────────────────────────────────────────────────────────────────────


async def test_metadata_that_is_not_understood_is_listed_and_hides_no_other(shelf):
    await shelf.chain(2)
    good = shelf.filesystem.content(layout.metadata_key(shelf.vm, shelf.stamps[0])).whole()
    bad = {
        f"{shelf.stamps[2]}.json": b"",
        f"{shelf.stamps[3]}.json": b'{"mode":"delta"}',
        f"{shelf.stamps[4]}.json": good,  # of another instant
        "notes.json": b"{}",
        f"{shelf.stamps[5]}.json": b" " * (16 * 1024 * 1024 + 1),
    }
    for name, content in bad.items():
        await shelf.remote.put(shelf.key(name), content)
    await shelf.remote.make_directory(shelf.key(f"{shelf.stamps[6]}.json"))
    history = await shelf.history()
    assert [point.stamp for point in history.points] == shelf.stamps[:2]
    assert set(whys(history)) == {*bad, f"{shelf.stamps[6]}.json"}
    assert all(whys(history).values())


@pytest.mark.parametrize(
    ("said", "there", "flaw"),
    [
        (7, b"archive", ""),
        (None, b"archive", ""),
        (7, b"archiv", "has 6 bytes instead of 7"),
        (7, b"", "has 0 bytes instead of 7"),
        (7, None, "is missing"),
        (None, None, "is missing"),
    ],
)
async def test_an_archive_of_xen_orchestras_is_looked_at_each_time(shelf, said, there, flaw):
    await shelf.chain(1)
    fields = {
        "mode": "full",
        "jobId": "j",
        "scheduleId": "s",
        "timestamp": 1767319200000,
        "vm": {"uuid": shelf.vm, "name_label": "web"},
        "xva": f"./{shelf.stamps[1]}.xva",
        "size": said,
    }
    await shelf.remote.put(shelf.key(f"{shelf.stamps[1]}.json"), json.dumps(fields).encode())
    headers = Headers()
    for content in (b"archive", there):  # the metadata is the same; it is not read again
        await shelf.remote.delete(shelf.key(f"{shelf.stamps[1]}.xva"))
        if content is not None:
            await shelf.remote.put(shelf.key(f"{shelf.stamps[1]}.xva"), content)
        history = await read.read_vm(shelf.remote, shelf.vm, shelf.clock.now(), headers)
    assert history.unreadable == ()
    incremental, archived = history.points
    assert (incremental.kind, archived.kind) == (PointKind.INCREMENTAL, PointKind.ARCHIVE)
    assert archived.flaw.removeprefix(f"{archived.archive} ") == flaw
    chains = Chains(history.files)
    assert chains.is_whole(incremental)
    assert chains.is_whole(archived) is not bool(flaw)


async def test_a_directory_where_a_file_should_be_is_listed_as_unreadable(shelf):
    directory = shelf.path(shelf.stamps[0]).rpartition("/")[0]
    for name in (f"{shelf.stamps[0]}.alias.vhd", f"{shelf.stamps[1]}.vhd"):
        await shelf.remote.make_directory(shelf.key(f"{directory}/{name}"))
    history = await shelf.history()
    assert len(history.unreadable) == 2
    assert all("directory" in why for why in whys(history).values())
    assert history.files == {}


@pytest.mark.parametrize("cut", ["head", "tail", "empty", "tables", "footers", "table-entry"])
async def test_a_file_that_is_no_whole_disk_is_broken(shelf, cut):
    await shelf.chain(2)
    path = shelf.path(shelf.stamps[1])
    whole = shelf.filesystem.content(shelf.key(path)).whole()
    content = {
        "head": b"\0" + whole[1:],
        "tail": whole[:-512],
        "empty": b"",
        "tables": whole[:1600],
        "footers": whole[:-1] + b"\xff",
        "table-entry": whole[:1536] + bytes(4) + whole[1540:],
    }[cut]
    await shelf.remote.put(shelf.key(path), content)
    history = await shelf.history()
    file = history.files[path]
    assert file.state is FileState.BROKEN
    assert file.why and file.file_bytes == len(content)
    assert history.files[shelf.path(shelf.stamps[0])].state is FileState.OK
    assert len(history.points) == 2


@pytest.mark.parametrize("directory", ["@eaDir", "#recycle", ".snapshot", "lost+found"])
async def test_directories_that_servers_make_are_passed_over(shelf, directory):
    await shelf.chain(1)
    for place in ("vdis", "vdis/job", shelf.path(shelf.stamps[0]).rpartition("/")[0]):
        await shelf.remote.put(shelf.key(f"{place}/{directory}/{shelf.stamps[1]}.vhd"), b"x")
    history = await shelf.history()
    assert set(history.files) == {shelf.path(shelf.stamps[0])}
    assert history.unreadable == ()


async def test_links_are_never_followed(tmp_path, shelf):
    """A link planted on the share, wherever it stands, shows nothing from elsewhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f"{shelf.stamps[0]}.vhd").write_bytes(b"secret")
    (outside / "secret.json").write_bytes(b"{}")
    root = tmp_path / "root"
    home = root / layout.vm_key(shelf.vm)
    disk = home / "vdis" / shelf.job / shelf.disk
    disk.mkdir(parents=True)
    (disk / f"{shelf.stamps[0]}.vhd").symlink_to(outside / f"{shelf.stamps[0]}.vhd")
    (disk / f".{shelf.stamps[0]}.vhd.partial").symlink_to(outside / f"{shelf.stamps[0]}.vhd")
    (disk / f".{shelf.stamps[0]}.vhd.merge.json").symlink_to(outside / "secret.json")
    (disk.parent / shelf.other_disk).symlink_to(outside)
    (home / "vdis" / "job").symlink_to(outside)
    (home / f"{shelf.stamps[0]}.json").symlink_to(outside / "secret.json")
    remote = await FileRemote.attach("cellar", PosixFilesystem(str(root)), threads=2)
    history = await read.read_vm(remote, shelf.vm, shelf.clock.now())
    assert (history.points, history.files, history.partials, history.merges) == ((), {}, (), ())
    assert sorted(whys(history)) == sorted(
        [
            f"{shelf.stamps[0]}.json",
            "vdis/job",
            f"vdis/{shelf.job}/{shelf.other_disk}",
            shelf.path(shelf.stamps[0]),
        ]
    )
    other = shelf.vm.replace("1", "2")
    (root / layout.ROOT / other).symlink_to(home)
    assert await read.list_vms(remote) == [shelf.vm]
    await remote.close()


# ── errors are no answers ────────────────────────────────────────────────────────────────────────


async def test_every_single_error_makes_the_vm_unknown(shelf):
    await shelf.chain(2)
    shelf.filesystem.calls.clear()
    await shelf.history()
    kinds = [call.kind for call in shelf.filesystem.calls]
    assert len(kinds) > 20
    for number in (errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOTDIR):
        for at in range(len(kinds)):
            shelf.filesystem.calls.clear()
            shelf.filesystem.fault = Fault(at, number)
            with pytest.raises(RemoteError):
                await shelf.history()
    shelf.filesystem.fault = None
    assert len((await shelf.history()).points) == 2


async def test_what_vanishes_between_listing_and_reading_is_gone(shelf):
    await shelf.chain(2)
    opening = shelf.filesystem.open

    def vanish(path, *, write=False):
        if shelf.stamps[1] in path:
            raise FileNotFoundError(errno.ENOENT, "gone")
        return opening(path, write=write)

    shelf.filesystem.open = vanish
    history = await shelf.history()
    assert [point.stamp for point in history.points] == shelf.stamps[:1]
    assert set(history.files) == {shelf.path(shelf.stamps[0])}


# ── looking again ────────────────────────────────────────────────────────────────────────────────


async def test_what_did_not_change_is_not_read_again(shelf):
    await shelf.chain(3)
    headers = read.Headers()
    first = await shelf.history(headers)
    shelf.calls()
    again = await shelf.history(headers)
    assert replace(again, as_of=first.as_of) == first
    assert {kind for kind, _ in shelf.calls()} == {"entries", "stat"}


async def test_what_changed_is_and_nothing_else(shelf):
    await shelf.chain(3)
    headers = read.Headers()
    await shelf.history(headers)
    path = shelf.path(shelf.stamps[1])
    content = shelf.filesystem.content(shelf.key(path)).whole()
    await shelf.remote.put(shelf.key(path), content)
    shelf.calls()
    await shelf.history(headers)
    assert {path for kind, path in shelf.calls() if kind in READS} == {shelf.key(path)}


async def test_what_is_broken_is_looked_at_each_time(shelf):
    await shelf.chain(1)
    path = shelf.path(shelf.stamps[0])
    await shelf.remote.put(shelf.key(path), b"rubbish")
    headers = read.Headers()
    await shelf.history(headers)
    shelf.calls()
    await shelf.history(headers)
    assert ("open", shelf.key(path)) in shelf.calls()


async def test_what_is_known_never_outgrows_what_is_there(shelf):
    await shelf.chain(3)
    headers = read.Headers()
    await shelf.history(headers)
    assert len(headers.known(shelf.vm)) == 6
    for stamp in shelf.stamps[1:3]:
        await shelf.remote.delete(layout.metadata_key(shelf.vm, stamp))
        await shelf.remote.delete(shelf.key(shelf.path(stamp)))
    await shelf.history(headers)
    assert len(headers.known(shelf.vm)) == 2
    headers.forget_others(set())
    assert headers.known(shelf.vm) == {}


async def test_looking_changes_nothing(shelf):
    await shelf.chain(2)
    shelf.filesystem.calls.clear()
    await shelf.history(read.Headers())
    assert [call for call in shelf.filesystem.calls if call.changes] == []
