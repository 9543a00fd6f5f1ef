"""Left-overs on remotes, and snapshots that no chain needs."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from scenes import Scene, job, wanting

from reconciler.desired.state import Desired, JobMode
from reconciler.ids import ActionId, RemoteName, VmUuid
from reconciler.observed.progress import Claims, Mode, Progress
from reconciler.observed.state import Observed
from reconciler.plan.actions import CleanFiles, CleanSnapshot
from reconciler.plan.claims import pool_place, remote_place
from reconciler.plan.reasons import Reason
from reconciler.plan.world import World

NAS, OFF = RemoteName("nas"), RemoteName("off")


def at(day: int, schedules: str = "night", **more: str) -> str:
    rest = "".join(f", {key}: {value}" for key, value in more.items())
    return f"{{job: nightly, at: 2026-08-{day} 02:00:05, schedules: [{schedules}]{rest}}}"


def scene(
    points: list[str],
    snapshots: list[str],
    *,
    off: list[str] | str | None = None,
    more: str = "",
    vm: str = "",
    **changes: Any,
) -> Scene:
    if off is None:
        other = "{}"
    elif isinstance(off, str):
        other = off
    else:
        other = f"{{vms: {{web: {{points: [{', '.join(off)}]}}}}}}"
    remotes = (NAS,) if off is None else (NAS, OFF)
    return Scene(
        wanting(job(**{"remotes": remotes, **changes})),
        f"""
now: 2026-08-21 12:00:00
pools: {{east: {{vms: {{web: {{snapshots: [{", ".join(snapshots)}]{vm}}}}}}}}}
remotes:
  nas: {{vms: {{web: {{points: [{", ".join(points)}]{more}}}}}}}
  off: {other}
""",
    )


def cleaned(found: Scene) -> list[str]:
    """Stamps of the snapshots that go."""
    (view,) = found.observed.pools.values()
    stamps = {
        snapshot.uuid: snapshot.marks.stamp if snapshot.marks else "unmarked"
        for vm in view.vms.values()  # type: ignore[union-attr]
        for snapshot in vm.snapshots
    }
    return sorted(stamps[action.snapshot][6:8] for action in found.actions(CleanSnapshot))


def running(found: Scene, place: Any, mode: Mode) -> None:
    claims = Claims(places=((place, mode),))
    progress = Progress(running={"x": found.now}, claims={"x": claims})  # type: ignore[dict-item]
    found.observed = replace(found.observed, progress=progress)


def the_vm(found: Scene) -> Any:
    (view,) = found.observed.pools.values()
    (vm,) = view.vms  # type: ignore[union-attr]
    return vm


# ── on remotes ────────────────────────────────────────────────────────────────────────────────────

PARTIALS = ", partials: [vdis/j/d/.b.vhd.partial, vdis/j/d/.a.vhd.partial]"


def test_partial_uploads_go() -> None:
    found = scene([at(21)], [at(21)], more=PARTIALS)
    (clean,) = found.actions(CleanFiles)
    assert clean.reason is Reason.PARTIAL_UPLOAD
    assert clean.paths == ("vdis/j/d/.a.vhd.partial", "vdis/j/d/.b.vhd.partial")


@pytest.mark.parametrize("mode", Mode)
def test_partial_uploads_stay_while_we_are_at_work_there(mode: Mode) -> None:
    found = scene([at(21)], [at(21)], more=PARTIALS)
    running(found, remote_place(NAS, the_vm(found)), mode)
    assert found.actions(CleanFiles) == []


def test_partial_uploads_stay_while_somebody_else_is_at_work_there() -> None:
    found = scene([at(21)], [at(21)], more=f"{PARTIALS}, locked: true")
    assert found.actions(CleanFiles) == []


ORPHAN = [at(19), at(20), at(21), at(21).replace("02:00", "03:00").replace("}", ", pruned: true}")]


def test_a_file_of_a_snapshot_that_is_gone_goes() -> None:
    found = scene(ORPHAN, [at(21)])
    (clean,) = found.actions(CleanFiles)
    assert clean.reason is Reason.FILE_UNREFERENCED
    assert clean.freed_bytes == 1024**3


def test_a_file_of_a_snapshot_that_is_there_stays() -> None:
    begun = at(21, "").replace("02:00", "03:00")
    assert scene(ORPHAN, [at(21), begun]).actions(CleanFiles) == []


def test_a_file_of_a_snapshot_that_may_be_there_stays() -> None:
    found = scene(ORPHAN, [at(21)])
    assert len(found.actions(CleanFiles)) == 1
    unseen = replace(found.observed, pools={})
    found.observed = unseen
    assert found.actions(CleanFiles) == []


def test_a_file_of_a_vm_that_is_gone_goes() -> None:
    found = scene(ORPHAN, [at(21)])
    (view,) = found.observed.pools.values()
    gone = replace(view, vms={})  # type: ignore[type-var]
    found.observed = replace(found.observed, pools={"east": gone})  # type: ignore[dict-item]
    assert len(found.actions(CleanFiles)) == 1


def test_a_file_stays_while_an_export_may_have_just_published_it() -> None:
    found = scene(ORPHAN, [at(21)])
    running(found, remote_place(NAS, the_vm(found)), Mode.APPEND)
    assert found.actions(CleanFiles) == []


def test_a_broken_file_stays_and_is_named() -> None:
    orphan = ORPHAN[-1].replace("}", ", broken: {root: torn}}", 1)
    found = scene([*ORPHAN[:-1], orphan], [at(21)])
    assert found.actions(CleanFiles) == []
    (held,) = found.held()
    assert held.reason is Reason.CHAIN_BROKEN
    assert held.why.endswith(": torn")


# ── snapshots ─────────────────────────────────────────────────────────────────────────────────────


def test_a_snapshot_that_no_chain_stands_on_goes() -> None:
    assert cleaned(scene([at(20), at(21)], [at(20), at(21)])) == ["20"]


def test_the_tip_of_any_remote_stays() -> None:
    found = scene([at(20), at(21)], [at(19), at(20), at(21)], off=[at(19)])
    assert cleaned(found) == ["20"]


@pytest.mark.parametrize("off", ["{unknown: no answer}", "{vms: {web: {unknown: EIO}}}"])
def test_all_stay_while_a_remote_is_not_seen(off: str) -> None:
    assert cleaned(scene([at(20), at(21)], [at(20), at(21)], off=off)) == []


def test_the_newest_stays_while_a_remote_lacks_its_point() -> None:
    assert cleaned(scene([at(20)], [at(19), at(20), at(21)])) == ["19"]


def test_all_stay_while_an_action_of_ours_is_at_work_on_them() -> None:
    found = scene([at(20), at(21)], [at(20), at(21)])
    running(found, pool_place(found.desired.jobs[job().name].pools[0], the_vm(found)), Mode.READ)
    assert cleaned(found) == []


def test_all_stay_while_the_vm_is_busy() -> None:
    assert cleaned(scene([at(20), at(21)], [at(20), at(21)], vm=", busy: [snapshot]")) == []


def test_all_stay_while_the_job_is_suspended() -> None:
    assert cleaned(scene([at(20), at(21)], [at(20), at(21)], suspend=True)) == []


def test_the_oldest_stays_while_the_manifest_has_problems() -> None:
    found = scene([at(20), at(21)], [at(19), at(20), at(21)])
    assert cleaned(found) == ["19", "20"]
    mine = frozenset({job().id})
    found.desired = replace(found.desired, protected_jobs=mine)
    assert cleaned(found) == ["20"]


def test_one_that_is_a_tip_nowhere_goes_even_if_it_is_the_newest() -> None:
    found = scene([at(21)], [at(21).replace("02:00", "01:00")])
    assert cleaned(found) == ["21"]


def test_a_tip_that_was_merged_into_keeps_its_snapshot() -> None:
    assert cleaned(scene([at(20, pruned="true"), at(21)], [at(21)])) == []


def test_blocks_of_a_point_that_is_not_made_any_more_go() -> None:
    old, new = "2026-08-20 02:00:05", "2026-08-21 02:00:05"
    found = Scene(
        wanting(job()),
        f"""
now: 2026-08-21 02:10:00
pools: {{east: {{vms: {{web: {{snapshots: [
  {{job: nightly, at: {old}, schedules: [night]}},
  {{job: nightly, at: {new}, schedules: [night]}}]}}}}}}}}
remotes: {{nas: {{vms: {{web: {{partials: [
  {{job: nightly, at: {old}}}, {{job: nightly, at: {new}}}]}}}}}}}}
""",
    )
    (clean,) = found.actions(CleanFiles)
    assert [path.rpartition("/")[2] for path in clean.paths] == ["20260820T020005Z.vhd"]


def test_in_mode_full_no_snapshot_is_a_base() -> None:
    at = "2026-08-20 02:00:05"
    world = f"""
now: 2026-08-20 12:00:00
pools: {{east: {{vms: {{web: {{snapshots: [{{job: nightly, at: {at}, schedules: [night]}}]}}}}}}}}
remotes: {{nas: {{vms: {{web: {{points: [{{job: nightly, at: {at}, schedules: [night]}}]}}}}}}}}
"""
    assert Scene(wanting(job()), world).actions() == []
    (clean,) = Scene(wanting(job(mode=JobMode.FULL)), world).actions(CleanSnapshot)
    assert clean.reason is Reason.SNAPSHOT_SUPERSEDED


@pytest.mark.parametrize("modes", [(Mode.READ, Mode.APPEND), (Mode.APPEND, Mode.READ)])
def test_of_two_that_are_at_work_at_one_place_the_one_that_changes_it_counts(
    modes: tuple[Mode, Mode],
) -> None:
    place = remote_place(RemoteName("nas"), VmUuid("web"))
    names = ActionId("first"), ActionId("second")
    now = datetime(2026, 8, 21, tzinfo=UTC)
    progress = Progress(
        running=dict.fromkeys(names, now),
        claims={
            name: Claims(places=((place, mode),)) for name, mode in zip(names, modes, strict=True)
        },
    )
    world = World(Desired(), Observed(progress=progress), now)
    assert world.mode_on_remote(RemoteName("nas"), VmUuid("web")) is Mode.APPEND
