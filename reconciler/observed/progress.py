"""Our own hands: what is running, and how often what was tried has failed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.ids import ActionId


@dataclass(frozen=True, slots=True)
class Attempt:
    """How the last try of an action ended.

    succeeded: it did what it set out to do. count: failed tries in a row (0 after a success).
    not_before: when it may be tried again; None = a person must act first (stuck).
    reason, why: reason code and one sentence, empty after a success.
    """

    ended_at: datetime
    succeeded: bool
    count: int = 0
    not_before: datetime | None = None
    reason: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """running: id to when it started. ended: id to how the last try ended."""

    running: Mapping[ActionId, datetime] = field(default_factory=dict)
    ended: Mapping[ActionId, Attempt] = field(default_factory=dict)
