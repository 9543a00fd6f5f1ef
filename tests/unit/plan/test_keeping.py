"""Each point says which rules keep it, and the plan does as it says."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from safety import prunes_in
from scenes import Scene, job, schedule, wanting
from strategies import crowded, situations

from reconciler.desired.retention import Retention
from reconciler.desired.state import JobMode, PruneGuard, SrTarget
from reconciler.ids import RemoteName
from reconciler.plan.keeping import Kept, documents_of, keeping, text_of
from reconciler.plan.planner import plan

FREE = PruneGuard(percent_max=100, points_max=10**6)
WORLD = """
now: 2026-08-21 12:00:00
pools:
  east:
    srs: [fast]
    vms: {web: {snapshots: [
      {job: nightly, at: 2026-08-20 02:00:05, schedules: [night]},
      {job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}]}}
    replicas:
      - {vm: web, sr: fast, job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}
      - {vm: web, sr: fast, job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}
remotes: {nas: {vms: {
  web: {points: [
    {job: nightly, at: 2026-08-17 02:00:05, schedules: [night, week]},
    {job: nightly, at: 2026-08-18 02:00:05, schedules: [night], missing: [root]},
    {job: nightly, at: 2026-08-19 02:00:05, schedules: []},
    {job: nightly, at: 2026-08-20 02:00:05, schedules: [night], full: [root]},
    {job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}]},
  gone: {points: [{job: nightly, at: 2026-08-17 02:00:05, schedules: [night]}]}}}}
"""
NOT_CHOSEN = "the job does not choose its VM any more, or the VM was not seen"
WEEK = schedule("week", "0 2 * * MON", Retention(last=1, weekly=4))
SCHEDULES = (
    schedule(retention=Retention(last=1)),
    replace(WEEK, destinations=frozenset({RemoteName("nas")})),
)


def scene(**changes: object) -> Scene:
    settings = {"guard": FREE, "srs": (SrTarget("fast"),), **changes}
    return Scene(wanting(job(*SCHEDULES, **settings)), WORLD)


def kept(found: Scene) -> tuple[Kept, ...]:
    return keeping(found.desired, found.observed, found.plan, found.now)


def reasons(found: Scene, place: str = "remote nas", vm: str = "web") -> list[tuple[str, ...]]:
    return [
        each.because for each in kept(found) if each.place.startswith(place) and each.vm_name == vm
    ]


def test_each_point_names_the_rules_that_keep_it() -> None:
    damaged = "it cannot be restored, and does not count: a person decides"
    assert reasons(scene()) == [
        ("week: last", "week: weekly 2026-W34"),
        (damaged,),
        (damaged,),  # it stands on the one that is damaged
        (),
        ("night: last",),
    ]


def test_replicas_and_rolling_snapshots_say_so_too() -> None:
    assert reasons(scene(), "SR") == [(), ("night: last",)]
    rolling = scene(mode=JobMode.SNAPSHOT, srs=(), remotes=())
    assert reasons(rolling, "pool east") == [(), ("night: last",)]


def test_what_the_guard_holds_says_so() -> None:
    (why,) = reasons(scene(guard=PruneGuard(percent_max=0, points_max=0)), "SR")[:1] or [()]
    assert why == ()  # one of a schedule's points rolls away in any case
    found = scene(guard=PruneGuard(good_min=2))
    (last_good, _) = reasons(found, "SR")
    assert last_good == (
        "held: LastGoodPoint: no rule keeps it, but too few good points would be left",
    )


def test_what_has_to_wait_says_for_what() -> None:
    found = scene()
    found.desired = replace(
        found.desired,
        remotes={
            name: replace(remote, read_only=True) for name, remote in found.desired.remotes.items()
        },
    )
    why = "nothing leaves here before the VM has its new point, and all of it was read"
    assert reasons(found)[3] == (why,)
    assert reasons(scene(suspend=True))[3] == ("the job is suspended",)


def test_points_of_a_vm_that_is_not_chosen_stay() -> None:
    assert reasons(scene(), vm="gone") == [(NOT_CHOSEN,)]


def test_it_is_told_in_text_and_in_json() -> None:
    found = kept(scene())
    text = text_of(found)
    assert "web on remote nas (job nightly)\n" in text
    assert "  = 2026-08-17 02:00:05  week: last; week: weekly 2026-W34\n" in text
    assert "  - 2026-08-20 02:00:05  nothing keeps it\n" in text
    (document, *_) = documents_of(found)
    assert document["keptBecause"] == [
        "the job does not choose its VM any more, or the VM was not seen"
    ]
    assert document["takenAt"] == "2026-08-17T02:00:05+00:00"


@settings(deadline=None)
@given(st.one_of(situations(), crowded()))
def test_exactly_what_nothing_keeps_is_what_the_plan_takes_away(situation) -> None:
    desired, observed, now = situation
    planned = plan(desired, observed, now)
    going = [each for each in keeping(desired, observed, planned, now) if not each.because]
    gone = prunes_in(planned.actions)
    assert len(going) == len(gone)
    stamps = {(vm, stamp) for _, vm, stamp in gone}
    for each in going:
        if not each.place.startswith("pool"):
            assert (each.vm, each.stamp) in stamps
