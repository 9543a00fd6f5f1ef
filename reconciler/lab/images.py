"""Disk images from files: raw and VHD by the lab itself, qcow2 through the package's reader.

Every format is reduced to pieces (where in the image, where on the disk, how long); what no piece
covers is zeros and takes no space.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from reconciler.lab.disks import Disk
from reconciler.lab.failures import LabError
from reconciler.lab.layers import BLOCK
from reconciler.lab.vhd_format import (
    DIFFERENCING,
    FIXED,
    SECTOR,
    VhdError,
    parse_footer,
    parse_header,
    parse_table,
    runs,
    table_bytes,
)
from reconciler.qcow2.errors import Qcow2Error
from reconciler.qcow2.image import Compressed, Image

_QCOW2 = b"QFI\xfb"
_ZEROS = bytes(BLOCK)


@dataclass(frozen=True, slots=True)
class OpenImage:
    """An open image: its format, the size of its disk in bytes, and the descriptor."""

    path: str
    format: str
    size: int
    descriptor: int


@contextmanager
def open_image(path: str) -> Iterator[OpenImage]:
    """Recognise and open an image.

    Raises:
        LabError: it cannot be opened or is not what it seems, also while it is read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}") from None
    try:
        yield _recognise(path, descriptor)
    except (VhdError, Qcow2Error, ValueError) as error:
        raise LabError(f"{path}: {error}") from None
    finally:
        os.close(descriptor)


def _recognise(path: str, descriptor: int) -> OpenImage:
    length = os.fstat(descriptor).st_size
    if os.pread(descriptor, 4, 0) == _QCOW2:
        return OpenImage(path, "qcow2", _qcow2(descriptor).size, descriptor)
    trailer = os.pread(descriptor, SECTOR, max(0, length - SECTOR))
    if trailer[:8] == b"conectix":
        footer = parse_footer(trailer)
        if footer.disk_type == DIFFERENCING:
            raise LabError(f"{path}: a differencing VHD is no whole disk")
        kind = "fixed" if footer.disk_type == FIXED else "vhd"
        return OpenImage(path, kind, footer.size, descriptor)
    return OpenImage(path, "raw", length, descriptor)


def load(image: OpenImage, disk: Disk) -> None:
    """Copy an image onto an empty disk that is large enough."""
    match image.format:
        case "raw" | "fixed":
            for start, end in _raw_pieces(image.descriptor, image.size):
                _copy(image, start, disk, start, end - start)
        case "qcow2":
            _load_qcow2(image, disk)
        case _:
            for source, target, count in _vhd_pieces(image):
                _copy(image, source, disk, target, count)


def _raw_pieces(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:
            return  # nothing but a hole up to the end
        if start >= size:
            return
        end = min(size, os.lseek(descriptor, start, os.SEEK_HOLE))
        yield start, end
        position = end


def _vhd_pieces(image: OpenImage) -> Iterator[tuple[int, int, int]]:
    descriptor = image.descriptor
    first = parse_footer(os.pread(descriptor, SECTOR, 0))
    header = parse_header(os.pread(descriptor, 1024, first.data_offset))
    table = os.pread(descriptor, table_bytes(header.entries), header.table_offset)
    if len(table) < header.entries * 4:
        raise VhdError("the table ends early")
    for offset, block in parse_table(table, header.entries):
        bitmap = os.pread(descriptor, SECTOR, offset)
        if len(bitmap) < SECTOR:
            raise VhdError("a block lies outside the file")
        for start, end in runs(bitmap):
            target = block * BLOCK + start * SECTOR
            count = min((end - start) * SECTOR, image.size - target)
            if count > 0:
                yield offset + SECTOR + start * SECTOR, target, count


def _qcow2(descriptor: int) -> Image:
    def read(offset: int, count: int) -> bytes:
        return os.pread(descriptor, count, offset)

    return Image(read, os.fstat(descriptor).st_size)


def _load_qcow2(image: OpenImage, disk: Disk) -> None:
    parsed = _qcow2(image.descriptor)
    for piece in parsed.extents():
        count = min(piece.count, image.size - piece.offset)
        if isinstance(piece, Compressed):
            disk.write(piece.offset, memoryview(parsed.read_extent(piece))[:count])
        else:
            _copy(image, piece.file_offset, disk, piece.offset, count)


def _copy(image: OpenImage, source: int, disk: Disk, target: int, count: int) -> None:
    buffer = bytearray(BLOCK)
    view = memoryview(buffer)
    while count > 0:
        # Up to the next block of the target, so that most pieces are whole blocks.
        piece = view[: min(count, BLOCK - target % BLOCK)]
        got = os.preadv(image.descriptor, [piece], source)
        if got == 0:
            raise LabError(f"{image.path}: the image ends early")
        # The disk is empty, so a block of zeros needs no space.
        if got < BLOCK or buffer != _ZEROS:
            disk.write(target, piece[:got])
        source, target, count = source + got, target + got, count - got
