"""Runs that somebody cancelled, and what takes too long: held, ended, and not begun again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from effects import apply, start
from scenes import Scene, job, schedule, wanting
from worlds import snapshot_uuid, vm_uuid

from reconciler.desired.retention import Retention
from reconciler.desired.state import (
    AfterCancel,
    Cancellation,
    JobMode,
    RunRequest,
    Settings,
    SrTarget,
    Timeouts,
)
from reconciler.ids import JobName, PoolName, RemoteName, RunId, stamp_of
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Attempt
from reconciler.plan.actions import (
    CleanFiles,
    CleanSnapshot,
    Export,
    Replicate,
    Snapshot,
    id_of,
)
from reconciler.plan.plan import Cancel
from reconciler.plan.reasons import Reason

RUN = RunId("nightly/20260821T020000Z")
BOTH = (RemoteName("nas"), RemoteName("off"))
BEGUN = """
now: 2026-08-21 02:30:00
pools:
  east:
    srs: [fast]
    vms: {web: {snapshots: [
      {job: nightly, at: 2026-08-20 02:00:05, schedules: [night]},
      {job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}]}}
    replicas: [{vm: web, sr: fast, job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}]
remotes:
  nas: {vms: {web: {
    points: [{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}],
    partials: [{job: nightly, at: 2026-08-21 02:00:05}]}}}
  off: {vms: {web: {points: [{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}]}}}
"""


def scene(world: str = BEGUN, *, cancelled: bool = False, **settings: Any) -> Scene:
    wanted = wanting(job(remotes=BOTH, srs=(SrTarget("fast"),), settings=Settings(**settings)))
    cancellations = (Cancellation(RUN),) if cancelled else ()
    return Scene(replace(wanted, cancellations=cancellations), world)


def running(found: Scene, *actions: Any, since: timedelta = timedelta()) -> Scene:
    found.observed = start(actions, found.observed, found.now - since, found.desired)
    return found


def sends(found: Scene) -> list[Any]:
    return [*found.actions(Export), *found.actions(Replicate)]


# ── cancelled ─────────────────────────────────────────────────────────────────────────────────────


def test_nothing_of_a_cancelled_run_is_sent() -> None:
    found = scene(cancelled=True)
    assert sends(found) == []
    held = [*found.held(Export), *found.held(Replicate)]
    assert {each.reason for each in held} == {Reason.RUN_CANCELLED}
    assert {each.until for each in held} == {datetime(2026, 8, 22, 2, tzinfo=UTC)}
    assert len(held) == 3


def test_what_runs_of_it_is_told_to_end_and_nothing_else_is() -> None:
    everything = sends(scene())
    found = running(scene(cancelled=True), *everything)
    assert found.plan.cancel == tuple(
        Cancel(id_, Reason.CANCELLED, f"run {RUN} was cancelled")
        for id_ in sorted(map(id_of, everything))
    )
    assert running(scene(), *everything).plan.cancel == ()


def test_its_snapshot_and_its_blocks_go_unless_the_job_keeps_them() -> None:
    stamp = stamp_of(datetime(2026, 8, 21, 2, 0, 5, tzinfo=UTC))
    (clean,) = scene(cancelled=True).actions(CleanSnapshot)
    assert clean.snapshot == snapshot_uuid(
        vm_uuid("web"), stamp, scene().desired.jobs["nightly"].id
    )  # type: ignore[index]
    (files,) = scene(cancelled=True).actions(CleanFiles)
    assert files.reason is Reason.PARTIAL_UPLOAD
    kept = scene(cancelled=True, after_cancel=AfterCancel.KEEP)
    assert kept.actions() == []
    assert scene().actions(CleanFiles) == [], "what is still to be sent is gone on from"


def test_a_snapshot_that_a_delta_stands_on_never_goes() -> None:
    found = scene(cancelled=True)
    for export in scene().actions(Export)[:1]:
        found.observed = apply(export, found.observed, found.now)
    assert found.actions(CleanSnapshot) == []


def test_its_slot_is_not_answered_again_and_the_next_one_is() -> None:
    found = scene(cancelled=True)
    for clean in found.actions():
        found.observed = apply(clean, found.observed, found.now)
    assert found.actions() == []
    assert Reason.RUN_CANCELLED in {each.reason for each in found.plan.held}
    assert found.plan.wake_at == datetime(2026, 8, 22, 2, tzinfo=UTC)
    found.now += timedelta(days=1)
    (snapshot,) = found.actions(Snapshot)
    assert snapshot.due == datetime(2026, 8, 22, 2, tzinfo=UTC)


def test_other_schedules_of_the_job_go_on() -> None:
    hourly = schedule("hour", "0 * * * *", Retention(last=3))
    wanted = wanting(job(schedule(), hourly))
    found = Scene(
        replace(wanted, cancellations=(Cancellation(RUN),)),
        """
now: 2026-08-21 03:00:10
pools: {east: {vms: {web: {snapshots: [
  {job: nightly, at: 2026-08-21 01:00:05, schedules: [hour]}]}}}}
remotes: {nas: {vms: {web: {points: [
  {job: nightly, at: 2026-08-20 02:00:05, schedules: [night]},
  {job: nightly, at: 2026-08-21 01:00:05, schedules: [hour]}]}}}}
""",
    )
    (snapshot,) = found.actions(Snapshot)
    assert snapshot.schedules == (hourly.id,)
    assert snapshot.due == datetime(2026, 8, 21, 3, tzinfo=UTC)


def test_a_request_is_cancelled_like_a_slot() -> None:
    at = datetime(2026, 8, 21, 2, 20, tzinfo=UTC)
    asked = replace(wanting(job(remotes=BOTH)), requests=(RunRequest(JobName("nightly"), at),))
    assert Scene(asked, BEGUN).actions(Snapshot)
    cancelled = replace(asked, cancellations=(Cancellation(RunId("nightly/20260821T022000Z")),))
    assert Scene(cancelled, BEGUN).actions(Snapshot) == []


def test_a_snapshot_that_is_being_taken_is_told_to_end() -> None:
    world = BEGUN.replace("now: 2026-08-21 02:30:00", "now: 2026-08-22 02:00:10")
    run = Cancellation(RunId("nightly/20260822T020000Z"))
    (snapshot,) = scene(world).actions(Snapshot)
    found = running(scene(world), snapshot)
    assert found.plan.cancel == ()
    found.desired = replace(found.desired, cancellations=(run,))
    assert [each.action for each in found.plan.cancel] == [id_of(snapshot)]
    other = Cancellation(RunId("weekly/20260822T020000Z"))
    found.desired = replace(found.desired, cancellations=(other,))
    assert found.plan.cancel == ()


def test_what_still_sends_an_older_snapshot_of_a_cancelled_run_is_told_to_end() -> None:
    (export, _) = scene().actions(Export)
    later = BEGUN.replace("now: 2026-08-21", "now: 2026-08-22").replace(
        "schedules: [night]}]}}\n    replicas",
        "schedules: [night]},\n"
        "      {job: nightly, at: 2026-08-22 02:00:05, schedules: [night]}]}}\n    replicas",
    )
    assert later.count("2026-08-22 02:00:05") == 1
    found = running(scene(later, cancelled=True), export)
    assert [each.action for each in found.plan.cancel] == [id_of(export)]
    assert running(scene(later), export).plan.cancel == ()


def test_rolling_snapshots_of_a_cancelled_run_are_not_made() -> None:
    wanted = wanting(job(remotes=(), mode=JobMode.SNAPSHOT))
    world = "now: 2026-08-21 02:00:10\npools: {east: {vms: {web: {}}}}"
    assert Scene(wanted, world).actions(Snapshot)
    cancelled = replace(wanted, cancellations=(Cancellation(RUN),))
    assert Scene(cancelled, world).actions() == []


# ── too slow ──────────────────────────────────────────────────────────────────────────────────────

RUN_OF_AN_HOUR = {"timeouts": Timeouts(run=timedelta(hours=1))}
TRY_OF_AN_HOUR = {"timeouts": Timeouts(vm=timedelta(hours=1))}
OVER_AT = datetime(2026, 8, 21, 3, 0, 5, tzinfo=UTC)


def test_a_run_is_over_when_its_snapshot_is_older_than_the_job_allows() -> None:
    found = running(scene(**RUN_OF_AN_HOUR), *sends(scene()))
    found.now = OVER_AT - timedelta.resolution
    assert found.plan.cancel == ()
    assert found.plan.wake_at == OVER_AT
    found.now = OVER_AT
    assert sends(found) == []
    assert {each.reason for each in found.plan.cancel} == {Reason.TIMED_OUT}
    assert len(found.plan.cancel) == 3
    held = [*found.held(Export), *found.held(Replicate)]
    assert {each.reason for each in held} == {Reason.TIMED_OUT}


def test_a_try_is_over_when_it_runs_for_longer_than_the_job_allows() -> None:
    (export, other) = scene().actions(Export)
    found = running(scene(**TRY_OF_AN_HOUR), export, since=timedelta(minutes=59))
    assert found.plan.cancel == ()
    assert found.plan.wake_at == found.now + timedelta(minutes=1)
    found.now += timedelta(minutes=1)
    why = "it has run for longer than 1h"
    assert found.plan.cancel == (Cancel(id_of(export), Reason.TIMED_OUT, why),)
    assert other in found.actions(Export), "the others go on"


def test_what_was_too_slow_is_not_tried_again_for_this_snapshot() -> None:
    (export, other) = scene().actions(Export)
    found = scene(**TRY_OF_AN_HOUR)
    attempt = Attempt(found.now, False, 0, None, Reason.TIMED_OUT, "it was too slow")
    progress = replace(found.observed.progress, ended={id_of(export): attempt})
    found.observed = replace(found.observed, progress=progress)
    assert found.actions(Export) == [other]
    (held,) = found.held(Export)
    assert (held.reason, held.why) == (Reason.TIMED_OUT, "it was too slow")
    assert held.until == datetime(2026, 8, 22, 2, tzinfo=UTC)
    found.observed = apply(other, found.observed, found.now)
    found.now += timedelta(days=1)
    assert found.actions(Snapshot)


def test_what_was_too_slow_is_discarded_and_its_slot_not_answered_again() -> None:
    found = scene(**RUN_OF_AN_HOUR)
    found.now = OVER_AT
    (files,) = found.actions(CleanFiles)
    assert files.reason is Reason.PARTIAL_UPLOAD
    (clean,) = found.actions(CleanSnapshot)
    assert clean.reason is Reason.TIMED_OUT
    assert found.actions(Snapshot) == []
    for action in found.actions():
        found.observed = apply(action, found.observed, found.now)
    assert found.actions() == []
    (held,) = found.held(Snapshot)
    assert (held.reason, held.until) == (Reason.TIMED_OUT, datetime(2026, 8, 22, 2, tzinfo=UTC))
    found.now += timedelta(days=1)
    (snapshot,) = found.actions(Snapshot)
    found.observed = apply(snapshot, found.observed, found.now)
    view = found.observed.pools[PoolName("east")]
    assert isinstance(view, PoolView)
    assert [vm.given_up for vm in view.vms.values()] == [()]


def test_what_was_too_slow_stays_if_the_job_keeps_it() -> None:
    kept = scene(**RUN_OF_AN_HOUR, after_cancel=AfterCancel.KEEP)
    kept.now = OVER_AT
    assert kept.actions() == []


# ── two slots in one run ──────────────────────────────────────────────────────────────────────────

HOURLY = schedule("hour", "0 * * * *", Retention(last=3))
SAID_AT = datetime(2026, 8, 21, 3, 5, tzinfo=UTC)
TWO_SLOTS = """
now: 2026-08-21 03:10:00
pools: {{east: {{vms: {{web: {{snapshots: [{}]}}}}}}}}
remotes: {{nas: {{vms: {{web: {{points: [
  {{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}},
  {{job: nightly, at: 2026-08-21 01:00:05, schedules: [hour]}}]}}}}}}}}
"""


def two_slots(*snapshots: str, said_at: datetime | None = SAID_AT) -> Scene:
    """The run of the night was cancelled when the slot of the hour had come as well."""
    wanted = wanting(job(schedule(), HOURLY))
    cancellations = (Cancellation(RUN, said_at),)
    world = TWO_SLOTS.format(", ".join(snapshots))
    return Scene(replace(wanted, cancellations=cancellations), world)


def test_a_cancel_ends_all_that_the_run_was_to_answer_when_it_was_said() -> None:
    found = two_slots()
    assert found.actions() == []
    assert Reason.RUN_CANCELLED in {each.reason for each in found.plan.held}
    found.now += timedelta(hours=1)
    (snapshot,) = found.actions(Snapshot)
    assert snapshot.due == datetime(2026, 8, 21, 4, tzinfo=UTC)


def test_slots_that_came_after_the_cancel_are_owed() -> None:
    early = two_slots(said_at=datetime(2026, 8, 21, 2, 30, tzinfo=UTC))
    assert [each.schedules for each in early.actions(Snapshot)] == [(HOURLY.id,)]


def test_so_are_slots_that_came_after_the_snapshot_of_the_cancelled_run() -> None:
    found = two_slots("{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}")
    assert [each.schedules for each in found.actions(Snapshot)] == [(HOURLY.id,)]
    (clean,) = found.actions(CleanSnapshot)
    assert clean.reason is Reason.RUN_CANCELLED
    found.observed = apply(clean, found.observed, found.now)
    assert [each.schedules for each in found.actions(Snapshot)] == [(HOURLY.id,)], "noted on it"


def test_one_snapshot_for_both_goes_and_neither_is_answered_again() -> None:
    found = two_slots("{job: nightly, at: 2026-08-21 03:00:05, schedules: [night, hour]}")
    (clean,) = found.actions()
    assert isinstance(clean, CleanSnapshot)
    found.observed = apply(clean, found.observed, found.now)
    assert found.actions() == []


# ── taking it ─────────────────────────────────────────────────────────────────────────────────────


def test_taking_a_snapshot_can_be_too_slow_too() -> None:
    world = BEGUN.replace("now: 2026-08-21 02:30:00", "now: 2026-08-22 02:00:10")
    (snapshot,) = scene(world).actions(Snapshot)
    found = running(scene(world, **TRY_OF_AN_HOUR), snapshot, since=timedelta(minutes=59))
    assert found.plan.cancel == ()
    assert found.plan.wake_at == found.now + timedelta(minutes=1)
    found.now += timedelta(minutes=1)
    assert [each.reason for each in found.plan.cancel] == [Reason.TIMED_OUT]
