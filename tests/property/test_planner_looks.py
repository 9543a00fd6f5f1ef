"""Looks that found nothing new: the plan stands, and so does all that was worked out of it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import situations

from reconciler.desired.state import Desired
from reconciler.ids import SrUuid, VmUuid
from reconciler.observed.chain import History
from reconciler.observed.looks import found_nothing_new
from reconciler.observed.pool import PoolView
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import Sr
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.planner import plan
from reconciler.status.protected import protections
from reconciler.status.report import Report

Situation = tuple[Desired, Observed, datetime]


@settings(deadline=None)
@given(situations(), st.floats(0, 1))
def test_looks_that_found_nothing_new_change_no_plan_and_no_standing(
    situation: Situation, share: float
) -> None:
    desired, seen, now = situation
    observed = replace(seen, progress=replace(seen.progress, touched={}))
    report = Report(desired, observed, plan(desired, observed, now), now)
    wake_at = report.plan.wake_at or now + timedelta(days=1000)
    at = now + (wake_at - timedelta.resolution - now) * share
    again = looked_at_again(observed, at)
    assert found_nothing_new(observed, again)
    assert plan(desired, again, at) == report.plan
    assert report.standings is report.renewed(again, at).standings
    afresh = Report(desired, again, report.plan, at)
    assert afresh.standings == report.standings
    assert afresh.holdings == report.holdings
    assert list(protections(afresh)) == list(protections(report.renewed(again, at)))


def looked_at_again(observed: Observed, at: datetime) -> Observed:
    """Return the same world, seen at another instant and fuller."""
    return Observed(
        pools={
            name: replace(view, as_of=at, srs=fuller(view.srs))
            if isinstance(view, PoolView)
            else view
            for name, view in observed.pools.items()
        },
        remotes={
            name: replace(view, as_of=at, free_bytes=1, histories=read_at(view.histories, at))
            if isinstance(view, RemoteView)
            else view
            for name, view in observed.remotes.items()
        },
        progress=observed.progress,
    )


def fuller(srs: Mapping[SrUuid, Sr]) -> dict[SrUuid, Sr]:
    return {uuid: replace(sr, free_bytes=1, coalesce_backlog=1) for uuid, sr in srs.items()}


def read_at(
    histories: Mapping[VmUuid, History | Unknown], at: datetime
) -> dict[VmUuid, History | Unknown]:
    return {
        vm: replace(each, as_of=at) if isinstance(each, History) else each
        for vm, each in histories.items()
    }
