"""Values as XenAPI knows them, references and time.

A value decides itself how it goes over the wire: a `DateTime` is a string that XML-RPC writes as
`dateTime.iso8601`. Values are never changed in place, so that a record handed out stays as it was.
"""

import time
import uuid
from collections.abc import Mapping, Sequence

# Covariant on purpose: a list of strings is a value. In fact always lists and dicts.
Value = str | int | float | bool | None | Sequence["Value"] | Mapping[str, "Value"]
Record = dict[str, Value]

NULL = "OpaqueRef:NULL"


class DateTime(str):
    """An instant as XAPI writes it: `20261122T20:57:53Z` (basic date, extended time, UTC)."""

    __slots__ = ()


EPOCH = DateTime("19700101T00:00:00Z")


def instant(unix_seconds: float) -> DateTime:
    return DateTime(time.strftime("%Y%m%dT%H:%M:%SZ", time.gmtime(unix_seconds)))


def now() -> DateTime:
    return instant(time.time())


def new_uuid() -> str:
    return str(uuid.uuid4())


def new_ref() -> str:
    return f"OpaqueRef:{uuid.uuid4()}"
