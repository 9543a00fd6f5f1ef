"""A disk out of its chain: into a raw, VHD or qcow2 file, or as a stream for a pool to import.

    chain ─▶ [8 MiB of records] ─▶ file       the next run is read while this one is written

Knows chains and formats; never which restore point it is or where the disk will be attached.
"""

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from reconciler.qcow2.writer import Qcow2Layout
from reconciler.remotes.filesystem import Piece
from reconciler.transfer.chain_reader import DiskReader, open_chain
from reconciler.transfer.channel import Channel, fill_and_empty
from reconciler.transfer.local_file import LocalFile, new_local_file
from reconciler.transfer.records import RUN_BYTES_MAX
from reconciler.vhd.encoder import Layout, Packing
from reconciler.vhd.layout import BITMAP, BLOCK, BLOCK_RECORD

__all__ = ["DiskReader", "open_chain", "vhd_stream", "write_qcow2", "write_raw", "write_vhd"]

_BUFFERS = 2
_ZEROS = bytes(BLOCK)
_PIECE_BYTES = 4 * 1024 * 1024
EXACT_SIZE = b"tap\0"
"""Creator whose size field other readers believe; for any unknown one qemu-img computes the size
from the geometry, which is coarser (its table: block/vpc.c)."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class _Filled:
    """records: (block, where its record begins in the buffer)."""

    buffer: bytearray
    records: tuple[tuple[int, int], ...]


class _Placed(NamedTuple):
    """Bytes and where they go in the file that is written."""

    offset: int
    pieces: list[Piece]


# (block, buffer, where its 2 MiB of data begin) -> what to write; None: nothing.
_Place = Callable[[int, bytearray, int], _Placed | None]


async def write_raw(
    reader: DiskReader, path: str, *, on_progress: Progress = lambda _: None
) -> None:
    """Write the disk's bytes; where they are zero the file is a hole.

    on_progress: is told how many more bytes of blocks were written. Raises FileExistsError,
    OSError, ChainBroken, RemoteError; then no file appears.
    """

    def place(block: int, buffer: bytearray, start: int) -> _Placed | None:
        if buffer.startswith(_ZEROS, start):
            return None
        count = min(BLOCK, reader.size - block * BLOCK)
        return _Placed(block * BLOCK, [memoryview(buffer)[start : start + count]])

    async with new_local_file(path) as file:
        await file.truncate(reader.size)
        await _write_blocks(reader, file, place, on_progress)


async def write_vhd(
    reader: DiskReader, path: str, *, on_progress: Progress = lambda _: None
) -> None:
    """Write one dynamic VHD without parent. As `write_raw` otherwise. Raises VhdError too."""
    layout = _stand_alone(reader, Packing.ALIGNED)

    def place(block: int, buffer: bytearray, start: int) -> _Placed:
        data = memoryview(buffer)[start : start + BLOCK]
        return _Placed(
            layout.slot_offset(bisect_left(layout.blocks, block)), [layout.slot_head, data]
        )

    async with new_local_file(path) as file:
        await _write_blocks(reader, file, place, on_progress)
        await file.write([layout.trailer()], layout.trailer_offset)
        await file.write([layout.preamble()], 0)


async def write_qcow2(
    reader: DiskReader, path: str, *, on_progress: Progress = lambda _: None
) -> None:
    """Write a qcow2 image (version 3). As `write_raw` otherwise. Raises Qcow2Error too."""
    layout = Qcow2Layout(reader.size, reader.blocks())

    def place(block: int, buffer: bytearray, start: int) -> _Placed:
        index = bisect_left(layout.blocks, block)
        inside = min(BLOCK, reader.size - block * BLOCK)
        data = memoryview(buffer)[start : start + layout.data_bytes(index)]
        data[inside:] = bytes(len(data[inside:]))
        return _Placed(layout.data_offset(index), [data])

    async with new_local_file(path) as file:
        await file.truncate(layout.total_bytes)
        await _write_blocks(reader, file, place, on_progress)
        await _write_pieces(file, layout.metadata())


def vhd_stream(
    reader: DiskReader, *, on_progress: Progress = lambda _: None
) -> tuple[int, AsyncIterator[memoryview]]:
    """Make the disk a VHD stream for import: its exact length, and its pieces.

    Each piece is valid until the next one is asked for. The iterator raises ChainBroken and
    RemoteError. Raises VhdError.
    """
    layout = _stand_alone(reader, Packing.PACKED)
    return layout.total_bytes, _stream(reader, layout, on_progress)


async def _stream(
    reader: DiskReader, layout: Layout, on_progress: Progress
) -> AsyncIterator[memoryview]:
    preamble = memoryview(layout.preamble())
    for start in range(0, len(preamble), _PIECE_BYTES):
        yield preamble[start : start + _PIECE_BYTES]
    buffer = bytearray(RUN_BYTES_MAX)
    view = memoryview(buffer)
    for run in reader.runs():
        await reader.read_run(buffer, run)
        for _, start in run.records:
            yield view[start : start + BLOCK_RECORD]
        on_progress(len(run.records) * BLOCK)
    yield memoryview(layout.trailer())


def _stand_alone(reader: DiskReader, packing: Packing) -> Layout:
    """Plan a VHD of the whole disk, without parent, with the tip's uuid and timestamp."""
    tip = reader.footer
    made = Layout.of_disk(
        reader.size,
        reader.blocks(),
        tip.unique_id,
        packing=packing,
        timestamp=tip.timestamp,
    )
    footer = replace(made.footer, creator_application=EXACT_SIZE)
    return Layout(footer, made.header, made.blocks, packing)


async def _write_blocks(
    reader: DiskReader, file: LocalFile, place: _Place, on_progress: Progress
) -> None:
    """Read the whole disk, and write each block where it goes."""
    channel: Channel[bytearray, _Filled] = Channel(
        [bytearray(RUN_BYTES_MAX) for _ in range(_BUFFERS)]
    )

    async def fill() -> None:
        for run in reader.runs():
            buffer = await channel.free()
            await reader.read_run(buffer, run)
            channel.put(_Filled(buffer, run.records))
        channel.close()

    async def empty() -> None:
        while (filled := await channel.get()) is not None:
            placed = [place(block, filled.buffer, at + BITMAP) for block, at in filled.records]
            for offset, pieces in _joined(placed):
                await file.write(pieces, offset)
            on_progress(len(filled.records) * BLOCK)
            channel.give_back(filled.buffer)

    await fill_and_empty(fill(), empty())


def _joined(placed: Iterable[_Placed | None]) -> Iterator[_Placed]:
    """Make one write of those that follow one another."""
    pending: _Placed | None = None
    end = 0
    for one in placed:
        if one is None:
            continue
        if pending is not None and one.offset == end:
            pending.pieces.extend(one.pieces)
        else:
            if pending is not None:
                yield pending
            pending = _Placed(one.offset, list(one.pieces))
        end = one.offset + sum(map(len, one.pieces))
    if pending is not None:
        yield pending


async def _write_pieces(file: LocalFile, pieces: Iterator[bytes]) -> None:
    """Write pieces one after the other from the beginning, some at a time."""
    offset, batch = 0, list[bytes]()
    for piece in pieces:
        batch.append(piece)
        if sum(map(len, batch)) >= _PIECE_BYTES:
            await file.write(batch, offset)
            offset, batch = offset + sum(map(len, batch)), []
    await file.write(batch, offset)
