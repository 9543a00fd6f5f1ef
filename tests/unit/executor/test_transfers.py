"""Gauges: what is moving, for whoever draws it."""

from datetime import UTC, datetime

from reconciler.executor.transfers import Transfers
from reconciler.plan.actions import Prune

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)


def test_a_gauge_counts_and_goes_away(action: Prune) -> None:
    transfers = Transfers()
    gauge = transfers.begin(action, NOW)
    gauge.advance(5)
    assert transfers.read()[0].total_bytes == 0, "the total is not known yet"
    gauge.expect(10)
    gauge.advance(3)
    (transfer,) = transfers.read()
    assert (transfer.done_bytes, transfer.total_bytes) == (8, 10)
    assert transfers.end(action) == transfer
    assert transfers.read() == ()


def test_more_than_was_expected_is_never_more_than_all(action: Prune) -> None:
    gauge = Transfers().begin(action, NOW)
    gauge.expect(4)
    gauge.advance(9)
    assert gauge.read().total_bytes == 9
