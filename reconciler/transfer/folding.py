"""What all merge protocols share: which bytes go where, carried out in big batches.

    source  [pad bitmap data][pad bitmap data]      the child's records, in its file's order
    target  [pad bitmap data] .. [pad bitmap data]  over the same blocks, or appended

The padding before a record is carried along where it is free on both sides: then records that
follow one another make one range that starts on a 4 KiB boundary, which one system call can share.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from reconciler.remotes.remote import Move, RemoteFile
from reconciler.transfer.disk_file import DiskFile, read_disk_file
from reconciler.transfer.errors import ChainBroken
from reconciler.vhd.bat import Bat
from reconciler.vhd.footer import Footer
from reconciler.vhd.layout import BLOCK_RECORD, FOOTER_BYTES, SLOT_PAD
from reconciler.vhd.merge import RecordMove

Progress = Callable[[int], None]

_RECORDS_A_HOP = 64
"""128 MiB: at 10 GiB/s a thread hop is then 2 % of the time, and at the 100 MiB/s of a slow remote
progress is still seen every second."""


def padded_records(bat: Bat, table_end: int) -> frozenset[int]:
    """Offsets of the records before which the padding of our own layout is free."""
    found = []
    end = table_end
    for _, offset in bat.in_file_order():
        if offset - end >= SLOT_PAD:
            found.append(offset)
        end = offset + BLOCK_RECORD
    return frozenset(found)


def moves_of(
    source: DiskFile, records: Sequence[RecordMove], target_padded: frozenset[int]
) -> list[Move]:
    """Make moves between open files of records, with their padding where it is free."""
    source_padded = padded_records(source.bat, source.header.table_end)
    moves = []
    for source_offset, offset in records:
        pad = SLOT_PAD if source_offset in source_padded and offset in target_padded else 0
        moves.append(Move(source.file, source_offset - pad, offset - pad, BLOCK_RECORD + pad))
    return moves


async def carry_out(file: RemoteFile, moves: Sequence[Move], on_progress: Progress) -> None:
    """Move records into a file, many at a time."""
    for batch in batches(moves):
        await file.move(batch)
        on_progress(len(batch) * BLOCK_RECORD)


def batches(moves: Sequence[Move]) -> Iterator[Sequence[Move]]:
    for first in range(0, len(moves), _RECORDS_A_HOP):
        yield moves[first : first + _RECORDS_A_HOP]


def result_footer(target: DiskFile, newest: DiskFile) -> Footer:
    """Make the result's footer: the newest file's identity and size, the target's disk type."""
    return replace(newest.footer, disk_type=target.footer.disk_type)


async def seal(disk: DiskFile) -> None:
    """Write the tables and both footers of a new, private file; sync it; read them back.

    Raises ChainBroken if they do not read back as they were written, RemoteError.
    """
    footer = disk.footer.pack()
    trailer_offset = disk.file_bytes - FOOTER_BYTES
    await disk.file.truncate(disk.file_bytes)
    await disk.file.write([footer, disk.header.pack()], 0)
    await disk.file.write([disk.bat.pack()], disk.header.table_offset)
    await disk.file.write([footer], trailer_offset)
    await disk.file.sync()
    await verify(disk)


async def verify(disk: DiskFile) -> None:
    """Read the tables of a file that was just completed. Raises ChainBroken, RemoteError."""
    if await read_disk_file(disk.file) != disk:
        raise ChainBroken(disk.key, "it does not read back as it was written")
