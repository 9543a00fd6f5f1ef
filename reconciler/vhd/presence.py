"""Which blocks a disk in block mode has: the `bat` of a VHD directory, bits instead of places.

Knows bits; never where the blocks lie. Stored it is one bit for each block, the highest bit of a
byte first, in as many *bytes* as the header has entries: what lies behind the bits is zero. That is
how Xen Orchestra writes it (vhd-lib's VhdDirectory).
"""

from collections.abc import Iterable, Iterator

from reconciler.vhd.errors import VhdInvalid
from reconciler.vhd.layout import ENTRIES_MAX

_BITS_OF = tuple(
    tuple(bit for bit in range(8) if byte & 0x80 >> bit) for byte in range(256)
)  # for each byte its set bits, the highest first


class Presence:
    """A set of blocks; never changes. Laws: parse(pack(n), n) is the same set; it ascends."""

    __slots__ = ("_bits",)

    def __init__(self, blocks: Iterable[int] = ()) -> None:
        bits = bytearray()
        for block in blocks:
            if not 0 <= block < ENTRIES_MAX:
                raise VhdInvalid(f"block {block} is none of any disk", "bat")
            if (missing := (block >> 3) + 1 - len(bits)) > 0:
                bits.extend(bytes(missing))
            bits[block >> 3] |= 0x80 >> (block & 7)
        self._bits = bytes(bits)

    @classmethod
    def parse(cls, data: bytes, entries: int) -> "Presence":
        """Parse a table; one that is shorter lacks the blocks behind its end.

        Raises VhdInvalid if a block beyond the header's entries is in it.
        """
        bits = data.rstrip(b"\0")
        if bits and 8 * len(bits) - _trailing_zeros(bits[-1]) > entries:
            raise VhdInvalid(f"has a block beyond the {entries} of its header", "bat")
        made = cls()
        made._bits = bits
        return made

    def pack(self, entries: int) -> bytes:
        """Render as it is stored. entries: the header's."""
        assert 8 * len(self._bits) < entries + 8, "blocks lie within the header's entries"
        return self._bits.ljust(entries, b"\0")

    def __contains__(self, block: int) -> bool:
        index = block >> 3
        return 0 <= index < len(self._bits) and bool(self._bits[index] & 0x80 >> (block & 7))

    def __iter__(self) -> Iterator[int]:
        for index, byte in enumerate(self._bits):
            if byte:
                for bit in _BITS_OF[byte]:
                    yield 8 * index + bit

    def __len__(self) -> int:
        return int.from_bytes(self._bits, "big").bit_count()

    def __or__(self, other: "Presence") -> "Presence":
        longer = max(len(self._bits), len(other._bits))
        ours, theirs = self._bits.ljust(longer, b"\0"), other._bits.ljust(longer, b"\0")
        joined = int.from_bytes(ours, "big") | int.from_bytes(theirs, "big")
        made = Presence()
        made._bits = joined.to_bytes(longer, "big")
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Presence) and self._bits.rstrip(b"\0") == other._bits.rstrip(b"\0")

    def __hash__(self) -> int:
        return hash(self._bits.rstrip(b"\0"))

    def __repr__(self) -> str:
        return f"Presence({len(self)} blocks)"


def _trailing_zeros(byte: int) -> int:
    return (byte & -byte).bit_length() - 1
