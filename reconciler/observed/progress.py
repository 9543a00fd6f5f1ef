"""Our own hands: what is running and what it occupies, how tries ended, what we touched when.

Filled in by the executor and by nobody else; lost at a restart without harm, because it only ever
makes the planner wait. Three notes are kept, by three rules:

- *An action starts*: its id goes into `running`, what it occupies (`plan.claims.claims_of`) into
  `claims`.
- *An action ends*, however: both entries go, `ended` gets the `Attempt`, and `touched` gets the
  instant for each place of its claims with a mode other than `Mode.READ` (the later of two wins).
- Nothing else ever removes an entry of `touched` or `ended`; an entry older than a day may be
  forgotten, and a place may be forgotten once it was observed later than its instant.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from reconciler.ids import ActionId, VmUuid


class PlaceKind(StrEnum):
    POOL = "Pool"
    REMOTE = "Remote"
    SR = "Sr"


class Mode(StrEnum):
    """What an action does to a place.

    | with    | Read     | Prove    | Append   | Rewrite |
    |---------|----------|----------|----------|---------|
    | Read    | together | together | together | alone   |
    | Prove   | together | alone    | together | alone   |
    | Append  | together | together | alone    | alone   |
    | Rewrite | alone    | alone    | alone    | alone   |

    In the order of how much they change.
    """

    READ = "Read"  # restore; an export, of the snapshot it reads
    PROVE = "Prove"  # verify: it reads, and notes beside what it read what that showed
    APPEND = "Append"  # an export, of the chains it adds to; a snapshot
    REWRITE = "Rewrite"  # merge, prune, clean

    def together_with(self, other: "Mode") -> bool:
        """Say whether two actions may hold one place in these modes at once."""
        return {self, other} in (
            {Mode.READ},
            {Mode.READ, Mode.PROVE},
            {Mode.READ, Mode.APPEND},
            {Mode.PROVE, Mode.APPEND},
        )

    def changes_more_than(self, other: "Mode") -> bool:
        order = list(Mode)
        return order.index(self) > order.index(other)


class SlotKind(StrEnum):
    """What is counted. Exports are counted in disks, VMs as such, all others in actions."""

    SNAPSHOTS = "Snapshots"  # of a pool
    EXPORTS = "Exports"  # of a pool
    ACTIONS = "Actions"  # of a remote
    PROOFS = "Proofs"  # of a remote
    REPLICAS = "Replicas"  # of an SR
    VMS = "Vms"  # of a job


@dataclass(frozen=True, slots=True)
class Place:
    """One VM's part of a pool (its snapshots), a remote (its points and files) or an SR (replicas).

    What is observed as a whole and must not be changed by two actions at once. vm: "" for what
    belongs to no VM. name: of the pool or the remote; of an SR, `<pool>/<uuid>`.
    """

    kind: PlaceKind
    name: str
    vm: VmUuid


@dataclass(frozen=True, slots=True)
class Slots:
    """`count` of a limited resource.

    name: of the pool, the remote, the SR (`<pool>/<uuid>`) or the job that limits it. shared: what
    several actions take says so with one word here, and is counted once.
    """

    kind: SlotKind
    name: str
    count: int
    shared: str = ""


@dataclass(frozen=True, slots=True)
class Claims:
    """All that an action occupies while it runs."""

    slots: tuple[Slots, ...] = ()
    places: tuple[tuple[Place, Mode], ...] = ()


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
    """running: id to when it started. ended: id to how the last try ended.

    claims: what each running action occupies. touched: when an action of ours that changes a
    place last ended; a view of the place that is not newer than that says nothing.
    """

    running: Mapping[ActionId, datetime] = field(default_factory=dict)
    ended: Mapping[ActionId, Attempt] = field(default_factory=dict)
    claims: Mapping[ActionId, Claims] = field(default_factory=dict)
    touched: Mapping[Place, datetime] = field(default_factory=dict)
