"""Which conditions an object of each kind can have, when, and with which reasons.

Read off the code: a reason comes into a condition where some module names it, so what a kind can
say is what a few modules name. docs/spec shows this; a property test holds statuses of generated
worlds against it.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.kube.run_status import BAD, OPEN, conditions_of
from reconciler.plan.reasons import Reason
from reconciler.status.conditions import ConditionType
from reconciler.status.runs import RunState
from reconciler.status.worries import needs_a_person

PACKAGE = Path(__file__).resolve().parents[2] / "reconciler"
Reasons = frozenset[Reason]

READY, RECONCILING, STALLED = (
    ConditionType.READY,
    ConditionType.RECONCILING,
    ConditionType.STALLED,
)
COMPLETE, FAILED = ConditionType.COMPLETE, ConditionType.FAILED
RPO_MET, CHAINS_HEALTHY = ConditionType.RPO_MET, ConditionType.CHAINS_HEALTHY
PROOF_FRESH = ConditionType.PROOF_FRESH


def named_in(*patterns: str, by: str = "") -> Reasons:
    """Reasons that modules name. by: only as the first argument of calls of this."""
    return frozenset(
        reason
        for pattern in patterns
        for path in PACKAGE.glob(pattern)
        for reason in _named(ast.parse(path.read_text(encoding="utf-8")), by)
    )


def _named(tree: ast.AST, by: str) -> Iterator[Reason]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Name(id=name), args=[ast.Attribute(ast.Name("Reason"), reason), *_]
            ) if name == by:
                yield Reason[reason]
            case ast.Attribute(ast.Name("Reason"), reason) if not by:
                yield Reason[reason]
            case _:
                pass


POOL_UNSEEN = named_in("observers/pools.py")
REMOTE_UNSEEN = named_in("observers/remotes.py")
TRY_FAILED = (
    named_in("executor/verdict.py")
    | named_in("executor/*.py", "executor/steps/*.py", "kube/*.py", by="Refused")
    | {Reason.INTERRUPTED, Reason.CANCELLED, Reason.TIMED_OUT}
)
ABOUT_RESTORES = {Reason.POINT_UNKNOWN, Reason.RESTORE_CHANGED, Reason.NETWORK_UNKNOWN}
ABOUT_BACKUPS = {
    Reason.CLOCK_BEHIND,
    Reason.GUEST_STAYS_UP,
    Reason.NO_DISKS,
    Reason.REPLICA_CHANGED,
    Reason.SLOW_DESTINATION,
}
ABOUT_PROOFS = {Reason.PROOF_FAILED}
JOB_FAILED = TRY_FAILED - ABOUT_RESTORES
BACKUP_FAILED = JOB_FAILED - ABOUT_PROOFS
RESTORE_FAILED = TRY_FAILED - ABOUT_BACKUPS - ABOUT_PROOFS
OUT_OF_REACH = named_in("plan/world.py", "plan/scope.py") | REMOTE_UNSEEN
"""Why the planner leaves something alone."""
TIDIED_FIRST = {Reason.MERGE_INTERRUPTED, Reason.FILE_UNREFERENCED, Reason.REPLICA_INTERRUPTED}


@dataclass(frozen=True)
class Saying:
    """types: of conditions. when: in words."""

    types: tuple[ConditionType, ...]
    when: str
    reasons: Reasons


KSTATUS = (READY, RECONCILING, STALLED)
ONCE = (READY, COMPLETE)
NOT_LOOKED_AT = Saying(
    (READY, RECONCILING), "not looked at yet", frozenset({Reason.WAITING_FOR_OBSERVATION})
)
WELL = Saying((READY,), "all is well", frozenset({Reason.IN_SYNC}))
MISTAKEN = Saying(KSTATUS, "the manifest has a mistake", frozenset({Reason.INVALID_SPEC}))

PROVEN = Saying(
    (PROOF_FRESH,),
    "by its verification, if it has one",
    frozenset(
        {
            Reason.IN_SYNC,
            Reason.PROOF_DUE,
            Reason.WAITING_FOR_OBSERVATION,
            Reason.WAITING_FOR_SLOT,
        }
    ),
)

_RUN_ENDS = {
    state: frozenset(each.reason for each in conditions_of(state)) - {Reason.INTERNAL_ERROR}
    for state in RunState
}


def _of_runs(*states: RunState) -> Reasons:
    return frozenset().union(*(_RUN_ENDS[state] for state in states))


SAYINGS: dict[str, tuple[Saying, ...]] = {
    "XenPool": (
        WELL,
        NOT_LOOKED_AT,
        Saying(KSTATUS, "the pool is not seen", POOL_UNSEEN),
        MISTAKEN,
    ),
    "BackupRemote": (
        WELL,
        NOT_LOOKED_AT,
        Saying(KSTATUS, "the remote is not seen", REMOTE_UNSEEN),
        MISTAKEN,
    ),
    "BackupJob": (
        Saying((READY,), "nothing is in the way", frozenset({Reason.IN_SYNC, Reason.SUSPENDED})),
        NOT_LOOKED_AT,
        MISTAKEN,
        Saying(
            KSTATUS,
            "something is held until a person acts, or took too long",
            frozenset(one for one in named_in("plan/*.py") if needs_a_person(one)) - ABOUT_RESTORES
            | {Reason.TIMED_OUT},
        ),
        Saying(KSTATUS, "a pool or remote of it is not seen", POOL_UNSEEN | REMOTE_UNSEEN),
        Saying(
            KSTATUS,
            "what is wanted failed when it was last tried",
            JOB_FAILED,
        ),
        Saying(
            (RPO_MET,),
            "by the deadlines of its schedules",
            frozenset({Reason.IN_SYNC, Reason.BACKUP_OVERDUE, Reason.WAITING_FOR_OBSERVATION}),
        ),
        Saying(
            (CHAINS_HEALTHY,),
            "by its restore points",
            frozenset({Reason.IN_SYNC, Reason.CHAIN_BROKEN, Reason.WAITING_FOR_OBSERVATION}),
        ),
        PROVEN,
    ),
    "BackupRun": (
        Saying((*ONCE, RECONCILING), "it is open", _of_runs(*OPEN)),
        Saying(
            (*ONCE, FAILED),
            "it is over, and nothing is left to do",
            _of_runs(RunState.SUCCEEDED, RunState.SKIPPED, RunState.MISSED),
        ),
        Saying(
            (*ONCE, FAILED, STALLED),
            "it was ended",
            _of_runs(*BAD - {RunState.FAILED, RunState.PARTIALLY_FAILED}),
        ),
        Saying(
            (*ONCE, FAILED, STALLED),
            "it failed: the first try of it that did",
            BACKUP_FAILED,
        ),
        MISTAKEN,
    ),
    "Restore": (
        Saying((*ONCE, FAILED), "it was done", frozenset({Reason.RESTORED})),
        NOT_LOOKED_AT,
        Saying(
            (*ONCE, RECONCILING),
            "it is under way, or next",
            frozenset(
                {
                    Reason.ALREADY_RUNNING,
                    Reason.WAITING_FOR_LIMIT,
                    Reason.WAITING_FOR_OBSERVATION,
                    Reason.RESTORE_INTERRUPTED,
                }
            ),
        ),
        Saying(
            ONCE,
            "it, or a remote that may have the point, is not to be worked on",
            frozenset({Reason.SUSPENDED}),
        ),
        Saying(
            (*ONCE, RECONCILING, FAILED, STALLED),
            "it cannot begin",
            named_in("plan/restore.py", "plan/points.py", "plan/sites.py")
            - {Reason.RESTORE_UNKNOWN, Reason.CANCELLED, Reason.SUSPENDED}
            | OUT_OF_REACH - {Reason.SUSPENDED, Reason.FOREIGN_WRITER, Reason.REMOTE_READ_ONLY},
        ),
        Saying(
            (*ONCE, RECONCILING, FAILED, STALLED),
            "the last try failed",
            RESTORE_FAILED,
        ),
        MISTAKEN,
    ),
    "ProtectedVM": (
        Saying((READY,), "nothing is owed", frozenset({Reason.IN_SYNC})),
        Saying(
            (READY,),
            "a point is owed, or there is none yet",
            frozenset({Reason.POINT_MISSING, Reason.WAITING_FOR_SLOT, Reason.SUSPENDED}),
        ),
        Saying(
            (READY,),
            "a point is owed, and something is in the way",
            named_in("plan/due.py", "plan/send.py", "plan/given_up.py", "plan/sites.py")
            - {
                Reason.SCHEDULED,
                Reason.CATCH_UP,
                Reason.REQUESTED,
                Reason.RUN_CANCELLED,
                Reason.POINT_MISSING,
                Reason.WAITING_FOR_SLOT,
            }
            | OUT_OF_REACH
            | TIDIED_FIRST,
        ),
        PROVEN,
    ),
}


def says(kind: str) -> frozenset[tuple[ConditionType, Reason]]:
    """Every condition that an object of a kind can have, with every reason."""
    return frozenset(
        (type_, reason)
        for saying in SAYINGS[kind]
        for type_ in saying.types
        for reason in saying.reasons
    )
