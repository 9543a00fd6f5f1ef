"""Changed block tracking: which 64 KiB blocks a guest wrote since the last snapshot.

One bit per block, most significant first, four bytes per 2 MiB: the form in which
`VDI.list_changed_blocks` answers.
"""

import base64
import contextlib
import os

GRANULE = 64 << 10


def bitmap_bytes(size: int) -> int:
    return -(-size // (2 << 20)) * 4


class ChangeLog:
    """The log of one disk; `parent` and `child` are the VDI uuids of its neighbours in time."""

    def __init__(self, path: str, size: int, parent: str = "", child: str = "") -> None:
        self.path = path
        self.size = size
        self.parent = parent
        self.child = child
        self.bits = bytearray(bitmap_bytes(size))
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as stored:
            kept = stored.read(len(self.bits))
            self.bits[: len(kept)] = kept

    def mark(self, start: int, end: int) -> None:
        """Bytes `start`…`end` (exclusive) were written."""
        first, last = start // GRANULE, (end - 1) // GRANULE
        for block in range(first, last + 1):
            self.bits[block >> 3] |= 0x80 >> (block & 7)
        self._save(first >> 3, last >> 3)

    def _save(self, first: int, last: int) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, self.bits[first : last + 1], first)
        finally:
            os.close(descriptor)

    def merge(self, older: "ChangeLog") -> None:
        """Take over what an older log recorded (its snapshot is being destroyed)."""
        for index, bits in enumerate(older.bits[: len(self.bits)]):
            self.bits[index] |= bits
        if self.bits:
            self._save(0, len(self.bits) - 1)

    def grow(self, size: int) -> None:
        self.bits.extend(bytes(bitmap_bytes(size) - len(self.bits)))
        self.size = size

    def rename(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, path)
        self.path = path

    def remove_file(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def changed_since(logs: list[ChangeLog], size: int) -> str:
    """The union of several logs as base64, for a disk of `size` bytes."""
    together = bytearray(bitmap_bytes(size))
    for log in logs:
        for index, bits in enumerate(log.bits[: len(together)]):
            together[index] |= bits
    return base64.b64encode(together).decode()
