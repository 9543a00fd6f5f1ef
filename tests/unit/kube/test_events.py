"""What of a status is news, and how it is told."""

from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.kube.events import News, event_of, news_of
from reconciler.plan.reasons import Reason
from reconciler.status.conditions import Condition, ConditionStatus, ConditionType
from reconciler.status.objects import ObjectStatus

READY, STALLED, RPO = ConditionType.READY, ConditionType.STALLED, ConditionType.RPO_MET
YES, NO = ConditionStatus.TRUE, ConditionStatus.FALSE
NOW = datetime(2026, 1, 5, tzinfo=UTC)


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
def test_only_turns_of_what_matters_are_told(make_object, kind, status, before, told) -> None:
    had = [] if before is None else [{"type": kind.value, "status": before, "reason": "InSync"}]
    raw = make_object("BackupJob", "nightly", status={"conditions": had})
    condition = Condition(kind, status, Reason.IN_SYNC, "why")
    assert len(list(news_of(raw, ObjectStatus((condition,))))) == told


def test_another_reason_is_news_and_another_message_is_not(make_object) -> None:
    had = {"type": "Ready", "status": "False", "reason": "PoolUnreachable", "message": "a"}
    raw = make_object("BackupJob", "nightly", status={"conditions": [had]})
    same = Condition(READY, NO, Reason.POOL_UNREACHABLE, "b")
    other = Condition(READY, NO, Reason.CREDENTIALS_INVALID, "c")
    assert list(news_of(raw, ObjectStatus((same,)))) == []
    (news,) = news_of(raw, ObjectStatus((other,)))
    assert (news.reason, news.message, news.is_bad) == ("CredentialsInvalid", "c", True)


@pytest.mark.parametrize(
    ("state", "is_bad"), [("Succeeded", False), ("PartiallyFailed", True), ("Missed", True)]
)
def test_the_end_of_a_run_is_told_once(make_object, state: str, is_bad: bool) -> None:
    run: dict[str, Any] = {
        "name": "nightly/20260105T020000Z",
        "state": state,
        "message": "so it is",
    }
    status = ObjectStatus((), {"lastRun": run})
    (news,) = news_of(make_object("BackupJob", "nightly"), status)
    assert (news.reason, news.is_bad) == (f"Run{state}", is_bad)
    assert news.message == "run nightly/20260105T020000Z: so it is"
    assert list(news_of(make_object("BackupJob", "nightly", status={"lastRun": run}), status)) == []


def test_an_event_fits_and_names_its_object(make_object) -> None:
    raw = make_object("BackupJob", "nightly", 7)
    event = event_of(News(raw, "InSync", "ä" * 2000, is_bad=True), NOW, "me")
    assert len(event["message"].encode()) <= 1024
    assert event["type"] == "Warning"
    assert event["involvedObject"]["name"] == "nightly"
    assert event["involvedObject"]["uid"]
    assert event["firstTimestamp"] == "2026-01-05T00:00:00Z"


def test_two_events_have_two_names(make_object) -> None:
    news = News(make_object("BackupJob", "nightly"), "InSync", "", is_bad=False)
    assert (
        event_of(news, NOW, "")["metadata"]["name"] != event_of(news, NOW, "")["metadata"]["name"]
    )
