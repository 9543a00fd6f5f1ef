"""The seven laws of the planner, on generated worlds."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from strategies import crowded, retentions, situations
from worlds import apply

from reconciler.desired.retention import Retention
from reconciler.desired.state import Approval, Desired, PruneGuard
from reconciler.ids import DiskSnapshotUuid, JobId, RemoteName, Stamp, VmUuid
from reconciler.observed.chain import Chains, History
from reconciler.observed.pool import PoolView
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.plan.actions import (
    Action,
    CleanFiles,
    CleanSnapshot,
    Export,
    Merge,
    Prune,
    Snapshot,
    id_of,
)
from reconciler.plan.planner import plan
from reconciler.plan.reasons import Reason

ROUNDS_MAX = 30  # a merge at a time: as many as a chain here has files, and a few
Situation = tuple[Desired, Observed, datetime]

PointName = tuple[RemoteName, VmUuid, Stamp]


def histories(observed: Observed) -> dict[tuple[RemoteName, VmUuid], History]:
    return {
        (remote, vm): history
        for remote, view in observed.remotes.items()
        if isinstance(view, RemoteView)
        for vm, history in view.histories.items()
        if isinstance(history, History)
    }


def whole_points(observed: Observed) -> set[PointName]:
    """Name the points whose every disk can be followed to a full, begun merges aside."""
    found = set()
    for (remote, vm), history in histories(observed).items():
        chains = Chains(history.files)
        merging = {merge.source.rpartition("/")[0] for merge in history.merges}
        for point in history.points:
            if chains.is_whole(point) and not any(
                disk.path.rpartition("/")[0] in merging for disk in point.disks
            ):
                found.add((remote, vm, point.stamp))
    return found


def prunes_in(actions: tuple[Action, ...]) -> set[PointName]:
    return {(each.remote, each.vm, each.stamp) for each in actions if isinstance(each, Prune)}


# ── 1. deterministic ──────────────────────────────────────────────────────────────────────────────

K = TypeVar("K")
V = TypeVar("V")


def backwards(mapping: Mapping[K, V]) -> dict[K, V]:
    return dict(reversed(list(mapping.items())))


def turned_around(observed: Observed) -> Observed:
    """Return an equal world whose mappings are in another order."""

    def pool(view: Any) -> Any:
        return replace(view, vms=backwards(view.vms)) if isinstance(view, PoolView) else view

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


@settings(max_examples=200, deadline=None)
@given(situations())
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


def check_is_safe(action: Action, desired: Desired, observed: Observed, now: datetime) -> None:
    """Assert what must hold of an action when it begins, whatever was planned beside it."""
    match action:
        case Prune():
            check_prune(action, desired, observed, now)
        case CleanFiles():
            history = changeable(action.remote, action.vm, desired, observed)
            named = {disk.path for point in history.points for disk in point.disks}
            assert not named & set(action.paths)
            if action.reason is not Reason.PARTIAL_UPLOAD:
                assert not history.unreadable
                for path in action.paths:
                    assert path.split("/")[1] in {job.id for job in desired.jobs.values()}
        case Merge():
            history = changeable(action.remote, action.vm, desired, observed)
            named = {disk.path for point in history.points for disk in point.disks}
            if action.reason is not Reason.MERGE_INTERRUPTED:
                assert not history.unreadable
                assert action.target not in named
        case Export():
            history = changeable(action.remote, action.vm, desired, observed)
            assert all(
                point.stamp < action.stamp for point in history.points if point.job == action.job_id
            )
        case CleanSnapshot():
            check_clean_snapshot(action, desired, observed)
        case Snapshot():
            assert not desired.jobs[action.job].suspend
        case _:
            raise AssertionError(f"nobody asked for {action}")


def changeable(remote: RemoteName, vm: VmUuid, desired: Desired, observed: Observed) -> History:
    """Return the history of a VM on a remote that may be changed at all."""
    assert not desired.remotes[remote].read_only
    assert not desired.remotes[remote].suspend
    view = observed.remotes[remote]
    assert isinstance(view, RemoteView)
    history = view.histories.get(vm, History(vm, view.as_of))
    assert isinstance(history, History), "an unknown history was touched"
    assert not history.locked_by_others
    return history


def check_prune(action: Prune, desired: Desired, observed: Observed, now: datetime) -> None:
    history = changeable(action.remote, action.vm, desired, observed)
    assert action.job is not None
    job = desired.jobs[action.job]
    assert not job.suspend
    assert job.id not in desired.protected_jobs
    assert not history.unreadable
    assert not history.merges
    chains = Chains(history.files)
    good = [point for point in history.points if point.job == job.id and chains.is_whole(point)]
    stays = [point for point in good if point.stamp != action.stamp]
    assert len(stays) == len(good) - 1, "a point that is not whole was pruned"
    assert len(stays) >= job.guard.good_min
    (point,) = (each for each in good if each.stamp == action.stamp)
    known = [schedule for schedule in job.schedules if schedule.id in point.schedules]
    assert known, "a point of no schedule was pruned"
    for schedule in known:
        assert not schedule.suspend
        counted = [each for each in good if schedule.id in each.schedules]
        kept = schedule.retention.keep([each.taken_at for each in counted], now)
        assert counted.index(point) not in kept, "a point that a rule keeps was pruned"


def check_clean_snapshot(action: CleanSnapshot, desired: Desired, observed: Observed) -> None:
    view = observed.pools[action.pool]
    assert isinstance(view, PoolView)
    if action.snapshot is None:
        return
    if action.snapshot in {stray.uuid for stray in view.strays}:
        check_clean_stray(action, view, desired, observed)
        return
    assert action.vm is not None
    (snapshot,) = (s for s in view.vms[action.vm].snapshots if s.uuid == action.snapshot)
    if snapshot.marks is None:
        assert action.reason is Reason.SNAPSHOT_ORPHANED
        return
    assert snapshot.marks.vm == action.vm
    (job,) = (job for job in desired.jobs.values() if job.id == snapshot.marks.job)
    uuids = {disk.uuid for disk in snapshot.disks}
    for remote in job.remotes:
        assert isinstance(observed.remotes[remote], RemoteView), "a remote was not seen"
        assert not uuids & tips(observed, remote, action.vm, job.id), "a base was removed"


def check_clean_stray(
    action: CleanSnapshot, view: PoolView, desired: Desired, observed: Observed
) -> None:
    """A snapshot whose VM is gone may go once its point is somewhere."""
    (stray,) = (each for each in view.strays if each.uuid == action.snapshot)
    marks = stray.marks
    if marks is not None:
        (job,) = (job for job in desired.jobs.values() if job.id == marks.job)
        assert any(
            point.stamp == marks.stamp and point.job == job.id
            for (remote, vm), history in histories(observed).items()
            if remote in job.remotes and vm == marks.vm
            for point in history.points
        )


def tips(observed: Observed, remote: RemoteName, vm: VmUuid, job: JobId) -> set[DiskSnapshotUuid]:
    """Return the uuids of the newest files that points name, one for each disk."""
    history = histories(observed).get((remote, vm))
    if history is None:
        return set()
    newest: dict[str, DiskSnapshotUuid] = {}
    named = {disk.path for point in history.points if point.job == job for disk in point.disks}
    for path in sorted(named & history.files.keys()):
        newest[path.rpartition("/")[0]] = history.files[path].uuid
    files = history.files.values()
    newest_of_all: dict[str, str] = {}
    for file in files:
        newest_of_all[file.directory] = max(newest_of_all.get(file.directory, ""), file.path)
    return {
        uuid
        for directory, uuid in newest.items()
        if history.files[newest_of_all[directory]].uuid == uuid
    }


@settings(deadline=None)
@given(situations())
def test_nothing_is_pruned_where_a_point_is_owed(situation: Situation) -> None:
    desired, observed, now = situation
    planned = plan(desired, observed, now)
    pruned = {
        (each.job, each.remote, each.vm) for each in planned.actions if isinstance(each, Prune)
    }
    exported = {
        (each.job, each.remote, each.vm) for each in planned.actions if isinstance(each, Export)
    }
    assert not pruned & exported


# ── 4. monotone ───────────────────────────────────────────────────────────────────────────────────


@settings(deadline=None)
@given(situations(), retentions(), st.data())
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


@settings(max_examples=200, deadline=None)
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
@given(situations())
def test_a_plan_over_the_thresholds_contains_no_deletion(situation: Situation) -> None:
    desired, observed, now = situation
    planned = plan(desired, observed, now)
    for job in desired.jobs.values():
        mine = [
            each for each in planned.actions if isinstance(each, Prune) and each.job == job.name
        ]
        free = max(1, len(job.schedules))
        excess_of_job = 0
        for remote in job.remotes:
            here = [each for each in mine if each.remote == remote]
            excess = sum(
                max(0, sum(each.vm == vm for each in here) - free) for vm in {e.vm for e in here}
            )
            excess_of_job += excess
            points = sum(
                point.job == job.id
                for (name, _), history in histories(observed).items()
                if name == remote
                for point in history.points
            )
            assert excess * 100 <= job.guard.percent_max * points
        assert excess_of_job <= job.guard.points_max


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
        going = [a for a in plan(approved, observed, now).actions if isinstance(a, Prune)]
        assert blocked <= {id_of(action) for action in going}
        action = random.choice([a for a in going if id_of(a) in blocked])
        observed = apply(action, observed, now)
        blocked.remove(id_of(action))
