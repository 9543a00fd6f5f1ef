"""The plan: what to do, what is wanted but held and why, and when to look again."""

from dataclasses import dataclass
from datetime import datetime

from reconciler.ids import ActionId
from reconciler.plan.actions import Action
from reconciler.plan.reasons import Reason


@dataclass(frozen=True, slots=True)
class Held:
    """Something wanted that is not done now.

    subject: "VM web on remote nas1", for people. action: what would be done, where that much is
    known. until: when it may change by itself; None if only the world or a person can change it.
    approval: what an approval must say so that it goes ahead; "" if that is not what it lacks.
    """

    subject: str
    reason: Reason
    why: str
    action: Action | None = None
    until: datetime | None = None
    approval: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """A running action that is to end, and why: `Cancelled` or `TimedOut`."""

    action: ActionId
    reason: Reason
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """actions: in the order they should start, oldest debt first. sentence: one line for people.

    wake_at: with nothing changed, the plan is the same at any instant before this; None = for
    ever. deletions: what an approval must say so that the deletions held by the guard go ahead
    (see guard.py: hashes joined by "+"); "" if the guard holds none.
    """

    actions: tuple[Action, ...] = ()
    held: tuple[Held, ...] = ()
    cancel: tuple[Cancel, ...] = ()
    wake_at: datetime | None = None
    sentence: str = ""
    deletions: str = ""
