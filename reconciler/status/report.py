"""One immutable picture per tick: what should be, what is, what will be done, and how it stands.

Every door renders this and works out nothing of its own, so that they cannot disagree. What is
costly (how each VM stands, conditions) is worked out when it is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from reconciler.desired.state import Desired
from reconciler.ids import JobName
from reconciler.observed.progress import Progress
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.plan import Plan
from reconciler.status.conditions import Condition, conditions_of
from reconciler.status.holdings import Holdings, holdings_of
from reconciler.status.standing import JobStanding, VmState, standings
from reconciler.status.worries import Worries


@dataclass(frozen=True, slots=True)
class Report:
    """at: when the plan was made, or last found to stand, UTC."""

    desired: Desired
    observed: Observed
    plan: Plan
    at: datetime
    _standings: list[list[JobStanding]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )
    _holdings: list[Holdings] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def progress(self) -> Progress:
        return self.observed.progress

    @property
    def is_whole(self) -> bool:
        """Whether every pool and remote that is wanted has been looked at, seen or not."""
        return (
            self.desired.pools.keys() <= self.observed.pools.keys()
            and self.desired.remotes.keys() <= self.observed.remotes.keys()
        )

    @property
    def standings(self) -> list[JobStanding]:
        """How each job stands, by name; worked out once. The same list says the same of all."""
        if not self._standings:
            self._standings.append(standings(self.desired, self.observed, self.plan, self.at))
        return self._standings[0]

    @property
    def holdings(self) -> Holdings:
        """What lies where; worked out once."""
        if not self._holdings:
            self._holdings.append(holdings_of(self.observed))
        return self._holdings[0]

    def renewed(self, observed: Observed, at: datetime) -> "Report":
        """Return the same plan with later looks, which found nothing new.

        at: before `plan.wake_at`: until then every VM stands as it does, and what was worked out
        of that is kept, too.
        """
        renewed = replace(self, observed=observed, at=at)
        renewed._standings.extend(self._standings)
        renewed._holdings.extend(self._holdings)
        return renewed

    def conditions(self) -> dict[JobName, tuple[Condition, ...]]:
        """Return the conditions of each job, by name."""
        worries = Worries(self.desired, self.observed, self.plan)
        return {
            standing.job.name: conditions_of(
                standing, self.desired, self.observed, worries, self.at, self.holdings
            )
            for standing in self.standings
        }

    @property
    def sentence(self) -> str:
        """The tick in one line: "42 of 45 VMs protected, 3 due; pool east not seen; next 02:00"."""
        jobs = self.standings
        vms = [vm for job in jobs for vm in job.vms]
        ids = {vm.vm for vm in vms}
        parts = []
        for state, word in _WORDS:
            count = len({vm.vm for vm in vms if vm.state is state})
            if count:
                parts.append(f"{count} {word}")
        behind = {vm.vm for vm in vms if vm.state is not VmState.PROTECTED}
        kept = len(ids - behind)
        total = f"{kept} of {len(ids)}" if behind else str(len(ids))
        noun = "VM" if len(ids) == 1 else "VMs"
        counts = ", ".join([f"{total} {noun} protected", *parts, *self._running()])
        return "; ".join([counts, *self._not_seen(), *self._problems(), *self._next(jobs)])

    def _running(self) -> list[str]:
        running = len(self.progress.running)
        return [f"{running} running"] if running else []

    def _not_seen(self) -> list[str]:
        sentences = []
        for kind, wanted, views in (
            ("pool", map(str, self.desired.pools), dict(self.observed.pools)),
            ("remote", map(str, self.desired.remotes), dict(self.observed.remotes)),
        ):
            seen = {str(name): view for name, view in views.items()}
            sentences += [
                f"{kind} {name} not seen"
                for name in sorted(wanted)
                if isinstance(seen.get(name), Unknown | None)
            ]
        return sentences

    def _problems(self) -> list[str]:
        count = len(self.desired.problems)
        if not count:
            return []
        return [f"{count} {'problem' if count == 1 else 'problems'} in manifests"]

    def _next(self, jobs: Sequence[JobStanding]) -> list[str]:
        slots = [job.next_slot for job in jobs if job.next_slot is not None]
        if not slots:
            return []
        following = min(slots).astimezone(UTC)
        day = "" if following.date() == self.at.astimezone(UTC).date() else f"{following:%Y-%m-%d} "
        return [f"next slot {day}{following:%H:%M} UTC"]


_WORDS = (
    (VmState.DUE, "due"),
    (VmState.HELD, "held"),
    (VmState.NEW, "new"),
    (VmState.UNKNOWN, "not known"),
    (VmState.SUSPENDED, "suspended"),
)
