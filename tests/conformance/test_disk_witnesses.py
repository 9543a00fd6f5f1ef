"""VHDs before witnesses that nobody here wrote: qemu-img, libvhdi, dissect.hypervisor.

What we write, they must read; what they write, we must read; byte for byte both ways. No witness
writes differencing VHDs, so those come from `specified`, which follows the specification's tables
field by field and shares nothing with our encoder; libvhdi reads them as well.
"""

import io
import json
import random
import struct
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import pyvhdi
from dissect.hypervisor.disk.vhd import VHD

from reconciler.vhd.bitmap import runs
from reconciler.vhd.decoder import Block, End, Preamble, StreamDecoder
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.footer import Footer
from reconciler.vhd.layout import BITMAP, BLOCK, BLOCK_RECORD, MIB, SECTOR, DiskType
from reconciler.vhd.merge import fold

pytestmark = pytest.mark.disks

Contents = Mapping[int, bytes]
"""Block to its 2 MiB."""

SIZE = 14 * MIB + 3 * SECTOR
BLOCKS = 8
UUIDS = [str(uuid.UUID(int=n, version=4)) for n in range(1, 6)]
NAMES = [f"2026010{n}T000000Z.vhd" for n in range(1, 6)]


def contents(seed: int, blocks: Iterable[int], size: int = SIZE) -> dict[int, bytes]:
    """Random blocks; beyond the disk's end they are zero."""
    dice = random.Random(seed)
    return {
        block: dice.randbytes(min(BLOCK, size - block * BLOCK)).ljust(BLOCK, b"\0")
        for block in blocks
    }


def disk_of(layers: Iterable[Contents], size: int = SIZE) -> bytes:
    """The disk that layers make, oldest first."""
    disk = bytearray(size + BLOCK)
    for layer in layers:
        for block, data in layer.items():
            disk[block * BLOCK : (block + 1) * BLOCK] = data
    return bytes(disk[:size])


def vhd_of(layout: Layout, data: Contents) -> bytes:
    slots = (layout.slot_head + data[block] for block in layout.blocks)
    return b"".join((layout.preamble(), *slots, layout.trailer()))


def qemu_img(*arguments: str) -> str:
    return subprocess.run(
        ["qemu-img", *arguments], check=True, capture_output=True, text=True
    ).stdout


def honest(path: Path) -> str:
    """Open a VHD by the size that it states.

    Left alone, qemu takes the size from the geometry unless it knows the creator, and XO's name
    (which we write too) is not on its list: the disk would seem up to a cylinder longer.
    """
    return f"driver=vpc,force_size_calc=current_size,file.driver=file,file.filename={path}"


def decoded(stream: bytes, below: bytes = b"") -> tuple[Preamble, bytes]:
    """Read a VHD with our decoder, sector by sector as bitmaps say, over `below`."""
    decoder = StreamDecoder(len(stream), partial_blocks=True)
    preamble: Preamble | None = None
    disk = bytearray(below)
    view = memoryview(stream)
    while decoder.wanted:
        piece = view[decoder.position : decoder.position + decoder.wanted]
        match decoder.take(piece):
            case Preamble() as preamble:
                size = -(-preamble.footer.current_size // BLOCK) * BLOCK
                disk = disk.ljust(size, b"\0")
            case Block(index):
                for sector, count in runs(piece):
                    start, length = sector * SECTOR, count * SECTOR
                    at = index * BLOCK + start
                    disk[at : at + length] = piece[BITMAP + start : BITMAP + start + length]
            case End(footer):
                assert preamble is not None and footer == preamble.footer
    assert preamble is not None and decoder.position == len(stream)
    return preamble, bytes(disk[: preamble.footer.current_size])


def libvhdi_read(paths: list[Path]) -> bytes:
    """Read the last of a chain of files, oldest first, through libvhdi."""
    with ExitStack() as files:
        below = None
        for path in paths:
            file = pyvhdi.file()
            file.open(str(path))
            files.callback(file.close)
            if below is not None:
                assert file.get_parent_identifier() == below.get_identifier()
                file.set_parent(below)
            below = file
        assert below is not None
        size: int = below.get_media_size()
        content: bytes = below.read_buffer_at_offset(size, 0)
        return content


# What we write


@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize("blocks", [[], [0], [7], [3, 0, 7, 5], range(BLOCKS)])
def test_full_disks_are_read_by_all(tmp_path: Path, packing: Packing, blocks: list[int]) -> None:
    data = contents(1, blocks)
    layout = Layout.of_disk(SIZE, blocks, UUIDS[0], packing=packing)
    path, raw, copy = tmp_path / "disk.vhd", tmp_path / "disk.raw", tmp_path / "copy.raw"
    path.write_bytes(vhd_of(layout, data))
    disk = disk_of([data])
    raw.write_bytes(disk)

    facts = json.loads(qemu_img("info", "--output=json", "--image-opts", honest(path)))
    assert (facts["format"], facts["virtual-size"]) == ("vpc", SIZE)
    qemu_img("compare", "--image-opts", honest(path), f"driver=raw,file.filename={raw}")
    qemu_img("convert", "-O", "raw", "--image-opts", honest(path), str(copy))
    assert copy.read_bytes() == disk

    assert libvhdi_read([path]) == disk
    with path.open("rb") as file:
        assert VHD(file).read() == disk


def test_footer_and_header_say_the_same_to_libvhdi(tmp_path: Path) -> None:
    path = tmp_path / NAMES[1]
    layout = Layout.of_disk(SIZE, [], UUIDS[1], (UUIDS[0], NAMES[0]))
    path.write_bytes(vhd_of(layout, {}))
    file = pyvhdi.file()
    file.open(str(path))
    assert file.get_identifier() == UUIDS[1]
    assert file.get_parent_identifier() == UUIDS[0]
    assert file.get_parent_filename() == NAMES[0]
    assert file.get_media_size() == SIZE
    assert file.get_disk_type() == DiskType.DIFFERENCING
    file.close()


LAYERS = [contents(1, range(0, 8, 2)), contents(2, [2, 3, 7]), {}, contents(3, [0, 3, 6])]


def write_chain(directory: Path, packing: Packing) -> list[Path]:
    paths = []
    for n, layer in enumerate(LAYERS):
        parent = (UUIDS[n - 1], NAMES[n - 1]) if n else None
        layout = Layout.of_disk(SIZE, list(layer), UUIDS[n], parent, packing=packing)
        paths.append(directory / NAMES[n])
        paths[-1].write_bytes(vhd_of(layout, layer))
    return paths


@pytest.mark.parametrize("packing", Packing)
def test_chains_are_read_by_libvhdi(tmp_path: Path, packing: Packing) -> None:
    paths = write_chain(tmp_path, packing)
    for count in range(1, len(paths) + 1):
        assert libvhdi_read(paths[:count]) == disk_of(LAYERS[:count])


@pytest.mark.parametrize("packing", Packing)
def test_a_folded_file_is_read_by_all(tmp_path: Path, packing: Packing) -> None:
    """Fold the second file into the first by our plan, and give the result the second's uuid."""
    older, newer = write_chain(tmp_path, packing)[:2]
    target, source = bytearray(older.read_bytes()), newer.read_bytes()
    first, _ = decoded(bytes(target))
    second, _ = decoded(source)
    plan = fold(first.bat, first.header.table_offset, second.bat)
    target = target.ljust(plan.file_bytes, b"\0")
    for source_offset, offset in plan.moves:
        record = source[source_offset : source_offset + BLOCK_RECORD]
        target[offset : offset + BLOCK_RECORD] = record
    footer = Footer.new(SIZE, UUIDS[1], DiskType.DYNAMIC).pack()
    target[plan.trailer_offset :] = target[:512] = footer
    table = plan.bat.pack()
    target[first.header.table_offset : first.header.table_offset + len(table)] = table
    newer.write_bytes(target)

    disk = disk_of(LAYERS[:2])
    assert libvhdi_read([newer]) == disk
    assert VHD(io.BytesIO(target)).read() == disk
    assert decoded(bytes(target))[1] == disk
    copy = tmp_path / "copy.raw"
    qemu_img("convert", "-O", "raw", "--image-opts", honest(newer), str(copy))
    assert copy.read_bytes() == disk


# What others write


@pytest.mark.parametrize("options", ["force_size=on", "force_size=off"])
@pytest.mark.parametrize("blocks", [[], [3, 5, 7], range(BLOCKS)])
def test_vhds_of_qemu_are_decoded(tmp_path: Path, options: str, blocks: list[int]) -> None:
    disk = disk_of([contents(5, blocks)])
    raw, path = tmp_path / "disk.raw", tmp_path / "disk.vhd"
    raw.write_bytes(disk)
    qemu_img(
        *("convert", "-f", "raw", "-O", "vpc", "-o", f"subformat=dynamic,{options}"),
        *(str(raw), str(path)),
    )
    preamble, content = decoded(path.read_bytes())
    assert sorted(preamble.blocks) == list(blocks)
    assert content[:SIZE] == disk
    assert not any(content[SIZE:])  # qemu rounds the size up to a cylinder unless it is forced
    assert preamble.footer.disk_type is DiskType.DYNAMIC


def test_the_footer_of_a_fixed_vhd_of_qemu_is_understood(tmp_path: Path) -> None:
    raw, path = tmp_path / "disk.raw", tmp_path / "disk.vhd"
    raw.write_bytes(bytes(MIB))
    qemu_img(
        *("convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on"),
        *(str(raw), str(path)),
    )
    footer = Footer.parse(path.read_bytes()[-512:])
    assert (footer.disk_type, footer.current_size) == (DiskType.FIXED, MIB)


def specified(size: int, records: Mapping[int, bytes], own: str, parent: tuple[str, str]) -> bytes:
    """Build a differencing VHD from the specification's tables; `records`: bitmap and data.

    Unlike our encoder's: a parent locator with its text before the table, blocks in descending
    order, a timestamp for the parent, gaps of a sector between blocks.
    """

    def summed(raw: bytes, at: int) -> bytes:
        total = 0
        for byte in raw:
            total += byte
        return raw[:at] + struct.pack(">I", total ^ 0xFFFFFFFF) + raw[at + 4 :]

    footer = summed(
        b"conectix"
        + struct.pack(">IIQI", 2, 0x00010000, 512, 820454400)  # features, version, header, time
        + b"spec"
        + struct.pack(">II", 0x00010000, 0x4D616320)  # version, host "Mac "
        + struct.pack(">QQ", size, size)
        + struct.pack(">HBB", -(-size // (512 * 16 * 63)), 16, 63)
        + struct.pack(">II", 4, 0)  # differencing, checksum
        + uuid.UUID(own).bytes
        + bytes(428),
        64,
    )
    entries = (size + 0x1FFFFF) // 0x200000
    place = parent[1].encode("utf-16-le")
    locator = b"W2ru" + struct.pack(">IIIQ", 1, len(place), 0, 1536)
    header = summed(
        b"cxsparse"
        + struct.pack(">QQII", 0xFFFFFFFFFFFFFFFF, 2048, 0x00010000, entries)
        + struct.pack(">II", 0x200000, 0)
        + uuid.UUID(parent[0]).bytes
        + struct.pack(">II", 820454400, 0)
        + parent[1].encode("utf-16-be").ljust(512, b"\0")
        + locator.ljust(8 * 24, b"\0")
        + bytes(256),
        36,
    )
    table = [0xFFFFFFFF] * entries
    at = (2048 + entries * 4 + 511) // 512
    body = b""
    for block in sorted(records, reverse=True):
        table[block] = at + 1
        body += bytes(512) + records[block]
        at += 1 + 1 + 4096
    bat = b"".join(struct.pack(">I", entry) for entry in table)
    bat += b"\xff" * (-len(bat) % 512)
    return footer + header + place.ljust(512, b"\0") + bat + body + footer


def partial(seed: int, data: bytes) -> bytes:
    """A record of which some sectors are present, by a throw of the dice.

    Each byte of the bitmap is some clear bits and then set ones: after the first set bit of a byte
    libvhdi 20260901 takes the rest of the byte for set (it shifts and does not mask).
    """
    dice = random.Random(seed)
    return bytes(0xFF >> dice.randrange(9) for _ in range(BITMAP)) + data


@pytest.mark.parametrize("whole", [True, False])
def test_differencing_disks_by_the_specification_are_decoded(tmp_path: Path, whole: bool) -> None:
    base, delta = contents(1, range(0, 8, 2)), contents(2, [2, 3, 7])
    records = {
        block: b"\xff" * 512 + data if whole else partial(block, data)
        for block, data in delta.items()
    }
    paths = [tmp_path / name for name in NAMES[:2]]
    paths[0].write_bytes(vhd_of(Layout.of_disk(SIZE, list(base), UUIDS[0]), base))
    paths[1].write_bytes(specified(SIZE, records, UUIDS[1], (UUIDS[0], NAMES[0])))

    preamble, disk = decoded(paths[1].read_bytes(), below=disk_of([base]))
    assert preamble.blocks == (7, 3, 2)
    assert preamble.footer.unique_id == UUIDS[1]
    assert preamble.footer.disk_type is DiskType.DIFFERENCING
    assert (preamble.header.parent_uuid, preamble.header.parent_name) == (UUIDS[0], NAMES[0])
    assert libvhdi_read(paths) == disk
    if whole:
        assert disk == disk_of([base, delta])
