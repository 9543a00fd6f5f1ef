"""What the status of a BackupRun says, from what is noted of a run. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.executor.records import Try
from reconciler.executor.run_pictures import RunPicture
from reconciler.plan.reasons import Reason, reason_of
from reconciler.status.conditions import Condition, ConditionStatus, ConditionType
from reconciler.status.runs import RunState

OPEN = frozenset({RunState.PENDING, RunState.RUNNING})
BAD = frozenset(
    {
        RunState.FAILED,
        RunState.PARTIALLY_FAILED,
        RunState.TIMED_OUT,
        RunState.CANCELLED,
        RunState.INTERRUPTED,
    }
)
_RESULTS_MAX = 50  # told one by one: those that did not succeed first
_REASONS = {
    RunState.PENDING: Reason.WAITING_FOR_LIMIT,
    RunState.RUNNING: Reason.ALREADY_RUNNING,
    RunState.SUCCEEDED: Reason.IN_SYNC,
    RunState.CANCELLED: Reason.RUN_CANCELLED,
    RunState.TIMED_OUT: Reason.TIMED_OUT,
    RunState.INTERRUPTED: Reason.INTERRUPTED,
    RunState.SKIPPED: Reason.SUSPENDED,
    RunState.MISSED: Reason.CATCH_UP,
}


def status_of(picture: RunPicture) -> tuple[tuple[Condition, ...], dict[str, Any]]:
    """Return the conditions, and the fields beside them."""
    row, tries = picture.row, picture.tries
    begun = min((each.started_at for each in tries), default=None)
    made = {
        each.vm for each in tries if each.outcome == "Succeeded" and each.verb not in ("snapshot",)
    }
    fields: dict[str, Any] = {
        "state": row.state.value,
        "startTime": _time(begun),
        "completionTime": _time(row.closed_at),
        "vms": {"summary": f"{len(made)}/{row.vms}", "matched": row.vms, "done": len(made)},
        "results": [_result(each) for each in sorted(tries, key=_how_bad)[:_RESULTS_MAX]],
    }
    return conditions_of(row.state, row.why, _reason(picture)), fields


def conditions_of(
    state: RunState, why: str = "", reason: Reason | None = None
) -> tuple[Condition, ...]:
    """Return the conditions of a run: Ready, and Complete or Failed once it is over."""
    code = reason or _REASONS.get(state, Reason.INTERNAL_ERROR)
    message = f"{state.value}: {why}" if why else state.value

    def say(kind: ConditionType, status: ConditionStatus) -> Condition:
        return Condition(kind, status, code, message)

    yes, no = ConditionStatus.TRUE, ConditionStatus.FALSE
    if state in OPEN:
        return (
            say(ConditionType.READY, no),
            say(ConditionType.COMPLETE, no),
            say(ConditionType.RECONCILING, yes),
        )
    if state in BAD:
        return (
            say(ConditionType.READY, no),
            say(ConditionType.COMPLETE, no),
            say(ConditionType.FAILED, yes),
            say(ConditionType.STALLED, yes),
        )
    return (
        say(ConditionType.READY, yes),
        say(ConditionType.COMPLETE, yes),
        say(ConditionType.FAILED, no),
    )


def _reason(picture: RunPicture) -> Reason | None:
    """Of a run that failed, the reason of a try that did."""
    if picture.row.state not in (RunState.FAILED, RunState.PARTIALLY_FAILED):
        return None
    codes = [each.outcome_reason for each in picture.tries if each.outcome_reason]
    return reason_of(codes[0], Reason.INTERNAL_ERROR) if codes else Reason.INTERNAL_ERROR


def _how_bad(each: Try) -> tuple[bool, bool, str, str, str]:
    """Sorts what failed first, then what goes on."""
    done = each.outcome == "Succeeded"
    return done, each.ended_at is not None, each.vm_name, each.verb, each.place


def _result(each: Try) -> Mapping[str, Any]:
    said = {
        "vm": each.vm,
        "vmName": each.vm_name,
        "action": each.verb,
        "destination": each.place,
        "outcome": each.outcome,
        "startTime": _time(each.started_at),
        "completionTime": _time(each.ended_at),
        "bytes": each.bytes if each.ended_at is not None else None,
        "reason": each.outcome_reason,
        "message": each.why,
    }
    return {key: value for key, value in said.items() if value not in (None, "")}


def _time(at: datetime | None) -> str | None:
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
