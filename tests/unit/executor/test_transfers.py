"""Gauges: what is moving, for whoever draws it."""

from datetime import UTC, datetime

from reconciler.executor.transfers import Transfers
from reconciler.ids import RemoteName, Stamp, VmUuid
from reconciler.plan.actions import Prune
from reconciler.plan.reasons import Reason

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
ACTION = Prune(
    remote=RemoteName("cellar"),
    vm=VmUuid("11111111-1111-4111-8111-111111111111"),
    vm_name="web",
    job=None,
    stamp=Stamp("20260101T020000Z"),
    freed_bytes=0,
    due=NOW,
    reason=Reason.RETENTION_EXCEEDED,
)


def test_a_gauge_counts_and_goes_away() -> None:
    transfers = Transfers()
    gauge = transfers.begin(ACTION, NOW)
    gauge.advance(5)
    assert transfers.read()[0].total_bytes == 0, "the total is not known yet"
    gauge.expect(10)
    gauge.advance(3)
    (transfer,) = transfers.read()
    assert (transfer.done_bytes, transfer.total_bytes) == (8, 10)
    transfers.end(ACTION)
    assert transfers.read() == ()


def test_more_than_was_expected_is_never_more_than_all() -> None:
    gauge = Transfers().begin(ACTION, NOW)
    gauge.expect(4)
    gauge.advance(9)
    assert gauge.read().total_bytes == 9
