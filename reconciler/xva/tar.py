"""Heads of a tar's members, as much of it as XAPI writes: plain files with short names.

```
0    100  name, NUL-padded        124  12  size, octal        148  8  checksum, octal
156  1    type: "0" or NUL        257  6   "ustar"            345  155  prefix of the name
```

XAPI's older hosts write no "ustar" (the form of 1979), so it is not asked for; the checksum is.
"""

import re
from dataclasses import dataclass

from reconciler.xva.errors import XvaInvalid

RECORD = 512
"""Heads take one; contents are padded to a multiple of it."""

_OCTAL = re.compile(rb" *([0-7]{1,11})[ \0]*")
_CHECKSUM = slice(148, 156)
_FILE_TYPES = (0, ord("0"))
_SHOWN_MAX = 60


@dataclass(frozen=True, slots=True)
class Member:
    """size: bytes of content, without padding."""

    name: str
    size: int

    @property
    def padding(self) -> int:
        return -self.size % RECORD


def parse_head(head: bytes) -> Member | None:
    """Parse 512 bytes; None for a record of zeros, two of which end a tar. Raises XvaInvalid."""
    if not any(head):
        return None
    said = _octal(head[_CHECKSUM])
    if said is None or said != sum(head) - sum(head[_CHECKSUM]) + 8 * ord(" "):
        raise XvaInvalid("no tar member begins where one should")
    try:
        name = head[:100].partition(b"\0")[0].decode("ascii")
    except UnicodeDecodeError:
        raise XvaInvalid(f"a member has the name {head[:100]!r}") from None
    shown = name[:_SHOWN_MAX]
    if head[156] not in _FILE_TYPES or any(head[345:500]):
        raise XvaInvalid("it is no plain file with a short name", shown)
    size = _octal(head[124:136])
    if size is None:
        raise XvaInvalid("its size is no number", shown)
    return Member(name, size)


def _octal(field: bytes) -> int | None:
    digits = _OCTAL.fullmatch(field)
    return None if digits is None else int(digits[1], 8)
