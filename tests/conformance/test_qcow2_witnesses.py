"""qcow2 images before a witness that nobody here wrote: qemu-img, both ways, byte for byte."""

import json
import random
import subprocess
from pathlib import Path

import pytest

from reconciler.qcow2.errors import Qcow2Unsupported
from reconciler.qcow2.image import Image
from reconciler.qcow2.writer import BLOCK, Qcow2Layout

pytestmark = pytest.mark.disks

MIB = 1024 * 1024
SECTOR = 512
SIZE = 14 * MIB + 3 * SECTOR


def contents(seed: int, blocks: list[int], size: int = SIZE) -> dict[int, bytes]:
    """Random blocks; beyond the disk's end they are zero."""
    dice = random.Random(seed)
    return {
        block: dice.randbytes(min(BLOCK, size - block * BLOCK)).ljust(BLOCK, b"\0")
        for block in blocks
    }


def qemu_img(*arguments: str) -> str:
    return subprocess.run(
        ["qemu-img", *arguments], check=True, capture_output=True, text=True
    ).stdout


def opened(content: bytes) -> Image:
    return Image(lambda offset, count: content[offset : offset + count], len(content))


@pytest.mark.parametrize(
    ("size", "blocks"),
    [
        (SIZE, []),
        (SIZE, [3, 0, 7, 5]),
        (SECTOR, [0]),
        (1200 * MIB, [599, 0, 256, 255]),  # three L2 tables
    ],
)
def test_our_qcow2_is_clean_to_qemu(tmp_path: Path, size: int, blocks: list[int]) -> None:
    data = contents(7, blocks, size)
    layout = Qcow2Layout(size, blocks)
    path, raw = tmp_path / "disk.qcow2", tmp_path / "disk.raw"
    with path.open("wb") as image, raw.open("wb") as disk:
        image.writelines(layout.metadata())
        for index, block in enumerate(blocks):
            image.seek(layout.data_offset(index))
            image.write(data[block][: layout.data_bytes(index)])
            disk.seek(block * BLOCK)
            disk.write(data[block])
        image.truncate(layout.total_bytes)
        disk.truncate(size)
    report = json.loads(qemu_img("check", "-f", "qcow2", "--output=json", str(path)))
    assert report["check-errors"] == 0
    assert json.loads(qemu_img("info", "--output=json", str(path)))["virtual-size"] == size
    assert not {"corruptions", "leaks"} & report.keys()
    assert report["image-end-offset"] == layout.total_bytes
    qemu_img("compare", "-f", "qcow2", "-F", "raw", str(path), str(raw))


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-c"],
        ["-o", "compat=0.10"],
        ["-c", "-o", "cluster_size=512"],
        ["-c", "-o", "cluster_size=2M"],
        ["-o", "cluster_size=4k,preallocation=falloc"],
        ["-o", "lazy_refcounts=on"],
        ["-S", "0"],
    ],
    ids=" ".join,
)
def test_qcow2_images_of_qemu_are_read(tmp_path: Path, options: list[str]) -> None:
    text = {block: (b"%08d" % block) * (BLOCK // 8) for block in (4, 5, 6)}
    disk = bytearray(8 * BLOCK)
    for block, data in (contents(8, [0, 2, 7]) | text).items():
        disk[block * BLOCK : (block + 1) * BLOCK] = data
    del disk[SIZE:]
    raw, path = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(disk)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", *options, str(raw), str(path))
    image = opened(path.read_bytes())
    assert image.size == SIZE
    found = bytearray(SIZE)
    for extent in image.extents():
        found[extent.offset : extent.offset + extent.count] = image.read_extent(extent)
    assert found == disk


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["-b", "base.qcow2", "-F", "qcow2"], "backing file"),
        (["-o", "compression_type=zstd"], "zstd"),
        (["-o", "extended_l2=on,cluster_size=128k"], "subclusters"),
        (["-o", "data_file=elsewhere.raw"], "another file"),
        (
            [
                *("--object", "secret,id=key,data=secret"),
                *("-o", "encrypt.format=aes,encrypt.key-secret=key"),
            ],
            "encrypted",
        ),
    ],
)
def test_what_we_cannot_read_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    qemu_img("create", "-f", "qcow2", "base.qcow2", "4M")
    qemu_img("create", "-f", "qcow2", *options, "disk.qcow2", "4M")
    content = Path("disk.qcow2").read_bytes()
    with pytest.raises(Qcow2Unsupported, match=what):
        opened(content)
