"""A VHD file on a remote, open, its tables read and checked.

Knows one file. Never knows its chain, or which file lies below it but by the name in its header.
"""

import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from reconciler.remotes.remote import RemoteFile
from reconciler.transfer.errors import ChainBroken
from reconciler.vhd.bat import Bat
from reconciler.vhd.errors import VhdError, VhdInvalid, VhdTruncated, VhdUnsupported
from reconciler.vhd.footer import Footer
from reconciler.vhd.header import Header
from reconciler.vhd.layout import (
    BLOCK_RECORD,
    FOOTER_BYTES,
    HEADER_BYTES,
    HEADER_OFFSET,
    SECTOR,
    DiskType,
    bat_bytes,
    blocks_of,
)

T = TypeVar("T")

_PREAMBLE_BYTES = HEADER_OFFSET + HEADER_BYTES
_UNUSED = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class DiskFile:
    """file_bytes: the file's size when it was read."""

    file: RemoteFile
    footer: Footer
    header: Header
    bat: Bat
    file_bytes: int

    @property
    def key(self) -> str:
        return self.file.key

    @property
    def name(self) -> str:
        return self.file.key.rpartition("/")[2]

    @property
    def uuid(self) -> str:
        return self.footer.unique_id

    @property
    def size(self) -> int:
        """Of the disk, bytes."""
        return self.footer.current_size

    @property
    def is_differencing(self) -> bool:
        return self.footer.disk_type is DiskType.DIFFERENCING

    @property
    def data_bytes(self) -> int:
        """Bytes of the blocks that are in the file, with their bitmaps."""
        return self.bat.count() * BLOCK_RECORD

    def offset_of(self, block: int) -> int | None:
        """Byte of a block's bitmap; None if the block is not in this file."""
        sector = self.bat[block] if block < len(self.bat) else None
        return None if sector is None else sector * SECTOR


async def read_disk_file(file: RemoteFile) -> DiskFile:
    """Read and check a file that ought to be whole. Raises ChainBroken, RemoteError."""
    size, first, last = await _read_ends(file)

    def parse() -> tuple[Footer, Header]:
        footer = Footer.parse(first)
        if last != first[:FOOTER_BYTES]:
            raise VhdInvalid("the footer at the end is not the one at the start", "footer")
        return footer, _parse_header(first, footer)

    footer, header = _checked(file.key, parse)
    table = await _read_table(file, header, size)

    def parse_table() -> Bat:
        bat = Bat.parse(table, header.entries)
        bat.check(size, header.table_end)
        return bat

    return DiskFile(file, footer, header, _checked(file.key, parse_table), size)


async def read_unfinished(file: RemoteFile, hidden: Collection[int] | None = None) -> DiskFile:
    """Read a file into which others are being merged, or were until a crash.

    One of its two footers may be torn or missing, either may carry the newest file's identity,
    and table entries may be old, new or torn, but only for blocks that a file above it has.
    hidden: those blocks; they are left out, for a reader who never looks for them here.
    Raises ChainBroken, RemoteError.
    """
    size, first, last = await _read_ends(file)

    def parse() -> tuple[Footer, Header]:
        footer = None
        with contextlib.suppress(VhdError):
            footer = Footer.parse(first)
        footer = footer or Footer.parse(last)
        return footer, _parse_header(first, footer)

    footer, header = _checked(file.key, parse)
    table = bytearray(await _read_table(file, header, size))
    for block in hidden or ():
        if block < header.entries:
            table[4 * block : 4 * block + 4] = _UNUSED

    def parse_table() -> Bat:
        bat = Bat.parse(table, header.entries)
        bat.check(size, header.table_end, trailer=False)
        return bat

    return DiskFile(file, footer, header, _checked(file.key, parse_table), size)


async def _read_ends(file: RemoteFile) -> tuple[int, bytes, bytes]:
    """Read the file's size, its footer copy and header, and its footer."""
    size = await file.size()
    if size < _PREAMBLE_BYTES + FOOTER_BYTES:
        raise ChainBroken(file.key, f"{size} bytes are too few for a VHD: it is cut off")
    first = await file.read(0, _PREAMBLE_BYTES)
    return size, first, await file.read(size - FOOTER_BYTES, FOOTER_BYTES)


async def _read_table(file: RemoteFile, header: Header, size: int) -> bytes:
    if header.table_end + FOOTER_BYTES > size:
        raise ChainBroken(file.key, f"the file of {size} bytes ends within its tables")
    return await file.read(header.table_offset, bat_bytes(header.entries))


def _parse_header(first: bytes, footer: Footer) -> Header:
    refuse_fixed(footer)
    header = Header.parse(first[HEADER_OFFSET:])
    check_tables(footer, header)
    return header


def refuse_fixed(footer: Footer) -> None:
    """Raise VhdUnsupported for a disk without header and table."""
    if footer.disk_type is DiskType.FIXED:
        raise VhdUnsupported("a fixed VHD is nothing that a chain is made of")


def check_tables(footer: Footer, header: Header) -> None:
    """Check that footer and header are of one disk. Raises VhdError."""
    if header.entries < blocks_of(footer.current_size):
        raise VhdInvalid(
            f"{header.entries} are too few for a disk of {footer.current_size} bytes",
            "header.entries",
        )
    is_differencing = footer.disk_type is DiskType.DIFFERENCING
    if is_differencing and (header.parent_uuid is None or header.parent_name is None):
        raise VhdInvalid("a differencing disk has no parent", "header.parent_uuid")


def _checked(key: str, parse: Callable[[], T]) -> T:
    """Say in which file the error is."""
    try:
        return parse()
    except VhdTruncated as error:
        raise ChainBroken(key, f"cut off: {error}") from error
    except VhdError as error:
        raise ChainBroken(key, str(error)) from error
