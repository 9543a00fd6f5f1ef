"""Layers: what a VHD file is on a real SR. A sparse file and a map of the blocks it holds.

A block is 2 MiB at its own virtual offset in the file, so a whole block goes to a socket with one
`sendfile`. A layer without an allocated block has no files at all: a snapshot costs nothing.

    <id>.blocks   data, sparse, as long as the virtual disk
    <id>.map      one byte per block, 1 = this layer holds it

The data is written before the map, so a killed process leaves at worst a block that nobody sees.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

BLOCK = 2 << 20


def blocks_of(size: int) -> int:
    return -(-size // BLOCK)


@dataclass(eq=False, slots=True)
class Layer:
    """One node of a VHD tree. `id` is the uuid that a VHD's own footer would carry."""

    directory: str
    id: str
    size: int
    parent: "Layer | None"
    _map: bytearray | None = field(default=None, repr=False)

    @property
    def data_path(self) -> str:
        return f"{self.directory}/{self.id}.blocks"

    @property
    def map_path(self) -> str:
        return f"{self.directory}/{self.id}.map"

    @property
    def map(self) -> bytearray:
        """One byte per block of the virtual disk; read-only for everybody else."""
        if self._map is None:
            loaded = bytearray(blocks_of(self.size))
            with contextlib.suppress(FileNotFoundError), open(self.map_path, "rb") as stored:
                kept = stored.read(len(loaded))
                loaded[: len(kept)] = kept
            self._map = loaded
        return self._map

    @property
    def allocated(self) -> int:
        """How many blocks this layer holds."""
        return self.map.count(1)

    def chain(self) -> list["Layer"]:
        """This layer, its parent … to the root."""
        chain: list[Layer] = []
        layer: Layer | None = self
        while layer is not None:
            chain.append(layer)
            layer = layer.parent
        return chain

    def supplier(self, block: int) -> "Layer | None":
        """The nearest layer of the chain that holds a block."""
        layer: Layer | None = self
        while layer is not None:
            if block < len(layer.map) and layer.map[block]:
                return layer
            layer = layer.parent
        return None

    def open_write(self) -> int:
        """A descriptor of the data, created with the disk's full length."""
        descriptor = os.open(self.data_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(descriptor).st_size < self.size:
            os.ftruncate(descriptor, self.size)
        return descriptor

    def open_read(self) -> int:
        return os.open(self.data_path, os.O_RDONLY | os.O_CLOEXEC)

    def mark(self, first: int, last: int) -> None:
        """Blocks `first`…`last` (inclusive) are held from now on; their data is written."""
        known = self.map
        if known.find(0, first, last + 1) < 0:
            return
        known[first : last + 1] = b"\1" * (last + 1 - first)
        descriptor = os.open(self.map_path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, known[first : last + 1], first)
        finally:
            os.close(descriptor)

    def grow(self, size: int) -> None:
        self.size = size
        if self._map is not None:
            self._map.extend(bytes(blocks_of(size) - len(self._map)))
        if os.path.exists(self.data_path):
            os.close(self.open_write())

    def remove_files(self) -> None:
        for path in (self.data_path, self.map_path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def union(layers: Sequence[Layer], blocks: int) -> bytes:
    """One byte per block: held by any of the layers."""
    together = 0
    for layer in layers:
        together |= int.from_bytes(layer.map, "little")
    return together.to_bytes(max(blocks, _width(together)), "little")[:blocks]


def _width(number: int) -> int:
    return -(-number.bit_length() // 8)


def indexes(held: bytes) -> Iterator[int]:
    """The blocks whose byte is 1, ascending."""
    position = held.find(1)
    while position >= 0:
        yield position
        position = held.find(1, position + 1)


def difference(tip: Layer, base: Layer | None) -> list[int]:
    """The blocks that an export carries.

    Without a base: every block held anywhere in the chain. With one: every block held by a layer
    of the symmetric difference of both chains, so also a block that only the base's own layers
    hold (it is exported as the tip reads it: that is a revert).
    """
    chain = tip.chain()
    layers = chain
    if base is not None:
        other = base.chain()
        known, mine = set(map(id, other)), set(map(id, chain))
        layers = [layer for layer in chain if id(layer) not in known]
        layers += [layer for layer in other if id(layer) not in mine]
    return list(indexes(union(layers, blocks_of(tip.size))))


def copy_range(source: int, target: int, offset: int, length: int) -> None:
    """Copy the same range from one file to another, inside the kernel."""
    while length > 0:
        copied = os.copy_file_range(source, target, length, offset, offset)
        if copied == 0:
            return
        offset += copied
        length -= copied


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data = data[written:]
        offset += written


def read_all(descriptor: int, view: memoryview, offset: int) -> None:
    """Fill the view; past the end of the file come zeros."""
    while view:
        got = os.preadv(descriptor, [view], offset)
        if got == 0:
            view[:] = bytes(len(view))
            return
        view = view[got:]
        offset += got
