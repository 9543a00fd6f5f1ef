"""A disk in block mode on a remote: Xen Orchestra's VHD directory behind an alias.

    20260101T020000Z.alias.vhd             the alias: one line, `data/<name>.vhd`
    data/<name>.vhd/chunk-filters.json     ["brotli"]: how all the rest is packed
                    footer, header         as in a VHD file
                    bat                    one bit a block: whether it is here
                    blocks/<n div 1000>/<n mod 1000>     bitmap and data of block n

The alias is the disk: everybody goes by its name, and it is written last. Objects are only ever put
whole, replaced or deleted, so this works on object stores as on file systems. What is read is
bounded and checked; an alias leads into `data/` beside it and nowhere else.

Knows one disk; never its chain, but for the name in its header.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from reconciler.remotes.errors import Missing, TooLarge
from reconciler.remotes.remote import Remote
from reconciler.transfer.block_codec import (
    Packing,
    PieceInvalid,
    pack,
    packed_bytes_max,
    parse_packing,
    unpack,
    unpack_exactly,
)
from reconciler.transfer.crowd import each, together
from reconciler.transfer.disk_file import check_tables, refuse_fixed
from reconciler.transfer.errors import ChainBroken
from reconciler.vhd.errors import VhdError
from reconciler.vhd.footer import Footer
from reconciler.vhd.header import Header
from reconciler.vhd.layout import (
    BLOCK_RECORD,
    ENTRIES_MAX,
    FOOTER_BYTES,
    HEADER_BYTES,
    DiskType,
)
from reconciler.vhd.presence import Presence

T = TypeVar("T")

ALIAS = ".alias.vhd"
FILTERS = "chunk-filters.json"
FOOTER, HEADER, BAT, BLOCKS = "footer", "header", "bat", "blocks"

_ALIAS_BYTES_MAX = 1024
_FILTERS_BYTES_MAX = 1024
_TARGET = re.compile(r"data/(?!\.)[^/\\\x00-\x1f\x7f]{1,200}(?<!\.alias)\.vhd")
_A_DIRECTORY = 1000  # blocks
_ALIAS_READS_MAX = 3
_GROUP = re.compile(r"0|[1-9][0-9]{0,4}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,2}")
_AT_ONCE = 16
_DEPTH_MAX = 8
"""Of directories in directories that are removed; ours are three deep."""


@dataclass(frozen=True, slots=True)
class BlockDirectory:
    """A disk in block mode, its tables read and checked. alias, directory: keys."""

    remote: Remote
    alias: str
    directory: str
    footer: Footer
    header: Header
    present: Presence
    packing: Packing

    @property
    def key(self) -> str:
        return self.alias

    @property
    def name(self) -> str:
        """What others call it by: the alias's file name."""
        return self.alias.rpartition("/")[2]

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
        """Bytes of the blocks that are in it, with their bitmaps, unpacked."""
        return len(self.present) * BLOCK_RECORD

    @property
    def file_bytes(self) -> int:
        """What a VHD file of the same blocks takes: so Xen Orchestra states sizes."""
        return self.header.table_end + self.data_bytes + FOOTER_BYTES

    def block_key(self, block: int) -> str:
        return block_key(self.directory, block)


def is_alias(key: str) -> bool:
    """Tell by its name whether a disk is in block mode."""
    return key.endswith(ALIAS)


def block_key(directory: str, block: int) -> str:
    return f"{directory}/{BLOCKS}/{block // _A_DIRECTORY}/{block % _A_DIRECTORY}"


def alias_content(directory: str) -> bytes:
    """What the alias of a block directory holds. directory: its key."""
    above, _, name = directory.rpartition("/")
    content = f"{above.rpartition('/')[2]}/{name}"
    assert _TARGET.fullmatch(content), "we read what we write"
    return content.encode()


def parse_alias(alias: str, content: bytes) -> str:
    """Return the key that an alias leads to. alias: its key. Raises ChainBroken."""
    try:
        target = content.decode().strip()
    except UnicodeDecodeError as error:
        raise ChainBroken(alias, "the alias is no text") from error
    if not _TARGET.fullmatch(target):
        raise ChainBroken(alias, f"the alias leads to {target[:80]!r}, not to data/<name>.vhd")
    above, slash, _ = alias.rpartition("/")
    return f"{above}{slash}{target}"


async def read_alias(remote: Remote, alias: str) -> str:
    """Read where an alias leads. Raises ChainBroken, RemoteError."""
    try:
        return parse_alias(alias, await remote.get(alias, _ALIAS_BYTES_MAX))
    except TooLarge as error:
        raise ChainBroken(alias, f"the alias has {error.message}") from error


async def read_block_directory(remote: Remote, alias: str) -> BlockDirectory:
    """Read and check the disk that an alias names. Raises ChainBroken, RemoteError.

    Somebody may be giving the alias another directory: then the one it named may be gone.
    """
    for _ in range(_ALIAS_READS_MAX):
        directory = await read_alias(remote, alias)
        try:
            return await read_tables(remote, alias, directory)
        except ChainBroken:
            if await read_alias(remote, alias) == directory:
                raise
    raise ChainBroken(alias, "the alias keeps changing")


async def read_tables(remote: Remote, alias: str, directory: str) -> BlockDirectory:
    """Read and check a block directory, named by an alias or not yet.

    alias: what it is or will be called by. Raises ChainBroken, RemoteError.
    """

    async def piece(name: str, size_max: int) -> bytes:
        try:
            return await remote.get(f"{directory}/{name}", packed_bytes_max(size_max))
        except Missing as error:
            raise ChainBroken(alias, f"{directory} has no {name}") from error
        except TooLarge as error:
            raise ChainBroken(alias, f"its {name} has {error.message}") from error

    packing = await read_packing(remote, alias, directory)
    footer_piece, header_piece, bat_piece = await together(
        [piece(FOOTER, FOOTER_BYTES), piece(HEADER, HEADER_BYTES), piece(BAT, ENTRIES_MAX)]
    )

    def parse() -> BlockDirectory:
        footer = Footer.parse(unpack_exactly(packing, footer_piece, FOOTER_BYTES))
        refuse_fixed(footer)
        header = Header.parse(unpack_exactly(packing, header_piece, HEADER_BYTES))
        check_tables(footer, header)
        present = Presence.parse(unpack(packing, bat_piece, ENTRIES_MAX), header.entries)
        return BlockDirectory(remote, alias, directory, footer, header, present, packing)

    return checked(alias, parse)


async def read_packing(remote: Remote, alias: str, directory: str) -> Packing:
    """Read how a directory's pieces are packed. Raises ChainBroken, RemoteError."""
    try:
        content = await remote.get(f"{directory}/{FILTERS}", _FILTERS_BYTES_MAX)
    except Missing:
        return Packing.NONE
    except TooLarge as error:
        raise ChainBroken(alias, f"its {FILTERS} has {error.message}") from error
    return checked(alias, lambda: parse_packing(content))


async def write_tables(disk: BlockDirectory) -> None:
    """Put a new directory's tables in Xen Orchestra's order, then read them back.

    Raises ChainBroken if they do not read back as they were written, RemoteError.
    """
    await put_piece(disk, FOOTER, disk.footer.pack())
    await put_piece(disk, HEADER, disk.header.pack())
    await disk.remote.put(f"{disk.directory}/{FILTERS}", disk.packing.render())
    await put_piece(disk, BAT, disk.present.pack(disk.header.entries))
    if await read_tables(disk.remote, disk.alias, disk.directory) != disk:
        raise ChainBroken(disk.alias, f"{disk.directory} does not read back as it was written")


async def put_piece(disk: BlockDirectory, name: str, content: bytes) -> None:
    """Put one of a directory's tables, packed."""
    await disk.remote.put(f"{disk.directory}/{name}", pack(disk.packing, content))


async def read_block(disk: BlockDirectory, block: int) -> bytes:
    """Read a packed block. Raises ChainBroken if it is too large, RemoteError (Missing…)."""
    try:
        return await disk.remote.get(disk.block_key(block), packed_bytes_max(BLOCK_RECORD))
    except TooLarge as error:
        raise ChainBroken(disk.alias, f"block {block} has {error.message}") from error


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a directory's `blocks`. strays: keys of files that are no blocks."""

    blocks: frozenset[int]
    strays: tuple[str, ...]


async def list_blocks(remote: Remote, directory: str) -> Listing:
    """List the blocks in a directory that are not empty; none if it is not there.

    Raises RemoteError.
    """
    blocks: set[int] = set()
    strays: list[str] = []

    async def look(group: int) -> None:
        with suppress(Missing):
            for entry in await remote.list(f"{directory}/{BLOCKS}/{group}"):
                if _NUMBER.fullmatch(entry.name) and entry.stat.size_bytes > 0:
                    blocks.add(group * _A_DIRECTORY + int(entry.name))
                elif not entry.stat.is_directory:
                    strays.append(f"{directory}/{BLOCKS}/{group}/{entry.name}")

    with suppress(Missing):
        entries = await remote.list(f"{directory}/{BLOCKS}")
        groups = [int(entry.name) for entry in entries if _GROUP.fullmatch(entry.name)]
        await each(groups, look, at_once=_AT_ONCE)
    return Listing(frozenset(blocks), tuple(strays))


async def remove_tree(remote: Remote, directory: str, depth: int = 0) -> int:
    """Remove a directory and all that is in it; return the bytes of its files.

    No error if it is gone already. Raises RemoteError, ChainBroken if it is none of ours.
    """
    if depth > _DEPTH_MAX:
        raise ChainBroken(directory, "its directories are nested too deeply to be ours")
    try:
        entries = await remote.list(directory)
    except Missing:
        return 0
    removed_bytes = sum(entry.stat.size_bytes for entry in entries)
    for entry in entries:
        if entry.stat.is_directory:
            removed_bytes += await remove_tree(remote, f"{directory}/{entry.name}", depth + 1)

    async def remove(name: str) -> None:
        await remote.delete(f"{directory}/{name}")

    files = [entry.name for entry in entries if not entry.stat.is_directory]
    await each(files, remove, at_once=_AT_ONCE)
    with suppress(Missing):
        await remote.remove_directory(directory)
    return removed_bytes


def checked(key: str, parse: Callable[[], T]) -> T:
    """Say in which disk the error is."""
    try:
        return parse()
    except (PieceInvalid, VhdError) as error:
        raise ChainBroken(key, str(error)) from error
