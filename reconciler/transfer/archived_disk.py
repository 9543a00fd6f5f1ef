"""One disk out of an archive, into a raw, VHD or qcow2 file, in one reading of it.

    pieces ─▶ check, unpack ─▶ chunks of the disk ─▶ each where it goes in the file

What is written appears under its name only once the whole archive was seen to be whole. Chunks that
the archive leaves out are holes. Knows archives and formats; never which restore point it is.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Protocol

from reconciler.qcow2.writer import Qcow2Layout
from reconciler.remotes.filesystem import Handle, Piece
from reconciler.transfer.local_file import new_local_file
from reconciler.transfer.restore import EXACT_SIZE
from reconciler.vhd.encoder import Layout
from reconciler.vhd.layout import BLOCK, blocks_of
from reconciler.xva.checker import XvaChecker
from reconciler.xva.decoder import Chunk
from reconciler.xva.description import ArchivedDisk, Description
from reconciler.xva.errors import XvaInvalid


class _Writer(Protocol):
    """Where a disk's bytes go in a file of one format. Blocking."""

    def put(self, file: Handle, offset: int, content: memoryview) -> None:
        """Write some of the disk's bytes, which lie within one block of 2 MiB."""

    def finish(self, file: Handle) -> None:
        """Write what is known only now."""


async def write_archived_disk(
    pieces: AsyncIterator[memoryview],
    wanted: str,
    path: str,
    file_format: str,
    *,
    on_expected: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a disk to a file. pieces: of the archive. file_format: raw, vhd or qcow2.

    wanted: the disk's uuid in the archive; or its position or name in the VM, if only one has it.
    on_expected: told the size of the disk. on_progress: told how many bytes of it were dealt with.
    Raises FileExistsError, OSError, XvaError, VhdError, Qcow2Error, and what the pieces raise;
    then no file appears.
    """
    checker = XvaChecker()
    extraction = _Extraction(checker, wanted, file_format)
    told = 0
    async with new_local_file(path) as file:
        async for piece in pieces:
            known = extraction.disk
            await file.run(extraction.take(piece))
            if known is None and extraction.disk is not None:
                on_expected(extraction.disk.virtual_bytes)
            on_progress(extraction.reached - told)
            told = extraction.reached
        checker.finish()
        await file.run(extraction.finish)
        on_progress(extraction.reached - told)


class _Extraction:
    """One disk's way from the archive to the file. reached: bytes of the disk dealt with."""

    def __init__(self, checker: XvaChecker, wanted: str, file_format: str) -> None:
        self._checker = checker
        self._wanted = wanted
        self._format = file_format
        self._writer: _Writer | None = None
        self.disk: ArchivedDisk | None = None
        self.reached = 0

    def take(self, piece: memoryview) -> Callable[[Handle], None]:
        """What to do to the file because of the next piece."""

        def write(file: Handle) -> None:
            for event in self._checker.events(piece):
                match event:
                    case Description():
                        self.disk = _choose(event, self._wanted)
                        self._writer = _WRITERS[self._format](self.disk)
                    case Chunk() if event.disk == self.disk:
                        self._put(file, event.offset, event.content)

        return write

    def finish(self, file: Handle) -> None:
        """The archive was whole."""
        assert self.disk is not None and self._writer is not None, "an archive has a description"
        self._writer.finish(file)
        self.reached = self.disk.virtual_bytes

    def _put(self, file: Handle, offset: int, content: memoryview) -> None:
        assert self._writer is not None
        while content:
            part = content[: BLOCK - offset % BLOCK]
            self._writer.put(file, offset, part)
            offset, content = offset + len(part), content[len(part) :]
        self.reached = offset


def _choose(description: Description, wanted: str) -> ArchivedDisk:
    disks = description.disks
    found = [disk for disk in disks if disk.uuid == wanted.lower()]
    found = found or [disk for disk in disks if disk.position == wanted]
    found = found or [disk for disk in disks if disk.name == wanted]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{disk.position} ({disk.name}, {disk.uuid})" for disk in disks)
    why = "several of its disks are called" if found else "it holds no disk"
    raise XvaInvalid(f"{why} {wanted}; its disks: {listed or 'none'}")


class _Raw:
    def __init__(self, disk: ArchivedDisk) -> None:
        self._size = disk.virtual_bytes

    def put(self, file: Handle, offset: int, content: memoryview) -> None:
        file.pwritev([content], offset)

    def finish(self, file: Handle) -> None:
        file.truncate(self._size)


class _Vhd:
    """Slots in the order in which blocks come: where the n-th lies does not depend on which."""

    def __init__(self, disk: ArchivedDisk) -> None:
        self._disk = disk
        self._planned = self._laid_out(range(blocks_of(disk.virtual_bytes)))
        self._slots: dict[int, int] = {}

    def put(self, file: Handle, offset: int, content: memoryview) -> None:
        block = offset // BLOCK
        slot = self._slots.get(block)
        if slot is None:
            slot = self._slots[block] = len(self._slots)
            file.pwritev([self._planned.slot_head], self._planned.slot_offset(slot))
        file.pwritev([content], self._planned.data_offset(slot) + offset % BLOCK)

    def finish(self, file: Handle) -> None:
        layout = self._laid_out(self._slots)
        file.truncate(layout.total_bytes)
        file.pwritev([layout.trailer()], layout.trailer_offset)
        file.pwritev([layout.preamble()], 0)

    def _laid_out(self, blocks: Iterable[int]) -> Layout:
        made = Layout.of_disk(self._disk.virtual_bytes, tuple(blocks), self._disk.uuid)
        footer = replace(made.footer, creator_application=EXACT_SIZE)
        return Layout(footer, made.header, made.blocks)


class _Qcow2:
    """Every block has a place, for which ones come is known only at the end; a place that nothing
    is written to is a hole of the file system."""

    def __init__(self, disk: ArchivedDisk) -> None:
        size = disk.virtual_bytes
        self._layout = Qcow2Layout(size, range(blocks_of(size)))

    def put(self, file: Handle, offset: int, content: memoryview) -> None:
        file.pwritev([content], self._layout.data_offset(offset // BLOCK) + offset % BLOCK)

    def finish(self, file: Handle) -> None:
        file.truncate(self._layout.total_bytes)
        offset, batch, size = 0, list[Piece](), 0
        for piece in self._layout.metadata():
            batch.append(piece)
            size += len(piece)
            if size >= _BATCH:
                file.pwritev(batch, offset)
                offset, batch, size = offset + size, [], 0
        if batch:
            file.pwritev(batch, offset)


_BATCH = 4 * 1024 * 1024
_WRITERS: dict[str, Callable[[ArchivedDisk], _Writer]] = {
    "raw": _Raw,
    "vhd": _Vhd,
    "qcow2": _Qcow2,
}
