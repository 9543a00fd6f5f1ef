"""The plan of a new qcow2 image of which the allocated 2 MiB blocks are known beforehand.

Version 3, clusters of 64 KiB, refcounts of 16 bits. Knows every offset and all tables; never the
data.

    header · refcount table · refcount blocks · L1 table · L2 tables · data of block, block, …

Metadata comes first, so the image can be written as a stream. It is made in pieces of a cluster,
because the L2 tables of a full 2 TiB disk take 256 MiB.
"""

import sys
from array import array
from collections.abc import Iterator, Sequence

from reconciler.qcow2.errors import Qcow2Invalid, Qcow2Unsupported
from reconciler.qcow2.header import L1_BYTES_MAX, SECTOR, pack_header

BLOCK = 2 * 1024 * 1024
CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS

_L2_ENTRIES = CLUSTER // 8
_L2_SPAN = _L2_ENTRIES * CLUSTER
_BLOCKS_PER_L2 = _L2_SPAN // BLOCK
_REFCOUNTS = CLUSTER // 2
_COPIED = 1 << 63
"""Set in L1 and L2 entries of clusters with a refcount of exactly one."""


def _clusters(count: int) -> int:
    return -(-count // CLUSTER)


class Qcow2Layout:
    """Where everything goes in an image that holds `blocks`, in that order.

    size: of the disk, bytes, a multiple of 512. Raises Qcow2Invalid, Qcow2Unsupported.
    """

    def __init__(self, size: int, blocks: Sequence[int]) -> None:
        if size <= 0 or size % SECTOR:
            raise Qcow2Invalid(f"{size} is no positive multiple of {SECTOR}", "header.size")
        self.size = size
        self.blocks = tuple(blocks)
        block_count = -(-size // BLOCK)
        if len(set(self.blocks)) != len(self.blocks) or any(
            not 0 <= block < block_count for block in self.blocks
        ):
            raise Qcow2Invalid("a block is given twice or lies beyond the disk", "l2")
        self._l1_entries = -(-size // _L2_SPAN)
        if 8 * self._l1_entries > L1_BYTES_MAX:
            raise Qcow2Unsupported(f"a disk of {size} bytes is too large for 64 KiB clusters")
        self._l2_tables = sorted({block // _BLOCKS_PER_L2 for block in self.blocks})
        self._offsets = self._place_data()
        self._place_metadata()

    def _place_data(self) -> list[int]:
        """Offsets of the blocks' data from where data starts, and of its end."""
        offsets = [0]
        for block in self.blocks:
            offsets.append(offsets[-1] + _clusters(self._bytes_of(block)) * CLUSTER)
        return offsets

    def _place_metadata(self) -> None:
        fixed = 1 + _clusters(8 * self._l1_entries) + len(self._l2_tables)
        fixed += self._offsets[-1] // CLUSTER
        table = blocks = 0
        # Refcount blocks count themselves and their table: grow until they cover everything.
        while (fixed + table + blocks) > blocks * _REFCOUNTS or 8 * blocks > table * CLUSTER:
            blocks = -(-(fixed + table + blocks) // _REFCOUNTS)
            table = _clusters(8 * blocks)
        self._cluster_count = fixed + table + blocks
        self._refcount_table_clusters = table
        self._refcount_blocks = blocks
        self._l1_offset = (1 + table + blocks) * CLUSTER
        self._l2_offset = self._l1_offset + _clusters(8 * self._l1_entries) * CLUSTER
        self.metadata_bytes = self._l2_offset + len(self._l2_tables) * CLUSTER

    def _bytes_of(self, block: int) -> int:
        return min(BLOCK, self.size - block * BLOCK)

    @property
    def total_bytes(self) -> int:
        return self._cluster_count * CLUSTER

    def data_offset(self, index: int) -> int:
        """Byte in the file where the data of the index-th block goes."""
        return self.metadata_bytes + self._offsets[index]

    def data_bytes(self, index: int) -> int:
        """How much of the index-th block to write: whole clusters, less than 2 MiB for the last
        block of a disk; what lies beyond the disk's end must be zero."""
        return self._offsets[index + 1] - self._offsets[index]

    def metadata(self) -> Iterator[bytes]:
        """Give everything before the data, from byte 0 on, in pieces of whole clusters."""
        header = pack_header(
            size=self.size,
            cluster_bits=CLUSTER_BITS,
            l1_offset=self._l1_offset,
            l1_entries=self._l1_entries,
            refcount_table_offset=CLUSTER,
            refcount_table_clusters=self._refcount_table_clusters,
        )
        yield header.ljust(CLUSTER, b"\0")
        first_refcount_block = (1 + self._refcount_table_clusters) * CLUSTER
        yield _pack(
            array(
                "Q",
                [first_refcount_block + n * CLUSTER for n in range(self._refcount_blocks)],
            )
        )
        for n in range(self._refcount_blocks):
            used = min(_REFCOUNTS, self._cluster_count - n * _REFCOUNTS)
            yield (b"\0\1" * used).ljust(CLUSTER, b"\0")
        l1 = array("Q", bytes(8 * self._l1_entries))
        for n, index in enumerate(self._l2_tables):
            l1[index] = (self._l2_offset + n * CLUSTER) | _COPIED
        yield _pack(l1)
        yield from self._pack_l2_tables()

    def _pack_l2_tables(self) -> Iterator[bytes]:
        order = sorted(range(len(self.blocks)), key=self.blocks.__getitem__)
        at = 0
        for index in self._l2_tables:
            entries = array("Q", bytes(CLUSTER))
            while at < len(order) and self.blocks[order[at]] // _BLOCKS_PER_L2 == index:
                position = order[at]
                first = (self.blocks[position] % _BLOCKS_PER_L2) * (BLOCK // CLUSTER)
                start = self.data_offset(position) | _COPIED
                count = self.data_bytes(position) // CLUSTER
                entries[first : first + count] = array(
                    "Q", range(start, start + count * CLUSTER, CLUSTER)
                )
                at += 1
            yield _pack(entries)


def _pack(entries: "array[int]") -> bytes:
    if sys.byteorder == "little":
        entries.byteswap()
    raw = entries.tobytes()
    return raw.ljust(_clusters(len(raw)) * CLUSTER, b"\0")
