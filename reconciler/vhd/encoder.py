"""The plan of a new VHD, file or stream, of which the blocks are known beforehand.

Knows every offset and every byte that is not data; never the data. The caller writes

    preamble · for each block: slot_head, 2 MiB of data · trailer

one after the other (a stream), or each at its offset (a file; `slot_head` minus its zeros may be
left as a hole). `total_bytes` is exact, because XAPI finds the trailer of an import by its
Content-Length.
"""

from array import array
from collections.abc import Sequence
from enum import Enum

from reconciler.vhd.bat import Bat
from reconciler.vhd.bitmap import FULL
from reconciler.vhd.errors import VhdInvalid, VhdUnsupported
from reconciler.vhd.footer import Footer
from reconciler.vhd.header import Header
from reconciler.vhd.layout import (
    ALIGNMENT,
    BITMAP,
    BLOCK_RECORD,
    FOOTER_BYTES,
    HEADER_BYTES,
    HEADER_OFFSET,
    SECTOR,
    SLOT_PAD,
    UNUSED,
    DiskType,
    blocks_of,
    round_up,
)


class Packing(Enum):
    """How slots follow each other: data on 4 KiB boundaries (our files), or no gaps (streams)."""

    ALIGNED = SLOT_PAD
    PACKED = 0


class Layout:
    """Where everything goes in a VHD that holds `blocks`, in that order.

    Raises VhdInvalid if the blocks do not fit the header or the header does not fit the footer,
    VhdUnsupported if the file could not be addressed by 32 bits of sectors.
    """

    def __init__(
        self,
        footer: Footer,
        header: Header,
        blocks: Sequence[int],
        packing: Packing = Packing.ALIGNED,
    ) -> None:
        if footer.disk_type is DiskType.FIXED:
            raise VhdInvalid("a fixed disk has no blocks", "footer.disk_type")
        if header.entries < blocks_of(footer.current_size):
            raise VhdInvalid(f"{header.entries} are too few for the disk", "header.entries")
        self.footer = footer
        self.header = header
        self.blocks = tuple(blocks)
        self.slot_head = bytes(packing.value) + FULL
        """What goes before the data in each slot: zeros if aligned, then the full bitmap."""
        self.stride = packing.value + BLOCK_RECORD
        self._head_bytes = len(self.slot_head)
        self._first_slot = header.table_end
        if packing is Packing.ALIGNED and self.blocks:
            self._first_slot = round_up(header.table_end, ALIGNMENT)
        if self.trailer_offset // SECTOR >= UNUSED:
            raise VhdUnsupported(f"{len(self.blocks)} blocks are more than a VHD can address")
        self.bat = self._place()

    @classmethod
    def of_disk(
        cls,
        size_bytes: int,
        blocks: Sequence[int],
        unique_id: str,
        parent: tuple[str, str] | None = None,
        *,
        packing: Packing = Packing.ALIGNED,
        timestamp: int = 0,
    ) -> "Layout":
        """Plan the VHD that XO would write for a disk; a delta if it has a `parent` (uuid, name).

        timestamp: seconds since 1970. Raises VhdInvalid, VhdUnsupported.
        """
        disk_type = DiskType.DYNAMIC if parent is None else DiskType.DIFFERENCING
        uuid, name = parent or (None, None)
        footer = Footer.new(size_bytes, unique_id, disk_type, timestamp)
        return cls(footer, Header.new(blocks_of(size_bytes), uuid, name), blocks, packing)

    def _place(self) -> Bat:
        entries = self.header.entries
        sectors = array("I", [UNUSED]) * entries
        sector = (self._first_slot + self._head_bytes - BITMAP) // SECTOR
        stride = self.stride // SECTOR
        for block in self.blocks:
            if not 0 <= block < entries or sectors[block] != UNUSED:
                raise VhdInvalid(f"block {block} is given twice or beyond {entries}", "bat")
            sectors[block] = sector
            sector += stride
        return Bat(sectors)

    def slot_offset(self, index: int) -> int:
        """First byte of the index-th slot, where `slot_head` goes."""
        return self._first_slot + index * self.stride

    def record_offset(self, index: int) -> int:
        """Byte of the index-th block's bitmap; its data follows at once."""
        return self.slot_offset(index) + self._head_bytes - BITMAP

    def data_offset(self, index: int) -> int:
        return self.slot_offset(index) + self._head_bytes

    def offset_of(self, block: int) -> int:
        """Byte of a block's bitmap, by the block's number. Raises KeyError if it is not there."""
        offset = self.bat.offset_of(block)
        if offset is None:
            raise KeyError(block)
        return offset

    @property
    def trailer_offset(self) -> int:
        return self.slot_offset(len(self.blocks))

    @property
    def total_bytes(self) -> int:
        return self.trailer_offset + FOOTER_BYTES

    def preamble(self) -> bytes:
        """Everything before the first slot: footer copy, header, BAT, zeros between them."""
        tables_at = HEADER_OFFSET + HEADER_BYTES
        return b"".join(
            (
                self.footer.pack(),
                self.header.pack(),
                bytes(self.header.table_offset - tables_at),
                self.bat.pack(),
                bytes(self._first_slot - self.header.table_end),
            )
        )

    def trailer(self) -> bytes:
        """The footer again, at `trailer_offset`."""
        return self.footer.pack()
