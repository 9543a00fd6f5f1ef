"""A plan in the making: where the rules of one call of the planner put what they find."""

from dataclasses import dataclass, field
from datetime import datetime

from reconciler.ids import ActionId
from reconciler.plan.actions import Action
from reconciler.plan.plan import Cancel, Held
from reconciler.plan.reasons import Reason


@dataclass(slots=True)
class Draft:
    """now: as the planner was told. wake_at: the earliest instant, so far, at which a rule may
    decide otherwise. approvals: names of the deletions that the guard holds.
    """

    now: datetime
    actions: list[Action] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    cancels: dict[ActionId, Cancel] = field(default_factory=dict)
    approvals: list[str] = field(default_factory=list)
    wake_at: datetime | None = None

    def do(self, action: Action) -> None:
        self.actions.append(action)

    def hold(
        self,
        subject: str,
        reason: Reason,
        why: str,
        action: Action | None = None,
        until: datetime | None = None,
        approval: str = "",
    ) -> None:
        """Note something wanted; `until` is also an instant to look again at."""
        self.held.append(Held(subject, reason, why, action, until, approval))
        if until is not None:
            self.wake(until)

    def cancel(self, action: ActionId, reason: Reason, why: str) -> None:
        """Ask for the end of a running action; the first reason that is found is told."""
        self.cancels.setdefault(action, Cancel(action, reason, why))

    def wake(self, at: datetime) -> None:
        """Ask for a new plan at `at`: until then this rule decides the same."""
        if self.wake_at is None or at < self.wake_at:
            self.wake_at = at
