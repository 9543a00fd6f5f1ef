"""The seven laws of the planner, on generated worlds."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from effects import apply
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from safety import check_is_safe, histories, prunes_in, whole_points
from strategies import crowded, retentions, situations

from reconciler.desired.retention import Retention
from reconciler.desired.state import Approval, Desired, Job, JobMode, PruneGuard
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.plan.actions import (
    CleanSnapshot,
    Merge,
    Prune,
    PruneReplica,
    Sending,
    id_of,
)
from reconciler.plan.claims import claims_of, sr_place
from reconciler.plan.planner import plan
from reconciler.plan.reasons import Reason
from reconciler.plan.retention import Deletion

ROUNDS_MAX = 30  # a merge at a time: as many as a chain here has files, and a few
Situation = tuple[Desired, Observed, datetime]


# ── 1. deterministic ──────────────────────────────────────────────────────────────────────────────

K = TypeVar("K")
V = TypeVar("V")


def backwards(mapping: Mapping[K, V]) -> dict[K, V]:
    return dict(reversed(list(mapping.items())))


def turned_around(observed: Observed) -> Observed:
    """Return an equal world whose mappings are in another order."""

    def pool(view: Any) -> Any:
        if not isinstance(view, PoolView):
            return view
        return replace(view, vms=backwards(view.vms), srs=backwards(view.srs))

    def history(view: Any) -> Any:
        return replace(view, files=backwards(view.files)) if isinstance(view, History) else view

    def remote(view: Any) -> Any:
        if not isinstance(view, RemoteView):
            return view
        turned = {vm: history(each) for vm, each in view.histories.items()}
        return replace(view, histories=backwards(turned))

    return replace(
        observed,
        pools=backwards({name: pool(view) for name, view in observed.pools.items()}),
        remotes=backwards({name: remote(view) for name, view in observed.remotes.items()}),
    )


@settings(deadline=None)
@given(situations())
def test_equal_inputs_give_an_equal_plan(situation: Situation) -> None:
    desired, observed, now = situation
    turned = replace(
        desired,
        pools=backwards(desired.pools),
        remotes=backwards(desired.remotes),
        jobs=backwards(desired.jobs),
    )
    assert plan(turned, turned_around(observed), now) == plan(desired, observed, now)


@settings(deadline=None)
@given(situations())
def test_no_action_is_planned_twice(situation: Situation) -> None:
    planned = plan(*situation)
    ids = [id_of(action) for action in planned.actions]
    assert len(ids) == len(set(ids))


# ── 2. convergent, 3. safe ────────────────────────────────────────────────────────────────────────


@settings(deadline=None)
@given(st.one_of(situations(), situations(), crowded()))
def test_doing_what_is_planned_ends_in_sync_and_harms_nothing(situation: Situation) -> None:
    desired, observed, now = situation
    for round_ in range(ROUNDS_MAX):
        planned = plan(desired, observed, now)
        if not planned.actions:
            event(f"in sync after {round_} rounds")
            return
        for action in planned.actions:
            event(f"{type(action).__name__} {action.reason}")
            check_is_safe(action, desired, observed, now)
            before = whole_points(observed)
            if isinstance(action, Merge) and action.reason is Reason.MERGE_INTERRUPTED:
                before = set()  # what a begun merge did to points in its directory is not modelled
            observed = apply(action, observed, now)
            lost = before - whole_points(observed)
            assert lost <= prunes_in((action,)), f"{action} broke {lost}"
    raise AssertionError(f"still not in sync: {planned.sentence} {planned.actions}")


@settings(deadline=None)
@given(situations())
def test_nothing_is_pruned_where_a_point_is_owed(situation: Situation) -> None:
    desired, observed, now = situation
    planned = plan(desired, observed, now)
    pruned = {
        (each.job, place, each.vm)
        for each in planned.actions
        if isinstance(each, Prune | PruneReplica)
        for place, _ in claims_of(each).places
    }
    sent = {
        (each.job, place, each.vm)
        for each in planned.actions
        if isinstance(each, Sending)
        for place, _ in claims_of(each).places
    }
    assert not pruned & sent


# ── 4. monotone ───────────────────────────────────────────────────────────────────────────────────


@settings(deadline=None)
@given(st.one_of(situations(), crowded()), retentions(), st.data())
def test_one_more_keep_rule_never_deletes_more(
    situation: Situation, more: Retention, data: st.DataObject
) -> None:
    desired, observed, now = situation
    free = PruneGuard(percent_max=100, points_max=10**9)
    jobs = {name: replace(job, guard=free) for name, job in desired.jobs.items()}
    name = data.draw(st.sampled_from(sorted(jobs)))
    assume(jobs[name].schedules)
    chosen = data.draw(st.sampled_from(jobs[name].schedules))
    old = chosen.retention
    assume(not old.keeps_everything)
    new = replace(
        old,
        last=old.last + more.last,
        hourly=old.hourly + more.hourly,
        daily=old.daily + more.daily,
        weekly=old.weekly + more.weekly,
        within=max((each for each in (old.within, more.within) if each is not None), default=None),
    )
    relaxed = replace(
        jobs[name],
        schedules=tuple(
            replace(each, retention=new) if each is chosen else each
            for each in jobs[name].schedules
        ),
    )
    before = plan(replace(desired, jobs=jobs), observed, now)
    after = plan(replace(desired, jobs={**jobs, name: relaxed}), observed, now)
    assert prunes_in(after.actions) <= prunes_in(before.actions)


# ── 5. sleep is honest ────────────────────────────────────────────────────────────────────────────


@settings(deadline=None)
@given(situations(), st.lists(st.floats(0, 1), max_size=3))
def test_the_plan_stays_the_same_until_it_said_it_would_not(
    situation: Situation, shares: list[float]
) -> None:
    desired, observed, now = situation
    planned = plan(desired, observed, now)
    if planned.wake_at is None:
        later = now + timedelta(days=1000)
    else:
        assert planned.wake_at > now
        later = planned.wake_at - timedelta.resolution
    for instant in [later, *(now + (later - now) * share for share in shares)]:
        assert plan(desired, observed, instant) == planned


# ── 7. guarded (6. is in test_planner_admission.py) ───────────────────────────────────────────────


@settings(deadline=None)
@given(st.one_of(situations(), crowded()))
def test_a_plan_over_the_thresholds_contains_no_deletion(situation: Situation) -> None:
    desired, observed, now = situation
    planned = plan(desired, observed, now)
    for job in desired.jobs.values():
        mine = [each for each in planned.actions if isinstance(each, Deletion) and is_of(each, job)]
        free = max(1, len(job.schedules))
        excess_of_job = 0
        for place in {place_of(each) for each in mine}:
            here = [each for each in mine if place_of(each) == place]
            excess = sum(
                max(0, sum(each.vm == vm for each in here) - free) for vm in {e.vm for e in here}
            )
            excess_of_job += excess
            points = points_at(place, job, observed)
            assert len(here) <= points
            assert excess * 100 <= job.guard.percent_max * points
        assert excess_of_job <= job.guard.points_max


def is_of(action: Deletion, job: Job) -> bool:
    return action.job == job.name and action.destructive


def place_of(action: Deletion) -> str:
    match action:
        case Prune():
            return action.remote
        case PruneReplica():
            return sr_place(action.target_pool, action.sr, action.vm).name
        case CleanSnapshot():
            return f"pool {action.pool}"


def points_at(place: str, job: Job, observed: Observed) -> int:
    """Count the points of a job on a remote, on an SR, or on a pool."""
    on_remotes = sum(
        point.job == job.id
        for (name, _), history in histories(observed).items()
        if name == place
        for point in history.points
    )
    views = [view for view in observed.pools.values() if isinstance(view, PoolView)]
    on_srs = sum(
        each.job == job.id and sr_place(view.name, each.sr, each.vm).name == place
        for view in views
        for each in view.replicas
    )
    on_pools = sum(
        snapshot.marks is not None
        and snapshot.marks.job == job.id
        and (snapshot.marks.rolling or job.mode is JobMode.SNAPSHOT)
        for view in views
        if f"pool {view.name}" == place
        for vm in view.vms.values()
        for snapshot in vm.snapshots
    )
    return on_remotes + on_srs + on_pools


@settings(deadline=None)
@given(crowded(), st.randoms(use_true_random=False))
def test_an_approval_holds_until_all_of_it_is_done_and_for_nothing_else(
    situation: Situation, random: Any
) -> None:
    desired, observed, now = situation
    planned = plan(desired, observed, now)
    blocked = {
        id_of(held.action)
        for held in planned.held
        if held.reason is Reason.MASS_DELETION_BLOCKED and held.action is not None
    }
    event("blocked" if blocked else "not blocked")
    assert bool(blocked) == bool(planned.deletions)
    wrong = replace(desired, approvals=(Approval("0" * 16),))
    assert plan(wrong, observed, now) == planned
    approved = replace(desired, approvals=(Approval(planned.deletions),))
    while blocked:
        going = [each for each in plan(approved, observed, now).actions if each.destructive]
        assert blocked <= {id_of(action) for action in going}
        action = random.choice([a for a in going if id_of(a) in blocked])
        observed = apply(action, observed, now)
        blocked.remove(id_of(action))
