"""What has to change in an object's status: nothing, as long as the truth does not."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from reconciler.desired.problems import Problem
from reconciler.kube.publish import patch_of
from reconciler.kube.shelf import Read
from reconciler.plan.reasons import Reason
from reconciler.status.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    invalid_conditions,
    unseen_conditions,
)
from reconciler.status.objects import ObjectStatus

WRONG = (Problem("a", 0, 0, "no"),)
NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
LATER = datetime(2026, 1, 5, 3, tzinfo=UTC)
READ = Read(4, {})
READY = Condition(ConditionType.READY, ConditionStatus.TRUE, Reason.IN_SYNC, "12/12")
GOOD = ObjectStatus((READY,), {"summary": {"a": 1, "b": None}, "free": "1Gi", "gone": None})


def merged(has: Any, patch: Any) -> Any:
    """RFC 7386, as the server does it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(has) if isinstance(has, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def written(
    make_object, status: ObjectStatus, has: dict[str, Any] | None = None, read: Read = READ
) -> dict[str, Any]:
    raw = make_object("BackupJob", "nightly", status=has or {})
    return merged(has or {}, patch_of(raw, read, status, NOW))


def test_a_second_look_has_nothing_to_write(make_object) -> None:
    has = written(make_object, GOOD)
    assert has == {
        "observedGeneration": 4,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "InSync",
                "message": "12/12",
                "observedGeneration": 4,
                "lastTransitionTime": "2026-01-05T02:00:00Z",
            }
        ],
        "summary": {"a": 1},
        "free": "1Gi",
    }
    assert patch_of(make_object("BackupJob", "nightly", status=has), READ, GOOD, LATER) == {}


def test_an_instant_moves_only_when_the_status_turns(make_object) -> None:
    has = written(make_object, GOOD)
    raw = make_object("BackupJob", "nightly", status=has)
    more = replace(GOOD, conditions=(replace(READY, message="11/12"),))
    (same,) = patch_of(raw, READ, more, LATER)["conditions"]
    assert (same["message"], same["lastTransitionTime"]) == ("11/12", "2026-01-05T02:00:00Z")
    bad = replace(GOOD, conditions=invalid_conditions(WRONG))
    turned, _ = patch_of(raw, READ, bad, LATER)["conditions"]
    assert turned["lastTransitionTime"] == "2026-01-05T03:00:00Z"


def test_what_is_not_said_any_more_is_taken_away(make_object) -> None:
    has = written(make_object, GOOD) | {"gone": 7, "theirs": 8}
    raw = make_object("BackupJob", "nightly", status=has)
    fewer = replace(GOOD, fields={"summary": {"c": 2}, "free": "1Gi", "gone": None})
    patch = patch_of(raw, READ, fewer, LATER)
    assert patch == {"summary": {"a": None, "c": 2}, "gone": None}
    assert merged(has, patch)["theirs"] == 8


def test_what_others_use_of_a_disk_is_no_news_until_it_is_much(make_object) -> None:
    raw = make_object("BackupRemote", "cellar", status=written(make_object, GOOD))
    free = {
        size: replace(GOOD, fields={**GOOD.fields, "free": size}) for size in ("1.0Gi", "930Mi")
    }
    assert patch_of(raw, READ, free["1.0Gi"], LATER) == {}
    assert patch_of(raw, READ, free["930Mi"], LATER) == {}
    assert patch_of(raw, READ, replace(GOOD, fields={**GOOD.fields, "free": "900Mi"}), LATER) == {
        "free": "900Mi"
    }


def test_conditions_of_others_are_left_as_they_are(make_object) -> None:
    theirs = {"type": "Approved", "status": "True"}
    has = written(make_object, GOOD, {"conditions": [theirs]})
    assert has["conditions"][-1] == theirs


def test_a_condition_that_is_not_true_any_more_goes(make_object) -> None:
    has = written(make_object, ObjectStatus(invalid_conditions(WRONG)))
    assert [each["type"] for each in has["conditions"]] == ["Ready", "Stalled"]
    has = written(make_object, GOOD, has)
    assert [each["type"] for each in has["conditions"]] == ["Ready"]


def test_before_everything_was_looked_at_what_was_said_stays(make_object) -> None:
    unseen = ObjectStatus(unseen_conditions("the pool", None), looked_at=False)
    first = written(make_object, unseen)
    assert [each["status"] for each in first["conditions"]] == ["Unknown", "True"]
    has = written(make_object, GOOD)
    assert patch_of(make_object("BackupJob", "nightly", status=has), READ, unseen, LATER) == {}


def test_a_new_generation_is_answered(make_object) -> None:
    has = written(make_object, GOOD)
    raw = make_object("BackupJob", "nightly", status=has)
    patch = patch_of(raw, Read(5, {}), GOOD, LATER)
    assert patch["observedGeneration"] == 5
    assert patch["conditions"][0]["lastTransitionTime"] == "2026-01-05T02:00:00Z"


def test_requests_are_echoed_unless_they_are_not_understood(make_object) -> None:
    read = Read(4, {"backup.reconciler.io/run-at": "2026-01-05T02:00:00Z"})
    assert written(make_object, GOOD, read=read)["lastHandledRunAt"] == "2026-01-05T02:00:00Z"
    stalled = ObjectStatus(invalid_conditions(WRONG))
    assert "lastHandledRunAt" not in written(make_object, stalled, read=read)
