"""What is owed, when, and by which one snapshot it is settled."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scenes import Scene, job, schedule, wanting
from worlds import uuid

from reconciler.desired.state import Cancellation, Desired, RunRequest
from reconciler.ids import JobName, RemoteName, RunId
from reconciler.observed.progress import Claims, Mode, Progress
from reconciler.plan.actions import Export, Snapshot, id_of
from reconciler.plan.claims import remote_place
from reconciler.plan.reasons import Reason

NIGHT, HOUR = schedule("night"), schedule("hour", "0 * * * *")
NAS, OFF = RemoteName("nas"), RemoteName("off")


def scene(desired: Desired, now: str, points: str = "", snapshots: str = "", **parts: str) -> Scene:
    """One VM on one pool, and what two remotes hold of it."""
    vm = parts.get("vm", "")
    remotes = parts.get("remotes", f"{{nas: {{vms: {{web: {{points: [{points}]}}}}}}, off: {{}}}}")
    return Scene(
        desired,
        f"""
now: {now}
pools: {{east: {{vms: {{web: {{snapshots: [{snapshots}] {vm}}}}}}}}}
remotes: {remotes}
""",
    )


def at(when: str, schedules: str = "night") -> str:
    return f"{{job: nightly, at: {when}, schedules: [{schedules}]}}"


def one_snapshot(found: Scene) -> Snapshot:
    (action,) = found.actions(Snapshot)
    assert isinstance(action, Snapshot)
    return action


YESTERDAY = at("2026-08-20 02:00:05")


def test_a_slot_that_has_come_is_owed() -> None:
    action = one_snapshot(scene(wanting(job()), "2026-08-21 02:00:10", YESTERDAY))
    assert action.reason is Reason.SCHEDULED
    assert action.due == datetime(2026, 8, 21, 2, tzinfo=UTC)
    assert action.after == "20260820T020005Z"
    assert action.schedules == (uuid("schedule", "nightly", "night"),)


def test_before_its_slot_nothing_is_owed() -> None:
    found = scene(wanting(job()), "2026-08-21 01:59:59", YESTERDAY)
    assert found.actions(Snapshot) == []
    assert found.plan.wake_at == datetime(2026, 8, 21, 2, tzinfo=UTC)


def test_a_point_of_the_slot_answers_it() -> None:
    points = f"{YESTERDAY}, {at('2026-08-21 02:00:00')}"
    assert scene(wanting(job()), "2026-08-21 02:00:10", points).actions(Snapshot) == []


def test_a_point_of_another_schedule_does_not() -> None:
    points = f"{YESTERDAY}, {at('2026-08-21 02:00:00', 'hour')}"
    found = scene(wanting(job(NIGHT)), "2026-08-21 02:00:10", points)
    assert one_snapshot(found).schedules == (NIGHT.id,)


def test_a_snapshot_of_the_slot_is_gone_on_from() -> None:
    tonight = at("2026-08-21 02:00:05")
    found = scene(wanting(job()), "2026-08-21 02:00:10", YESTERDAY, tonight)
    assert found.actions(Snapshot) == []
    assert len(found.actions(Export)) == 1


def test_a_snapshot_without_the_schedule_is_not() -> None:
    tonight = at("2026-08-21 02:00:05", "hour")
    found = scene(wanting(job(NIGHT, HOUR)), "2026-08-21 02:00:10", YESTERDAY, tonight)
    assert NIGHT.id in one_snapshot(found).schedules


def test_missed_slots_are_one_catch_up() -> None:
    action = one_snapshot(scene(wanting(job()), "2026-08-24 02:00:10", YESTERDAY))
    assert action.reason is Reason.CATCH_UP
    assert action.due == datetime(2026, 8, 24, 2, tzinfo=UTC)


def test_a_slot_older_than_its_deadline_is_a_catch_up() -> None:
    found = scene(wanting(job()), "2026-08-21 02:59:59", YESTERDAY)
    assert one_snapshot(found).reason is Reason.SCHEDULED
    assert found.plan.wake_at == datetime(2026, 8, 21, 3, tzinfo=UTC) + timedelta.resolution
    found = scene(wanting(job()), "2026-08-21 03:00:01", YESTERDAY)
    assert one_snapshot(found).reason is Reason.CATCH_UP


def test_all_schedules_that_are_due_share_one_snapshot() -> None:
    points = at("2026-08-20 02:00:05", "night, hour")
    found = scene(wanting(job(NIGHT, HOUR)), "2026-08-21 02:00:10", points)
    assert one_snapshot(found).schedules == (NIGHT.id, HOUR.id)


# ── first backups ─────────────────────────────────────────────────────────────────────────────────


def test_the_first_backup_is_made_at_a_slot_within_its_deadline() -> None:
    assert one_snapshot(scene(wanting(job()), "2026-08-21 02:30:00")).after is None


def test_the_first_backup_waits_for_the_next_slot_after_the_deadline() -> None:
    found = scene(wanting(job()), "2026-08-21 03:30:00")
    assert found.actions() == []
    (held,) = found.held()
    assert held.reason is Reason.WAITING_FOR_SLOT
    assert held.until == datetime(2026, 8, 22, 2, tzinfo=UTC)


def test_run_on_create_does_not_wait() -> None:
    found = scene(wanting(job(run_on_create=True)), "2026-08-21 15:00:00")
    assert one_snapshot(found).reason is Reason.CATCH_UP


def test_a_schedule_added_in_the_afternoon_waits_for_its_slot() -> None:
    points = f"{at('2026-08-21 02:00:05')}"
    weekly = schedule("weekly", "0 2 * * 0")
    found = scene(wanting(job(NIGHT, weekly, run_on_create=True)), "2026-08-21 15:00:00", points)
    assert found.actions(Snapshot) == []
    assert found.held() == []


def test_adopting_points_of_unknown_schedules_starts_nothing() -> None:
    found = scene(wanting(job()), "2026-08-21 15:00:00", at("2026-08-20 02:00:05", "foreign"))
    assert found.actions() == []


def test_a_schedule_with_a_snapshot_only_has_begun() -> None:
    found = scene(wanting(job()), "2026-08-22 15:00:00", "", at("2026-08-21 02:00:05"))
    assert one_snapshot(found).reason is Reason.CATCH_UP


@pytest.mark.parametrize("suspended", ["job", "schedule"])
def test_what_is_suspended_owes_nothing(suspended: str) -> None:
    if suspended == "job":
        desired = wanting(job(suspend=True))
    else:
        desired = wanting(job(schedule("night", suspend=True)))
    assert scene(desired, "2026-08-21 02:00:10", YESTERDAY).actions(Snapshot) == []


# ── requests ──────────────────────────────────────────────────────────────────────────────────────

ASKED = datetime(2026, 8, 21, 15, 0, 0, 700_000, tzinfo=UTC)


def asking(*moments: datetime, **changes: Any) -> Desired:
    requests = tuple(RunRequest(JobName("nightly"), moment) for moment in moments)
    return wanting(job(**changes), requests=requests)


def test_a_request_is_owed_and_belongs_to_no_schedule() -> None:
    points = at("2026-08-21 02:00:05")
    action = one_snapshot(scene(asking(ASKED), "2026-08-21 15:00:01", points))
    assert action.reason is Reason.REQUESTED
    assert action.schedules == ()
    assert action.due == ASKED.replace(microsecond=0)


def test_a_request_is_answered_by_a_point_of_the_same_second() -> None:
    points = f"{at('2026-08-21 02:00:05')}, {at('2026-08-21 15:00:00', '')}"
    assert scene(asking(ASKED), "2026-08-21 15:00:01", points).actions() == []


def test_a_request_answers_slots_that_are_due_as_well() -> None:
    asked = datetime(2026, 8, 21, 2, 0, 5, tzinfo=UTC)
    action = one_snapshot(scene(asking(asked), "2026-08-21 02:00:10", YESTERDAY))
    assert action.schedules == (NIGHT.id,)
    assert action.reason is Reason.SCHEDULED


def test_a_request_for_later_waits_until_then() -> None:
    found = scene(asking(ASKED), "2026-08-21 14:00:00", at("2026-08-21 02:00:05"))
    assert found.actions() == []
    assert found.plan.wake_at == ASKED.replace(microsecond=0)
    assert found.reasons() == ["WaitingForSlot"]


def test_a_request_backs_up_a_vm_that_was_never_backed_up() -> None:
    assert one_snapshot(scene(asking(ASKED), "2026-08-21 15:00:10")).reason is Reason.REQUESTED


TAKEN_FOR_IT = (
    "{job: nightly, at: 2026-08-21 15:00:02, schedules: [], requested: 2026-08-21 15:00:00}"
)


def exports_after(cancelled: str, *, asked: bool) -> list[Export]:
    """What is sent of a snapshot that was taken for the request."""
    desired = asking(*[ASKED] if asked else [])
    desired = replace(desired, cancellations=(Cancellation(RunId(cancelled)),))
    answered = at("2026-08-21 02:00:05")
    return scene(desired, "2026-08-21 15:00:05", answered, TAKEN_FOR_IT).actions(Export)


@pytest.mark.parametrize("asked", [True, False], ids=["while-it-is-open", "once-it-is-settled"])
def test_a_request_that_was_cancelled_is_sent_nowhere(asked: bool) -> None:
    assert exports_after("nightly/20260821T150000Z", asked=asked) == []


def test_of_a_cancelled_request_what_runs_is_told_to_end() -> None:
    answered = at("2026-08-21 02:00:05")
    found = scene(asking(ASKED), "2026-08-21 15:00:05", answered, TAKEN_FOR_IT)
    (export,) = [each for each in found.actions(Export) if each.remote == NAS]
    progress = Progress(running={id_of(export): found.now})
    found.observed = replace(found.observed, progress=progress)
    assert found.plan.cancel == ()
    cancelled = (Cancellation(RunId("nightly/20260821T150000Z")),)
    found.desired = replace(found.desired, cancellations=cancelled)
    assert [each.action for each in found.plan.cancel] == [id_of(export)]


@pytest.mark.parametrize(
    "cancelled",
    ["nightly/20260821T020000Z", "nightly/20260821T150003Z", "other/20260821T150000Z", "nightly"],
    ids=["a-slot", "a-later-one", "of-another-job", "no-run"],
)
@pytest.mark.parametrize("asked", [True, False], ids=["open", "settled"])
def test_a_request_is_not_cancelled_by_another_run(cancelled: str, asked: bool) -> None:
    assert exports_after(cancelled, asked=asked)


def test_of_several_requests_the_last_counts() -> None:
    points = f"{at('2026-08-21 02:00:05')}, {at('2026-08-21 15:00:05', '')}"
    desired = asking(ASKED, ASKED + timedelta(hours=1))
    action = one_snapshot(scene(desired, "2026-08-21 16:30:00", points))
    assert action.due == ASKED.replace(microsecond=0) + timedelta(hours=1)


# ── what is in the way ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("vm", "reason"),
    [(", busy: [migrate_send]", Reason.VM_BUSY), (", disks: {}", Reason.NO_DISKS)],
)
def test_a_vm_that_cannot_be_backed_up_now(vm: str, reason: Reason) -> None:
    found = scene(wanting(job()), "2026-08-21 02:00:10", YESTERDAY, vm=vm)
    assert found.actions(Snapshot) == []
    (held,) = found.held(Snapshot)
    assert held.reason is reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"read_only": True}, Reason.REMOTE_READ_ONLY),
        ({"suspend": True}, Reason.SUSPENDED),
    ],
)
def test_no_snapshot_without_a_remote_to_send_it_to(
    changes: dict[str, bool], reason: Reason
) -> None:
    desired = wanting(job())
    remotes = {NAS: replace(desired.remotes[NAS], **changes)}
    found = scene(replace(desired, remotes=remotes), "2026-08-21 02:00:10", YESTERDAY)
    assert found.actions(Snapshot) == []
    (held,) = found.held(Snapshot)
    assert held.reason is reason


def test_one_remote_that_can_take_it_is_enough() -> None:
    remotes = f"{{nas: {{vms: {{web: {{points: [{YESTERDAY}]}}}}}}, off: {{unknown: no answer}}}}"
    desired = wanting(job(remotes=(NAS, OFF)))
    found = scene(desired, "2026-08-21 02:00:10", remotes=remotes)
    assert one_snapshot(found).schedules == (NIGHT.id,)
    assert found.reasons() == ["RemoteUnavailable"]


def test_no_remote_in_sight_is_said_once() -> None:
    found = scene(wanting(job()), "2026-08-21 02:00:10", remotes="{nas: {unknown: no answer}}")
    assert found.actions() == []
    assert found.reasons() == ["RemoteUnavailable"]


def test_an_unknown_remote_may_lack_a_slot_so_the_snapshot_is_for_it_too() -> None:
    points = f"{at('2026-08-21 02:00:05', 'night, hour')}"
    remotes = f"{{nas: {{vms: {{web: {{points: [{points}]}}}}}}, off: {{unknown: no answer}}}}"
    desired = wanting(job(NIGHT, HOUR, remotes=(NAS, OFF)))
    found = scene(desired, "2026-08-21 03:00:10", remotes=remotes)
    assert one_snapshot(found).schedules == (NIGHT.id, HOUR.id)


def test_while_a_remote_receives_no_other_point_is_begun_for_it() -> None:
    found = scene(wanting(job(HOUR)), "2026-08-21 02:00:10", at("2026-08-21 01:00:05", "hour"))
    vm = one_snapshot(found).vm
    claims = Claims(places=((remote_place(NAS, vm), Mode.APPEND),))
    progress = Progress(running={"x": found.now}, claims={"x": claims})  # type: ignore[dict-item]
    found.observed = replace(found.observed, progress=progress)
    assert found.actions(Snapshot) == []
    (held,) = found.held(Snapshot)
    assert held.reason is Reason.ALREADY_RUNNING
