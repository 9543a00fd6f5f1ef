"""Encodings that footer and header share: checksum, uuids, and the parent's name.

Knows single fields; never where they lie.
"""

import re

from reconciler.vhd.errors import VhdInvalid

NAME_BYTES = 512
NAME_UNITS_MAX = NAME_BYTES // 2 - 1
"""UTF-16 units that fit, one being left for the closing zero that some readers need."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def checksum(structure: bytes, field_offset: int) -> int:
    """Ones' complement of the sum of all bytes but the checksum's own four."""
    own = structure[field_offset : field_offset + 4]
    return ~(sum(structure) - sum(own)) & 0xFFFFFFFF


def uuid_text(raw: bytes) -> str:
    """Render 16 bytes in the canonical order, lower case."""
    digits = raw.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def uuid_bytes(text: str, field: str) -> bytes:
    """Parse the canonical text, lower case only. Raises VhdInvalid."""
    if _UUID.fullmatch(text) is None:
        raise VhdInvalid(f"{text!r} is not a uuid", field)
    return bytes.fromhex(text.replace("-", ""))


def check_file_name(name: str) -> str:
    """Return a parent's name that is safe to look up beside its child. Raises VhdInvalid.

    It comes from inside a file that anybody may have written: it must be one component, so that
    following it never leaves the directory.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise VhdInvalid(
            f"{name[:80]!r} is not the name of a file in the same directory", "header.parent_name"
        )
    return name


def pack_name(name: str | None) -> bytes:
    """Encode a parent's name: UTF-16 big-endian, padded with zeros. Raises VhdInvalid."""
    try:
        encoded = (name or "").encode("utf-16-be")
    except UnicodeEncodeError as error:
        raise VhdInvalid("is not Unicode text", "header.parent_name") from error
    if len(encoded) > 2 * NAME_UNITS_MAX:
        raise VhdInvalid(f"is longer than {NAME_UNITS_MAX} characters", "header.parent_name")
    return encoded.ljust(NAME_BYTES, b"\0")


def parse_file_name(raw: bytes) -> str | None:
    """Decode a parent's name that we shall look up; None if it is empty. Raises VhdInvalid."""
    try:
        name = raw.decode("utf-16-be").rstrip("\0")
    except UnicodeDecodeError as error:
        raise VhdInvalid("is not UTF-16 text", "header.parent_name") from error
    return check_file_name(name) if name else None


def parse_any_name(raw: bytes) -> str | None:
    """Decode a parent's name for display only, whatever it is."""
    return raw.decode("utf-16-be", "replace").partition("\0")[0] or None
