"""What all merge protocols share: which bytes go where, carried out in big batches.

    source  [pad bitmap data][pad bitmap data]      the child's records, in its file's order
    target  [pad bitmap data] .. [pad bitmap data]  over the same blocks, or appended

The padding before a record is carried along where it is free on both sides: then records that
follow one another make one range that starts on a 4 KiB boundary, which one system call can share.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

from reconciler.remotes.remote import Move, RemoteFile
from reconciler.transfer.disk_file import DiskFile, read_disk_file
from reconciler.transfer.errors import ChainBroken
from reconciler.vhd.bat import Bat
from reconciler.vhd.footer import Footer
from reconciler.vhd.layout import ALIGNMENT, BLOCK_RECORD, FOOTER_BYTES, SLOT_PAD
from reconciler.vhd.merge import RecordMove

Progress = Callable[[int], None]

_RECORDS_A_HOP = 64
"""128 MiB: at 10 GiB/s a thread hop is then 2 % of the time, and at the 100 MiB/s of a slow remote
progress is still seen every second."""


class Pads:
    """Before which records of a file there is padding that nothing lies in.

    Kept as its exceptions: in our own files there are none.
    """

    def __init__(self, bat: Bat, table_end: int) -> None:
        crowded = []
        end = table_end
        for _, offset in bat.in_file_order():
            if offset % ALIGNMENT == SLOT_PAD and offset - end < SLOT_PAD:
                crowded.append(offset)
            end = offset + BLOCK_RECORD
        self._crowded = frozenset(crowded)

    def is_free(self, offset: int) -> bool:
        """Tell for the record at an offset; never so if its data is not on a 4 KiB boundary."""
        return offset % ALIGNMENT == SLOT_PAD and offset not in self._crowded


def moves_of(source: DiskFile, records: Iterable[RecordMove], target_pads: Pads) -> Iterator[Move]:
    """Give the moves of records from one file, with their padding where it is free."""
    source_pads = Pads(source.bat, source.header.table_end)
    return (move_of(source.file, record, source_pads, target_pads) for record in records)


def move_of(file: RemoteFile, record: RecordMove, source_pads: Pads, target_pads: Pads) -> Move:
    source_offset, offset = record
    free = source_pads.is_free(source_offset) and target_pads.is_free(offset)
    pad = SLOT_PAD if free else 0
    return Move(file, source_offset - pad, offset - pad, BLOCK_RECORD + pad)


async def carry_out(file: RemoteFile, moves: Iterable[Move], on_progress: Progress) -> None:
    """Move records into a file, many at a time."""
    remaining = iter(moves)
    while batch := list(islice(remaining, _RECORDS_A_HOP)):
        await file.move(batch)
        on_progress(len(batch) * BLOCK_RECORD)


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
