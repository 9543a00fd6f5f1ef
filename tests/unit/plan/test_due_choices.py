"""What a snapshot leaves out, how it is taken, and for which destinations."""

from dataclasses import replace
from datetime import timedelta

import pytest
from effects import apply
from scenes import Scene, job, schedule, wanting
from worlds import disk_uuid

from reconciler.desired.retention import Retention
from reconciler.desired.state import Consistency, Settings
from reconciler.ids import RemoteName
from reconciler.plan.actions import CleanSnapshot, Export, Snapshot
from reconciler.plan.reasons import Reason

# ── disks that are left out, and how the snapshot is taken ────────────────────────────────────────

DISKS = """
now: 2026-08-21 02:00:10
pools: {east: {vms: {web: {
  tags: [%s], disks: {root: 10GiB, "swap [NOBAK]": 1GiB, scratch-1: 5GiB}}}}}
remotes: {nas: {}}
"""


@pytest.mark.parametrize(
    ("globs", "without"),
    [
        ((), ["swap [NOBAK]"]),
        (("scratch-*",), ["swap [NOBAK]", "scratch-1"]),
        (("SCRATCH*", "oot"), ["swap [NOBAK]"]),
    ],
)
def test_disks_are_left_out_by_their_names(globs: tuple[str, ...], without: list[str]) -> None:
    wanted = wanting(job(settings=Settings(exclude_disks=globs)))
    (snapshot,) = Scene(wanted, DISKS % "").actions(Snapshot)
    assert snapshot.without == tuple(disk_uuid("web", name) for name in without)


def test_a_vm_of_which_nothing_is_left_is_held() -> None:
    found = Scene(wanting(job(settings=Settings(exclude_disks=("*",)))), DISKS % "")
    assert found.actions() == []
    (held,) = found.held(Snapshot)
    assert (held.reason, held.why) == (Reason.NO_DISKS, "all its disks are excluded")


@pytest.mark.parametrize(
    ("tags", "consistency"),
    [
        ("", Consistency.CRASH),
        ("xo-memory-backup", Consistency.MEMORY),
        ("xo-offline-backup", Consistency.OFFLINE),
        ("xo-memory-backup, xo-offline-backup", Consistency.OFFLINE),
    ],
)
def test_the_tags_of_a_vm_say_how_its_snapshot_is_taken(
    tags: str, consistency: Consistency
) -> None:
    (snapshot,) = Scene(wanting(job()), DISKS % tags).actions(Snapshot)
    assert snapshot.consistency is consistency
    settings = Settings(consistency=Consistency.MEMORY)
    (snapshot,) = Scene(wanting(job(settings=settings)), DISKS % tags).actions(Snapshot)
    assert snapshot.consistency is (Consistency.MEMORY if not tags else consistency)


def test_a_disk_that_is_left_out_from_now_on_pins_no_snapshot() -> None:
    wanted = wanting(job(settings=Settings(exclude_disks=("data",))))
    found = Scene(
        wanted,
        """
now: 2026-08-21 02:10:00
pools: {east: {vms: {web: {disks: {root: 10GiB, data: 1GiB}, snapshots: [
  {job: nightly, at: 2026-08-20 02:00:05, schedules: [night]},
  {job: nightly, at: 2026-08-21 02:00:05, schedules: [night], disks: [root]}]}}}}
remotes: {nas: {vms: {web: {points: [
  {job: nightly, at: 2026-08-20 02:00:05, schedules: [night], disks: [root, data]},
  {job: nightly, at: 2026-08-21 02:00:05, schedules: [night], disks: [root]}]}}}}
""",
    )
    (clean,) = found.actions(CleanSnapshot)
    assert clean.reason is Reason.SNAPSHOT_SUPERSEDED


# ── schedules with destinations of their own ──────────────────────────────────────────────────────


def test_a_schedule_owes_its_points_at_its_own_destinations_only() -> None:
    nas, off = RemoteName("nas"), RemoteName("off")
    night = replace(schedule(), destinations=frozenset({nas}))
    week = replace(
        schedule("week", "0 2 * * FRI", Retention(last=1)), destinations=frozenset({off})
    )
    found = Scene(
        wanting(job(night, week, remotes=(nas, off))),
        """
now: 2026-08-21 02:00:10
pools: {east: {vms: {web: {snapshots: [
  {job: nightly, at: 2026-08-21 02:00:05, schedules: [night, week]}]}}}}
remotes: {nas: {}, off: {}}
""",
    )
    sent = {action.remote: action.schedules for action in found.actions(Export)}
    assert sent == {nas: (night.id,), off: (week.id,)}
    found.now += timedelta(days=1)  # Saturday: nothing weekly, so nothing at all for the second
    observed = found.observed
    for action in found.actions(Export):
        observed = apply(action, observed, found.now)
    found.observed = observed
    (snapshot,) = found.actions(Snapshot)
    assert snapshot.schedules == (night.id,)
    found.observed = apply(snapshot, found.observed, found.now)
    assert [action.remote for action in found.actions(Export)] == [nas]


def test_a_run_by_hand_goes_everywhere() -> None:
    nas, off = RemoteName("nas"), RemoteName("off")
    night = replace(schedule(), destinations=frozenset({nas}))
    found = Scene(
        wanting(job(night, remotes=(nas, off))),
        """
now: 2026-08-21 02:00:10
pools: {east: {vms: {web: {snapshots: [{job: nightly, at: 2026-08-21 01:00:05, schedules: []}]}}}}
remotes: {nas: {}, off: {}}
""",
    )
    assert [action.remote for action in found.actions(Export)] == [nas, off]
