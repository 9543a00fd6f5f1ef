"""How each restore that a manifest asks for stands: waiting, under way, failed, or done for good.

| type        | True                          | False                        |
|-------------|-------------------------------|------------------------------|
| Complete    | it was done                   | not yet                      |
| Failed      | only a person can help it on  | it was done                  |
| Ready       | it was done                   | not yet                      |
| Reconciling | it is being done, or retried  | (left out)                   |
| Stalled     | only a person can help it on  | (left out)                   |

Complete never turns back: what is done is not done again (`plan/restore.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.desired.document import Plain
from reconciler.desired.state import Restore
from reconciler.observed.pool import PoolView
from reconciler.observed.restored import RestoreRecord
from reconciler.plan.plan import Plan
from reconciler.plan.reasons import Reason, reason_of
from reconciler.plan.restore import intent_of, subject_of
from reconciler.plan.restore_actions import CleanRestore, RestoreVm
from reconciler.status.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    unseen_conditions,
)
from reconciler.status.report import Report
from reconciler.status.worries import needs_a_person


@dataclass(frozen=True, slots=True)
class RestoreStanding:
    """One restore. fields: beside the conditions. looked_at: its pool was, once at least."""

    restore: Restore
    conditions: tuple[Condition, ...]
    fields: Mapping[str, Plain] = field(default_factory=dict)
    looked_at: bool = True

    def says(self, kind: ConditionType) -> Condition | None:
        return next((each for each in self.conditions if each.type is kind), None)


def restore_standings(report: Report) -> Iterator[RestoreStanding]:
    """Say how each restore stands, in order of their names."""
    for name in sorted(report.desired.restores):
        restore = report.desired.restores[name]
        view = report.observed.pools.get(restore.pool)
        if view is None:
            conditions = unseen_conditions(f"pool {restore.pool}", None)
            yield RestoreStanding(restore, conditions, looked_at=False)
            continue
        record = view.restores.get(restore.id) if isinstance(view, PoolView) else None
        is_running = intent_of(restore) in report.progress.running
        if record and record.made and _is_as_asked(restore, record) and not is_running:
            yield RestoreStanding(restore, _done(record), _fields(view, record))
        else:
            yield RestoreStanding(restore, _open(restore, report), _fields(view, record))


def _is_as_asked(restore: Restore, record: RestoreRecord) -> bool:
    return record.revision == restore.revision


def _fields(view: object, record: RestoreRecord | None) -> dict[str, Plain]:
    """The point, once it is settled, and the VM, once it is there."""
    if record is None or not isinstance(view, PoolView):
        return {}
    point: dict[str, Plain] = {
        "name": f"{record.vm}/{record.stamp}",
        "vm": record.vm,
        "stamp": record.stamp,
    }
    made = record.made or next(
        (each.vm for each in view.restored if each.restore == record.restore), None
    )
    if made is None:
        return {"resolvedPoint": point, "restoredVM": None}
    names = {each.vm: each.name for each in view.restored}
    restored: dict[str, Plain] = {"uuid": made}
    if made in names:
        restored["name"] = names[made]
    return {"resolvedPoint": point, "restoredVM": restored}


def _done(record: RestoreRecord) -> tuple[Condition, ...]:
    message = f"{record.vm}/{record.stamp} was restored as VM {record.made}"
    return (
        Condition(ConditionType.READY, ConditionStatus.TRUE, Reason.RESTORED, message),
        Condition(ConditionType.COMPLETE, ConditionStatus.TRUE, Reason.RESTORED, message),
        Condition(ConditionType.FAILED, ConditionStatus.FALSE, Reason.RESTORED, message),
    )


def _open(restore: Restore, report: Report) -> tuple[Condition, ...]:
    reason, message = _why(restore, report)
    conditions = [
        Condition(ConditionType.READY, ConditionStatus.FALSE, reason, message),
        Condition(ConditionType.COMPLETE, ConditionStatus.FALSE, reason, message),
    ]
    if needs_a_person(reason):
        conditions += [
            Condition(ConditionType.FAILED, ConditionStatus.TRUE, reason, message),
            Condition(ConditionType.STALLED, ConditionStatus.TRUE, reason, message),
        ]
    elif reason is not Reason.SUSPENDED:
        conditions.append(
            Condition(ConditionType.RECONCILING, ConditionStatus.TRUE, reason, message)
        )
    return tuple(conditions)


def _why(restore: Restore, report: Report) -> tuple[Reason, str]:
    """Say what is in the way of a restore, or that it is under way."""
    intent = intent_of(restore)
    if (began := report.progress.running.get(intent)) is not None:
        return Reason.ALREADY_RUNNING, f"it is being restored, since {began:%Y-%m-%d %H:%M:%S} UTC"
    attempt = report.progress.ended.get(intent)
    if attempt is not None and not attempt.succeeded:
        return reason_of(attempt.reason, Reason.INTERNAL_ERROR), attempt.why
    for held in report.plan.held:
        if held.subject == subject_of(restore):
            return held.reason, held.why
    return _planned(restore, report.plan)


def _planned(restore: Restore, plan: Plan) -> tuple[Reason, str]:
    for action in plan.actions:
        match action:
            case CleanRestore() if action.restore == restore.id:
                return action.reason, "what an interrupted try left is removed first"
            case RestoreVm() if action.restore == restore.id:
                return (
                    Reason.WAITING_FOR_LIMIT,
                    f"{action.stamp} on {action.remote} is restored next",
                )
            case _:
                pass
    return Reason.WAITING_FOR_OBSERVATION, "what was done is not seen yet"
