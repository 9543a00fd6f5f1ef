"""Health: a loop that waits is alive, one that is stuck is not; ready is who has looked once."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from scenes import job, wanting

from reconciler.ids import PoolName, RemoteName
from reconciler.loop import Pulse
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.plan import Plan
from reconciler.status.report import Report
from reconciler.web.health import alive, ready

NOW = datetime(2026, 8, 21, 2, tzinfo=UTC)
UNSEEN = Unknown(NOW, "PoolUnreachable", "no answer")


@pytest.mark.parametrize(
    ("pulse", "ok"),
    [
        (None, True),  # nothing is to run here
        (Pulse(0.0, 0.0), True),  # it waits, for ever if need be
        (Pulse(119.0, 0.1), True),
        (Pulse(121.0, 0.1), False),
        (Pulse(599.0, 60.0), True),  # planning takes a minute here
        (Pulse(601.0, 60.0), False),
    ],
)
def test_a_tick_may_take_its_time_but_not_for_ever(pulse: Pulse | None, ok: bool) -> None:
    health = alive(pulse)
    assert health.ok is ok
    assert ok or "at work for" in health.checks[0].why


def test_everything_is_looked_at_once_seen_or_not() -> None:
    desired = wanting(job(remotes=(RemoteName("nas"), RemoteName("cellar"))))
    report = Report(desired, Observed(remotes={RemoteName("nas"): UNSEEN}), Plan(), NOW)
    found = ready(report)
    assert not found.ok
    assert {each.name: each.ok for each in found.checks} == {
        "manifests": True,
        "pool east": False,
        "remote cellar": False,
        "remote nas": True,
    }
    whole = Observed(
        pools={PoolName("east"): UNSEEN},
        remotes={RemoteName("nas"): UNSEEN, RemoteName("cellar"): UNSEEN},
    )
    assert ready(replace(report, observed=whole)).ok


def test_before_the_manifests_are_read_nobody_is_ready() -> None:
    found = ready(None)
    assert not found.ok
    said = json.loads(found.as_json())
    assert said == {
        "ok": False,
        "checks": [{"name": "manifests", "ok": False, "why": "not read yet"}],
    }
