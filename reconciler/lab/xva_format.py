"""The XVA container: a tar of `ova.xml` and of disks in chunks of 1 MiB, each with its checksum.

    ova.xml
    Ref:4/00000000   Ref:4/00000000.checksum (SHA-1, 40 lower-case digits)
                  or Ref:4/00000000.xxhash   (XXH64, seed 0, 16 upper-case digits)
    Ref:4/00000005   …   chunks that are nothing but zeros are left out, except the first and last

Two blocks of zeros end it. Numbers only grow; an empty chunk is a sign of life and counts.
"""

import hashlib
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

CHUNK = 1 << 20
RECORD = 512
END = b"\0" * (2 * RECORD)
ENTRY = re.compile(r"(?P<disk>Ref:\d+)/(?P<number>\d+)(?:\.(?P<sum>checksum|xxhash))?")
_MEMBER_MAX = 64 << 20
_MASK = 2**64 - 1
_P1, _P2, _P3, _P4, _P5 = (
    *(11400714785074694791, 14029467366897019727, 1609587929392839161),
    *(9650029242287828579, 2870177450012600261),
)


class XvaError(Exception):
    """`code` is XAPI's own name of what is wrong."""

    def __init__(self, code: str, *params: str) -> None:
        super().__init__(code, *params)
        self.code = code
        self.params = params


def member(name: str, content: bytes | memoryview) -> list[bytes | memoryview]:
    """One file of the tar: head, content, padding."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o400
    padding = b"\0" * (-len(content) % RECORD)
    return [info.tobuf(tarfile.USTAR_FORMAT), content, padding]


def checksum(content: bytes | memoryview) -> bytes:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest().encode()


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def _round(lane: int, value: int) -> int:
    return _rotate((lane + value * _P2) & _MASK, 31) * _P1 & _MASK


def xxhash64(content: bytes | memoryview) -> bytes:
    """XXH64 with seed 0, written out: the lab must check what newer hosts write."""
    view = memoryview(content)
    length, whole = len(view), len(view) // 32 * 32
    total = _P5
    if whole:
        words = view[:whole].cast("Q")
        first, second, third, fourth = (_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK
        for at in range(0, whole // 8, 4):
            first = _round(first, words[at])
            second = _round(second, words[at + 1])
            third = _round(third, words[at + 2])
            fourth = _round(fourth, words[at + 3])
        total = _rotate(first, 1) + _rotate(second, 7) + _rotate(third, 12) + _rotate(fourth, 18)
        for lane in (first, second, third, fourth):
            total = ((total ^ _round(0, lane)) * _P1 + _P4) & _MASK
    total = _tail((total + length) & _MASK, bytes(view[whole:]))
    total = (total ^ total >> 33) * _P2 & _MASK
    total = (total ^ total >> 29) * _P3 & _MASK
    return f"{total ^ total >> 32:016X}".encode()


def _tail(total: int, rest: bytes) -> int:
    while len(rest) >= 8:
        total ^= _round(0, int.from_bytes(rest[:8], "little"))
        total = (_rotate(total, 27) * _P1 + _P4) & _MASK
        rest = rest[8:]
    if len(rest) >= 4:
        total ^= int.from_bytes(rest[:4], "little") * _P1 & _MASK
        total = (_rotate(total, 23) * _P2 + _P3) & _MASK
        rest = rest[4:]
    for byte in rest:
        total = _rotate(total ^ byte * _P5 & _MASK, 11) * _P1 & _MASK
    return total


def verify(kind: str, content: bytes, expected: bytes) -> bool:
    """Whether a chunk has the checksum that its companion file says."""
    actual = xxhash64(content) if kind == "xxhash" else checksum(content)
    return actual.lower() == expected.strip().lower()


def members(stream: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """The files of a tar stream, one at a time in memory.

    Raises:
        XvaError: the stream ends early, is no tar, or holds something absurd.
    """
    while True:
        head = _exactly(stream, RECORD)
        if not any(head):
            return
        try:
            info = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise XvaError("IMPORT_ERROR", f"not a tar header: {error}") from None
        if info.size > _MEMBER_MAX or info.size < 0:
            raise XvaError("IMPORT_ERROR", f"{info.name} has {info.size} bytes")
        content = _exactly(stream, info.size)
        _exactly(stream, -info.size % RECORD)
        yield info.name, content


def _exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count) if count else b""
    if len(content) < count:
        raise XvaError("IMPORT_ERROR_PREMATURE_EOF")
    return content
