"""What one export sends: blocks and the open files that supply them, frozen at its start."""

import contextlib
import os

from reconciler.lab.layers import BLOCK, read_all


class Plan:
    """`blocks` ascending; `sources[n]` is the descriptor that holds `blocks[n]`, -1 = zeros."""

    __slots__ = ("_owned", "blocks", "size", "sources")

    def __init__(self, size: int, blocks: list[int], sources: list[int], owned: list[int]) -> None:
        self.size = size
        self.blocks = blocks
        self.sources = sources
        self._owned = owned

    def read_into(self, view: memoryview, position: int) -> None:
        """Fill a 2 MiB view with the content of `blocks[position]`."""
        source = self.sources[position]
        if source < 0:
            view[:] = bytes(len(view))
        else:
            read_all(source, view, self.blocks[position] * BLOCK)

    def close(self) -> None:
        owned, self._owned = self._owned, []
        for descriptor in owned:
            with contextlib.suppress(OSError):
                os.close(descriptor)
