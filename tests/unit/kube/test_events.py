"""Which turns of conditions are told, and how."""

from datetime import UTC, datetime

import pytest

from reconciler.desired.document import Identity
from reconciler.kube.events import event_of, is_told
from reconciler.kube.publish import Turned
from reconciler.plan.reasons import Reason
from reconciler.status.conditions import Condition, ConditionStatus, ConditionType

READY, STALLED, RPO = ConditionType.READY, ConditionType.STALLED, ConditionType.RPO_MET
YES, NO = ConditionStatus.TRUE, ConditionStatus.FALSE


def turned(make_object, kind: ConditionType, status: ConditionStatus, before: str | None) -> Turned:
    condition = Condition(kind, status, Reason.IN_SYNC, "ä" * 2000)
    raw = make_object("BackupJob", "nightly", 7)
    known = None if before is None else {"type": kind.value, "status": before, "reason": "Other"}
    return Turned(Identity("BackupJob", "default", "nightly"), raw, known, condition)


@pytest.mark.parametrize(
    ("kind", "status", "before", "told"),
    [
        (READY, YES, None, True),
        (READY, NO, "True", True),
        (STALLED, YES, None, True),
        (RPO, NO, "True", True),
        (RPO, YES, "False", True),
        (RPO, YES, None, False),
        (RPO, YES, "Unknown", False),
        (ConditionType.RECONCILING, YES, None, False),
        (ConditionType.CHAINS_HEALTHY, NO, "True", False),
    ],
)
def test_only_what_matters_is_told(make_object, kind, status, before, told) -> None:
    assert is_told(turned(make_object, kind, status, before)) is told


def test_an_event_fits_and_names_its_object(make_object) -> None:
    event = event_of(turned(make_object, RPO, NO, "True"), datetime(2026, 1, 5, tzinfo=UTC), "me")
    assert len(event["message"].encode()) <= 1024
    assert event["type"] == "Warning"
    assert event["involvedObject"]["name"] == "nightly"
    assert event["involvedObject"]["uid"]
    assert event["firstTimestamp"] == "2026-01-05T00:00:00Z"


def test_two_events_have_two_names(make_object) -> None:
    one = turned(make_object, READY, YES, None)
    now = datetime(2026, 1, 5, tzinfo=UTC)
    assert event_of(one, now, "")["metadata"]["name"] != event_of(one, now, "")["metadata"]["name"]
