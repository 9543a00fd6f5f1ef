"""Images of each format become the same disk."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.lab.failures import LabError
from reconciler.lab.lab import Lab
from reconciler.lab.volumes import disk_of

MIB = 1 << 20
SIZE = 12 * MIB
qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    content = bytearray(SIZE)
    content[3 * MIB : 5 * MIB] = random.Random(7).randbytes(2 * MIB)
    content[-512:] = b"e" * 512
    path = tmp_path / "image.raw"
    path.write_bytes(content)
    return path


def test_zeros_take_no_space(lab: Lab, raw: Path, tmp_path: Path) -> None:
    lab.import_vm("web", [str(raw)])
    assert disk_of(lab.pool, lab.disk("web")).layer.allocated == 3
    assert lab.read_disk("web", 0, 0, SIZE) == raw.read_bytes()
    sparse = tmp_path / "sparse.raw"
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
    lab.import_vm("huge", [str(sparse)])
    assert disk_of(lab.pool, lab.disk("huge")).layer.allocated == 0


def test_an_odd_size_is_rounded_up(lab: Lab, tmp_path: Path) -> None:
    odd = tmp_path / "odd.raw"
    odd.write_bytes(b"x" * (2 * MIB + 100))
    lab.import_vm("odd", [str(odd)])
    assert lab.disk("odd").number("virtual_size") == 4 * MIB
    assert lab.read_disk("odd", 0, 0, 4 * MIB) == b"x" * (2 * MIB + 100) + bytes(2 * MIB - 100)


@qemu
@pytest.mark.parametrize(
    "options",
    [
        ["-O", "vpc", "-o", "force_size=on,subformat=dynamic"],
        ["-O", "vpc", "-o", "force_size=on,subformat=fixed"],
        ["-O", "qcow2"],
        ["-c", "-O", "qcow2"],
    ],
    ids=["dynamic", "fixed", "qcow2", "compressed"],
)
def test_formats_that_qemu_writes(lab: Lab, raw: Path, tmp_path: Path, options: list[str]) -> None:
    image = tmp_path / "image"
    subprocess.run(["qemu-img", "convert", "-f", "raw", *options, str(raw), str(image)], check=True)
    lab.import_vm("web", [str(image)])
    assert lab.read_disk("web", 0, 0, SIZE) == raw.read_bytes()


@qemu
def test_damaged_images_are_refused(lab: Lab, raw: Path, tmp_path: Path) -> None:
    vhd, qcow2 = tmp_path / "image.vhd", tmp_path / "image.qcow2"
    for path, kind in ((vhd, "vpc"), (qcow2, "qcow2")):
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", kind, str(raw), str(path)], check=True
        )
    broken = tmp_path / "broken"
    content = vhd.read_bytes()
    for damaged in (
        content[:1536] + b"\0\0\xff\xff" * 16 + content[1600:],
        content[:520] + b"\xff" * 100 + content[620:],
        content[:100_000] + content[-512:],
        qcow2.read_bytes()[:66_000],
        b"QFI\xfb" + bytes(100),
    ):
        broken.write_bytes(damaged)
        with pytest.raises(LabError, match="broken"):
            lab.import_vm("broken", [str(raw), str(broken)])
    assert list(lab.pool.database.tables["VDI"]) == []
    with pytest.raises(LabError, match="No such file"):
        lab.import_vm("missing", [str(tmp_path / "missing")])
