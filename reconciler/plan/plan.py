"""The plan: what to do, what is wanted but held and why, and when to look again."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from reconciler.ids import ActionId
from reconciler.plan.actions import Action, id_of
from reconciler.plan.reasons import Reason


@dataclass(frozen=True, slots=True)
class Held:
    """Something wanted that is not done now.

    subject: "VM web on remote nas1", for people. action: what would be done, where that much is
    known. until: when it may change by itself; None if only the world or a person can change it.
    """

    subject: str
    reason: Reason
    why: str
    action: Action | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """actions: in the order they should start, oldest debt first. sentence: one line for people.

    wake_at: with nothing changed, the plan is the same at any instant before this; None = for
    ever. deletions: hash of the destructive actions, planned or held by the guard; "" if none.
    """

    actions: tuple[Action, ...] = ()
    held: tuple[Held, ...] = ()
    cancel: tuple[ActionId, ...] = ()
    wake_at: datetime | None = None
    sentence: str = ""
    deletions: str = ""


def deletions_hash(actions: tuple[Action, ...]) -> str:
    """Name a set of deletions, so that an approval holds for exactly these."""
    destructive = sorted(id_of(action) for action in actions if action.destructive)
    if not destructive:
        return ""
    return hashlib.blake2b("\n".join(destructive).encode(), digest_size=8).hexdigest()
