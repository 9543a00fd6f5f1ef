"""How restore points are tried: what a job's manifest says, and what the planner takes from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from reconciler.desired.envelope import Fields, Span


@dataclass(frozen=True, slots=True)
class Verification:
    """How old the proof may be that what lies on a remote can be restored. max_age: at most."""

    max_age: timedelta

    @property
    def renew_after(self) -> timedelta:
        """When a proof is old enough for the next, so that it stays fresh."""
        return self.max_age * 3 / 4


class VerificationSpec(Fields):
    """Reading restore points now and then, to know that they can be restored."""

    max_age: Span = Field(
        description="Of each VM, on each remote, a point is read whole at least so often: the"
        " newest one, every block of it, as a restore would."
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "maxAgeDays": "maxAge",
        "every": "maxAge",
        "interval": "maxAge",
    }
    later: ClassVar[Mapping[str, str]] = {
        "level": "points are read whole; none is booted for now",
        "cron": "give maxAge: what is unproven for longest comes first",
    }

    def verification(self) -> Verification:
        return Verification(self.max_age)
