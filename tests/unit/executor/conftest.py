"""An action to judge, to measure and to write down."""

from datetime import UTC, datetime

import pytest

from reconciler.ids import RemoteName, Stamp, VmUuid
from reconciler.plan.actions import Prune
from reconciler.plan.reasons import Reason


@pytest.fixture
def action() -> Prune:
    return Prune(
        remote=RemoteName("cellar"),
        vm=VmUuid("11111111-1111-4111-8111-111111111111"),
        vm_name="web'; drop table tries; --",
        job=None,
        stamp=Stamp("20260101T020000Z"),
        freed_bytes=0,
        due=datetime(2026, 1, 5, 2, tzinfo=UTC),
        reason=Reason.RETENTION_EXCEEDED,
    )
