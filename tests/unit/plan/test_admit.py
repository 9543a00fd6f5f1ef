"""What may start now, and what is said of what may not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scenes import job, wanting

from reconciler.desired.state import Desired
from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    SnapshotUuid,
    VmUuid,
    stamp_of,
)
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Attempt, Progress
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.actions import (
    Action,
    CleanSnapshot,
    DiskExport,
    Export,
    ExportKind,
    Merge,
    Prune,
    Snapshot,
    id_of,
)
from reconciler.plan.admit import admit, decide, subject_of, waiting
from reconciler.plan.claims import claims_of, pool_place, remote_place, touched_by
from reconciler.plan.plan import Plan
from reconciler.plan.reasons import Reason

NOW = datetime(2026, 8, 21, 2, tzinfo=UTC)
EAST, NAS, OFF = PoolName("east"), RemoteName("nas"), RemoteName("off")


def estate(*, exports: int = 12, snapshots: int = 1, nas: int = 12, off: int = 12) -> Desired:
    desired = wanting(job(remotes=(NAS, OFF)))
    return replace(
        desired,
        pools={EAST: replace(desired.pools[EAST], exports_max=exports, snapshots_max=snapshots)},
        remotes={
            NAS: replace(desired.remotes[NAS], actions_max=nas),
            OFF: replace(desired.remotes[OFF], actions_max=off),
        },
    )


def seen(as_of: datetime = NOW, **progress: Any) -> Observed:
    return Observed(
        pools={EAST: PoolView(EAST, "u", "east", "host", "8.3", as_of)},
        remotes={name: RemoteView(name, as_of, None, None) for name in (NAS, OFF)},
        progress=Progress(**progress),
    )


def snapshot(vm: str) -> Snapshot:
    return Snapshot(EAST, VmUuid(vm), vm, JobName("nightly"), JobId("j"), (), NOW, Reason.SCHEDULED)


def export(vm: str, disks: int = 1, remote: RemoteName = NAS) -> Export:
    return Export(
        pool=EAST,
        remote=remote,
        vm=VmUuid(vm),
        vm_name=vm,
        job=JobName("nightly"),
        job_id=JobId("j"),
        schedules=(),
        snapshot=SnapshotUuid(f"snapshot of {vm}"),
        stamp=stamp_of(NOW),
        disks=tuple(
            DiskExport(
                DiskUuid(f"{vm}{disk}"),
                DiskSnapshotUuid(f"{vm}{disk}"),
                ExportKind.FULL,
                Reason.FIRST_BACKUP,
            )
            for disk in range(disks)
        ),
        due=NOW,
        reason=Reason.POINT_MISSING,
    )


def merge(vm: str, remote: RemoteName = NAS) -> Merge:
    return Merge(remote, VmUuid(vm), vm, None, "a", "b", 1, NOW, Reason.POINT_PRUNED)


def starting(desired: Desired, observed: Observed, *actions: Action) -> list[Action]:
    return list(admit(Plan(actions=actions), desired, observed, NOW))


def running(*actions: Action) -> Observed:
    return seen(
        running={id_of(action): NOW for action in actions},
        claims={id_of(action): claims_of(action) for action in actions},
    )


def why(desired: Desired, observed: Observed, *actions: Action) -> list[Reason]:
    return [each.reason for each in waiting(Plan(actions=actions), desired, observed, NOW)]


# ── limits ────────────────────────────────────────────────────────────────────────────────────────


def test_snapshots_are_made_one_at_a_time() -> None:
    first, second = snapshot("a"), snapshot("b")
    assert starting(estate(), seen(), first, second) == [first]
    assert why(estate(), seen(), first, second) == [Reason.WAITING_FOR_LIMIT]
    assert starting(estate(), running(first), second) == []
    assert starting(estate(snapshots=2), running(first), second) == [second]


def test_exports_are_counted_in_disks() -> None:
    actions = [export("a", 5), export("b", 5), export("c", 3), export("d", 2)]
    assert starting(estate(), seen(), *actions) == actions[:2]


def test_a_vm_with_more_disks_than_the_limit_goes_alone() -> None:
    big, small = export("big", 20), export("small")
    assert starting(estate(), seen(), big, small) == [big]
    assert starting(estate(), running(small), big) == []
    assert starting(estate(), seen(), small, big, export("other")) == [small]


def test_what_sends_no_disk_needs_no_export_slot() -> None:
    assert len(starting(estate(exports=1), seen(), export("a"), export("b", 0))) == 2


def test_a_remote_has_a_limit_of_its_own() -> None:
    actions = [export("a"), merge("b"), export("c", remote=OFF)]
    assert starting(estate(nas=1), seen(), *actions) == [actions[0], actions[2]]


def test_one_full_remote_does_not_stop_the_other() -> None:
    queue = [export(f"vm{number}") for number in range(5)]
    elsewhere = export("far", remote=OFF)
    assert starting(estate(nas=1, exports=3), seen(), *queue, elsewhere) == [queue[0], elsewhere]


def test_what_the_oldest_waits_for_is_kept_for_it() -> None:
    big = export("big", 3)
    assert starting(estate(exports=3), running(export("a")), big, export("b")) == []
    # It needs a slot of the remote, too: the export slots it will need are not given away.
    at_work = running(merge("x"))
    assert starting(estate(nas=1, exports=3), at_work, big, export("b", remote=OFF)) == []


# ── places ────────────────────────────────────────────────────────────────────────────────────────


def test_one_chain_is_changed_by_one_action() -> None:
    assert starting(estate(), seen(), export("a"), merge("a")) == [export("a")]
    assert starting(estate(), running(merge("a")), export("a")) == []
    assert len(starting(estate(), seen(), merge("a"), merge("a", OFF), merge("b"))) == 3


def test_one_snapshot_is_sent_to_several_remotes_at_once() -> None:
    assert len(starting(estate(), seen(), export("a"), export("a", remote=OFF))) == 2


def test_no_snapshot_is_removed_while_it_is_read() -> None:
    clean = CleanSnapshot(EAST, VmUuid("a"), "a", None, (), NOW, Reason.SNAPSHOT_SUPERSEDED)
    assert starting(estate(), running(export("a")), clean) == []
    assert starting(estate(), running(export("b")), clean) == [clean]


def test_a_new_snapshot_may_be_made_while_an_old_one_is_read() -> None:
    assert starting(estate(), running(export("a")), snapshot("a")) == [snapshot("a")]


def test_what_runs_holds_its_place_even_when_the_plan_forgot_it() -> None:
    assert starting(estate(), running(merge("a")), export("a")) == []


def test_claims_of_what_runs_are_found_in_the_plan_if_nobody_noted_them() -> None:
    action = export("a", 12)
    observed = seen(running={id_of(action): NOW})
    assert starting(estate(), observed, action, export("b")) == []


# ── history ───────────────────────────────────────────────────────────────────────────────────────


def test_what_runs_is_not_started_again() -> None:
    assert why(estate(), running(export("a")), export("a")) == [Reason.ALREADY_RUNNING]


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (Attempt(NOW, False, 2, NOW + timedelta(seconds=1), "RemoteError", "EIO"), "Backoff"),
        (Attempt(NOW, False, 2, None, "CredentialsInvalid", "wrong password"), "Credentials"),
        (Attempt(NOW, False, 2, None, "Nonsense", "?"), "InternalError"),
        (Attempt(NOW - timedelta(seconds=59), True), "Observation"),
    ],
)
def test_what_ended_a_moment_ago_waits(attempt: Attempt, reason: str) -> None:
    action = export("a")
    observed = seen(ended={id_of(action): attempt})
    assert starting(estate(), observed, action) == []
    (held,) = waiting(Plan(actions=(action,)), estate(), observed, NOW)
    assert reason in held.reason
    again = attempt.not_before if not attempt.succeeded else attempt.ended_at + timedelta(minutes=1)
    assert held.until == again
    assert decide(Plan(actions=(action,)), estate(), observed, NOW).wake_at == again


@pytest.mark.parametrize(
    "attempt",
    [
        Attempt(NOW, False, 2, NOW, "RemoteError", "EIO"),
        Attempt(NOW - timedelta(minutes=1), True),
    ],
)
def test_what_has_waited_starts(attempt: Attempt) -> None:
    action = export("a")
    assert starting(estate(), seen(ended={id_of(action): attempt}), action) == [action]


def test_what_backs_off_takes_no_slot() -> None:
    action = export("a", 12)
    attempt = Attempt(NOW, False, 1, NOW + timedelta(minutes=1))
    assert starting(estate(), seen(ended={id_of(action): attempt}), action, export("b")) == [
        export("b")
    ]


# ── settling ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("age", "starts"), [(-1, False), (0, False), (1, True)])
def test_a_place_that_we_touched_is_looked_at_before_it_is_touched_again(
    age: int, starts: bool
) -> None:
    touched = dict.fromkeys(touched_by(claims_of(merge("a"))), NOW)
    observed = seen(NOW + timedelta(seconds=age), touched=touched)
    assert bool(starting(estate(), observed, export("a"))) == starts
    if not starts:
        assert why(estate(), observed, export("a")) == [Reason.WAITING_FOR_OBSERVATION]


def test_other_places_do_not_wait() -> None:
    touched = {remote_place(NAS, VmUuid("a")): NOW, pool_place(EAST, VmUuid("b")): NOW}
    observed = seen(NOW, touched=touched)
    assert starting(estate(), observed, merge("a", OFF), merge("b")) == [
        merge("a", OFF),
        merge("b"),
    ]


def test_a_vms_own_history_says_how_fresh_it_is() -> None:
    place = remote_place(NAS, VmUuid("a"))
    observed = seen(NOW + timedelta(minutes=1), touched={place: NOW})
    stale = {VmUuid("a"): History(VmUuid("a"), NOW)}
    view = observed.remotes[NAS]
    assert isinstance(view, RemoteView)
    remotes = {**observed.remotes, NAS: replace(view, histories=stale)}
    assert starting(estate(), replace(observed, remotes=remotes), merge("a")) == []


def test_what_is_not_seen_after_we_touched_it_is_not_touched() -> None:
    gone = Unknown(NOW, "PoolUnreachable", "no answer")
    observed = seen(touched={pool_place(EAST, VmUuid("a")): NOW})
    observed = replace(observed, pools={EAST: gone})
    assert starting(estate(), observed, snapshot("a")) == []


# ── snapshots do not run far ahead of exports ─────────────────────────────────────────────────────


def test_no_snapshot_is_taken_while_enough_disks_wait() -> None:
    queue = [export(f"vm{number}", 3, remote) for number in range(2) for remote in (NAS, OFF)]
    late = snapshot("late")
    assert late in starting(estate(exports=4), seen(), *queue, late)
    assert late not in starting(estate(exports=3), seen(), *queue, late)
    assert late not in starting(estate(exports=3), running(*queue), *queue, late)


def test_one_remote_that_could_take_it_is_enough() -> None:
    queue = [export(f"vm{number}", 3, NAS) for number in range(10)]
    late = snapshot("late")
    assert late in starting(estate(exports=1), seen(), *queue, late)
    only_nas = wanting(job())
    assert late not in starting(only_nas, seen(), *queue, late)


def test_exports_that_back_off_make_no_queue() -> None:
    queue = [export(f"vm{number}", 30) for number in range(10)]
    attempt = Attempt(NOW, False, 1, NOW + timedelta(minutes=1), "InsufficientSpace", "full")
    late = snapshot("late")
    observed = seen(ended={id_of(each): attempt for each in queue})
    assert starting(wanting(job()), observed, *queue, late) == [late]


# ── words ─────────────────────────────────────────────────────────────────────────────────────────


def test_waiting_actions_are_named() -> None:
    assert subject_of(export("web")) == "VM web on remote nas"
    assert subject_of(snapshot("web")) == "VM web on pool east"
    orphan = CleanSnapshot(EAST, None, "", None, (), NOW, Reason.SNAPSHOT_ORPHANED)
    assert subject_of(orphan) == "VM (no VM) on pool east"


def test_everything_planned_either_starts_or_waits() -> None:
    actions = [export(f"vm{number}", number) for number in range(8)]
    prune = Prune(NAS, VmUuid("vm1"), "vm1", None, stamp_of(NOW), 1, NOW, Reason.RETENTION_EXCEEDED)
    plan = Plan(actions=(*actions, prune))
    admission = decide(plan, estate(), seen(), NOW)
    assert {*admission.actions, *(held.action for held in admission.waiting)} == set(plan.actions)
    assert all(held.why for held in admission.waiting)
