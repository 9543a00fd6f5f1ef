"""Archives before witnesses that nobody here wrote: Debian's xva-img, tar and qemu-img."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from reconciler.lab.lab import Lab
from reconciler.lab.settings import Settings
from reconciler.remotes.open import open_remote
from reconciler.transfer.archive import ArchiveSink, CheckedSource
from reconciler.transfer.archived_disk import write_archived_disk
from reconciler.transfer.fanout import fan_out_bytes
from reconciler.xapi.archives import open_vm_export
from reconciler.xapi.client import XapiClient
from reconciler.xva.checker import XvaChecker

pytestmark = pytest.mark.disks

MIB = 1 << 20
SIZE = 12 * MIB
UNPACK = {"None": ["cat"], "Gzip": ["gzip", "-dc"], "Zstd": ["zstd", "-dqc"]}


def run(*command, **settings) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, **settings).stdout


def image(path: Path, places: list[int]) -> bytes:
    with path.open("wb") as file:
        file.truncate(SIZE)
        for place in places:
            file.seek(place * MIB + 7)
            file.write(os.urandom(3000))
    return path.read_bytes()


@pytest.fixture
async def kept(tmp_path):
    """Makes our archive of a VM with two disks; gives its file and what the disks hold."""
    lab = Lab.open(str(tmp_path / "lab"), settings=Settings())
    disks = [image(tmp_path / "0.raw", [0, 2, 6, 10]), image(tmp_path / "1.raw", [5])]
    lab.import_vm("web", [str(tmp_path / "0.raw"), str(tmp_path / "1.raw")])
    (tmp_path / "remote").mkdir()
    remote = await open_remote("cellar", str(tmp_path / "remote"))
    with lab.serve() as served:
        client = XapiClient([served.url], served.user, lambda: served.password)

        async def keep(compression: str) -> Path:
            (vm,) = await client.call("VM.get_by_name_label", "web")
            async with await open_vm_export(client, vm, compression) as stream:
                sink = ArchiveSink(remote, "web.xva")
                outcome = await fan_out_bytes(CheckedSource(stream), {"": sink})
            path = tmp_path / "remote" / "web.xva"
            content = path.read_bytes()
            assert outcome == {"": len(content)}
            assert sink.md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()
            return path

        yield keep, disks, remote
        await client.close()
    await remote.close()
    lab.close()


@pytest.mark.parametrize("compression", ["None", "Gzip", "Zstd"])
async def test_what_we_keep_opens_with_xva_img(kept, compression, tmp_path):
    keep, disks, _ = kept
    archive = run(*UNPACK[compression], str(await keep(compression)))
    folder = tmp_path / "unpacked"
    folder.mkdir()
    run("tar", "-xf", "-", "-C", str(folder), input=archive)
    run("chmod", "-R", "u+rw", str(folder))
    found = []
    for directory in sorted(path for path in folder.iterdir() if path.is_dir()):
        output = tmp_path / f"{directory.name}.raw"
        run("xva-img", "disk-export", str(directory), str(output))
        found.append(output.read_bytes())
    assert len(found) == 2
    assert sorted(found) == sorted(disks)


async def test_what_xva_img_packs_passes_our_check(kept, tmp_path):
    keep, disks, _ = kept
    folder = tmp_path / "unpacked"
    folder.mkdir()
    run("tar", "-xf", str(await keep("None")), "-C", str(folder))
    run("chmod", "-R", "u+rw", str(folder))
    directories = sorted(path for path in folder.iterdir() if path.is_dir())
    fresh = image(tmp_path / "fresh.raw", [1, 3, 10])
    for path in directories[0].iterdir():
        path.unlink()
    run("xva-img", "disk-import", str(directories[0]), str(tmp_path / "fresh.raw"))
    packed = tmp_path / "packed.xva"
    members = [str(folder / "ova.xml"), *map(str, directories)]
    run("xva-img", "package", str(packed), *members)
    checker = XvaChecker()
    contents = {directory.name: bytearray(SIZE) for directory in directories}
    for event in checker.events(packed.read_bytes()):
        if hasattr(event, "content"):
            end = event.offset + len(event.content)
            contents[event.disk.ref][event.offset : end] = event.content
    assert checker.finish().seen.unverified == 0
    assert contents[directories[0].name] == fresh
    assert bytes(contents[directories[1].name]) in disks


@pytest.mark.parametrize("file_format", ["raw", "vhd", "qcow2"])
@pytest.mark.parametrize("position", ["0", "1"])
async def test_disks_out_of_archives_read_as_they_were(kept, file_format, position, tmp_path):
    keep, disks, remote = kept
    await keep("Zstd")
    output = tmp_path / f"disk.{file_format}"
    told = []
    async with remote.download("web.xva") as pieces:
        await write_archived_disk(
            pieces, position, str(output), file_format, on_progress=told.append
        )
    assert sum(told) == SIZE
    plain = tmp_path / "plain.raw"
    name = {"vhd": "vpc"}.get(file_format, file_format)
    run("qemu-img", "convert", "-f", name, "-O", "raw", str(output), str(plain))
    assert plain.read_bytes() == disks[int(position)]
    if file_format == "qcow2":
        run("qemu-img", "check", "-f", "qcow2", str(output))
    assert output.stat().st_blocks * 512 < SIZE, "what nobody wrote is a hole"
