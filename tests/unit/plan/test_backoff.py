"""Waits double, have an end, and are spread the same way each time."""

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.ids import ActionId
from reconciler.plan.backoff import FIRST, LONGEST, not_before

NOW = datetime(2026, 8, 21, 2, tzinfo=UTC)
ACTION = ActionId("export-1")


def wait(failures: int, action: ActionId = ACTION) -> timedelta:
    return not_before(action, failures, NOW) - NOW


@pytest.mark.parametrize("failures", range(1, 40))
def test_a_wait_is_near_its_doubled_value(failures: int) -> None:
    middle = min(FIRST * 2 ** (failures - 1), LONGEST)
    assert middle * 0.75 <= wait(failures) <= middle * 1.25


def test_the_same_failure_waits_the_same() -> None:
    assert wait(3) == wait(3)


def test_actions_that_failed_together_come_back_apart() -> None:
    waits = {wait(1, ActionId(f"export-{number}")) for number in range(100)}
    assert len(waits) == 100
    assert max(waits) - min(waits) > FIRST * 0.4


def test_a_million_failures_are_no_overflow() -> None:
    assert wait(10**6) <= LONGEST * 1.25
