"""Not seen: a value, so that no rule can mistake it for "not there"."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that could not be read. Rules must match on it; nothing is deleted because of it.

    since: when it was first not seen. reason: a reason code. why: one sentence for a person.
    """

    since: datetime
    reason: str
    why: str
