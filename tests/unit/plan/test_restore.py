"""Restores that manifests ask for: which point, when not yet, once and never again."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from effects import apply, start
from scenes import Scene, wanting
from worlds import disk_uuid, instant, uuid, vm_uuid

from reconciler.desired.problems import Problem
from reconciler.desired.state import Desired, LocalPlace, NetworkChoice, Pool, Remote, SecretRef
from reconciler.desired.state import Restore as Wanted
from reconciler.ids import PoolName, RemoteName, RestoreId, RestoreName, stamp_of
from reconciler.plan.actions import id_of
from reconciler.plan.planner import plan
from reconciler.plan.reasons import Reason
from reconciler.plan.restore import intent_of
from reconciler.plan.restore_actions import CleanRestore, RestoreVm

DRILL = RestoreName("drill")
NAS, OFF, EAST = RemoteName("nas"), RemoteName("off"), PoolName("east")
OLD = "{job: nightly, at: 2026-08-20 02:00:05}"
NEW = "{job: nightly, at: 2026-08-21 02:00:05}"
NEWEST = stamp_of(instant("2026-08-21 02:00:05"))


def drill(**changes: Any) -> Wanted:
    settings = {"name": DRILL, "id": RestoreId(uuid("restore", "drill")), "vm": "web", "pool": EAST}
    return Wanted(**{**settings, "revision": "1", **changes})


def asking(*restores: Wanted, **changes: Any) -> Desired:
    settings: dict[str, Any] = {
        "pools": {EAST: Pool(EAST, ("https://x",), "root", SecretRef(env="X"))},
        "remotes": {name: Remote(name, LocalPlace(f"/srv/{name}")) for name in (NAS, OFF)},
        "restores": {each.name: each for each in restores},
    }
    return wanting(**{**settings, **changes})


def scene(desired: Desired, nas: str = f"{OLD}, {NEW}", off: str = OLD, pool: str = "") -> Scene:
    text = f"""
now: 2026-08-21 12:00:00
pools: {{east: {{srs: [fast, slow], {pool}}}}}
remotes:
  nas: {{vms: {{web: {{points: [{nas}]}}}}}}
  off: {{vms: {{web: {{points: [{off}]}}}}}}
"""
    return Scene(desired, text)


def only(found: Scene) -> RestoreVm:
    (action,) = found.actions()
    assert isinstance(action, RestoreVm)
    return action


def held(found: Scene) -> tuple[Reason, str]:
    assert found.actions() == []
    (one,) = found.plan.held
    assert one.subject == "restore drill"
    return one.reason, one.why


def test_the_newest_point_wherever_it_is() -> None:
    action = only(scene(asking(drill())))
    assert (action.remote, action.stamp, action.vm) == (NAS, NEWEST, vm_uuid("web"))
    assert (action.pool, action.restore) == (EAST, drill().id)


def test_the_newest_of_one_remote() -> None:
    assert only(scene(asking(drill(remote=OFF)))).stamp < NEWEST


def test_the_newest_that_is_not_after_a_time() -> None:
    found = only(scene(asking(drill(as_of=instant("2026-08-20 12:00:00")))))
    assert found.stamp == stamp_of(instant("2026-08-20 02:00:05"))


def test_by_uuid_or_by_name() -> None:
    assert only(scene(asking(drill(vm=vm_uuid("web"))))).vm_name == "web"
    reason, why = held(scene(asking(drill(vm="wbe"))))
    assert reason is Reason.POINT_UNKNOWN
    assert "wbe" in why


def test_a_point_that_is_not_there() -> None:
    reason, why = held(scene(asking(drill(stamp=stamp_of(instant("2026-08-01"))))))
    assert reason is Reason.POINT_UNKNOWN
    assert NEWEST in why


def test_the_newest_is_not_known_while_a_remote_is_out_of_sight() -> None:
    found = scene(asking(drill()))
    remotes = {**found.observed.remotes}
    del remotes[OFF]
    found.observed = replace(found.observed, remotes=remotes)
    assert held(found)[0] is Reason.REMOTE_UNAVAILABLE
    found.desired = asking(drill(stamp=NEWEST))
    assert only(found).stamp == NEWEST, "a point that is named is enough where it is"
    found.desired = asking(drill(remote=NAS))
    assert only(found).remote == NAS


def test_a_broken_newest_point_is_not_replaced_by_an_older_one() -> None:
    found = scene(asking(drill()), nas=f"{OLD}, {NEW[:-1]}, missing: [root]}}")
    reason, why = held(found)
    assert reason is Reason.CHAIN_BROKEN
    assert "20260820T020005Z" in why


def test_one_whole_copy_is_enough() -> None:
    found = scene(asking(drill()), nas=f"{NEW[:-1]}, missing: [root]}}", off=NEW)
    assert only(found).remote == OFF


def test_the_storage_must_be_there() -> None:
    assert only(scene(asking(drill(sr="fast")))).sr == "fast"
    assert held(scene(asking(drill(sr="fats"))))[0] is Reason.SR_UNKNOWN


def test_interfaces_of_an_archive_go_where_the_pool_puts_them() -> None:
    wanted = drill(networks=(NetworkChoice("*", "test"),))
    archive = f"{NEW[:-1]}, archive: true}}"
    assert held(scene(asking(wanted), nas=archive))[0] is Reason.NETWORK_UNKNOWN
    assert only(scene(asking(drill()), nas=archive)).stamp == NEWEST


def test_a_suspended_one_is_not_begun() -> None:
    assert held(scene(asking(drill(suspend=True))))[0] is Reason.SUSPENDED


def test_it_goes_on_with_the_point_it_was_begun_with() -> None:
    begun = "restores: {drill: {vm: web, at: 2026-08-20 02:00:05}}"
    assert only(scene(asking(drill()), pool=begun)).stamp < NEWEST


def test_what_is_done_is_done_whatever_became_of_the_vm() -> None:
    done = "restores: {drill: {vm: web, at: 2026-08-20 02:00:05, made: copy}}"
    found = scene(asking(drill()), pool=done)
    assert (found.plan.actions, found.plan.held) == ((), ())


def test_another_wish_under_its_name_is_not_done() -> None:
    done = "restores: {drill: {vm: web, at: 2026-08-20 02:00:05, made: copy}}"
    found = scene(asking(drill()), pool=done)
    found.desired = asking(drill(revision="2", vm="db"))
    assert held(found)[0] is Reason.RESTORE_CHANGED


def test_what_an_interrupted_try_left_goes_first() -> None:
    half = """restores: {drill: {vm: web, at: 2026-08-20 02:00:05}},
      restored: [{restore: drill, vm: half}], loose: [{restore: drill, disk: data}]"""
    found = scene(asking(drill()), pool=half)
    (first,) = found.actions()
    assert isinstance(first, CleanRestore)
    assert (first.vm, first.disks) == (vm_uuid("half"), ())
    found.observed = apply(first, found.observed, found.now)
    (second,) = found.actions()
    assert isinstance(second, CleanRestore)
    assert (second.vm, second.disks) == (None, (disk_uuid("drill", "data"),))
    found.observed = apply(second, found.observed, found.now)
    assert only(found).made is None


def test_a_whole_vm_is_not_made_again() -> None:
    whole = """restores: {drill: {vm: web, at: 2026-08-20 02:00:05}},
      restored: [{restore: drill, vm: copy, whole: true}]"""
    found = scene(asking(drill()), pool=whole)
    action = only(found)
    assert action.made == vm_uuid("copy")
    found.observed = apply(action, found.observed, found.now)
    assert found.actions() == []


def test_nothing_is_removed_while_it_is_being_made() -> None:
    found = scene(asking(drill()))
    action = only(found)
    half = """restores: {drill: {vm: web, at: 2026-08-21 02:00:05}},
      restored: [{restore: drill, vm: half}], loose: [{restore: drill, disk: data}]"""
    running = scene(asking(drill()), pool=half)
    running.observed = start([action], running.observed, running.now, running.desired)
    assert id_of(only(running)) == id_of(action) == intent_of(drill())
    assert running.plan.cancel == ()


def test_it_ends_with_its_manifest_unless_that_cannot_be_read() -> None:
    found = scene(asking(drill()))
    found.observed = start([only(found)], found.observed, found.now, found.desired)
    found.desired = asking()
    (ended,) = found.plan.cancel
    assert (ended.action, ended.reason) == (intent_of(drill()), Reason.CANCELLED)
    found.desired = asking(problems=(Problem("a.yaml", 1, 1, "not YAML"),))
    assert found.plan.cancel == ()


def test_what_a_foreign_restore_left_is_only_named() -> None:
    half = """restores: {other: {vm: web, at: 2026-08-20 02:00:05}},
      restored: [{restore: other, vm: half}], loose: [{restore: other, disk: data}]"""
    found = scene(asking(), pool=half)
    assert found.actions() == []
    assert found.reasons() == ["RestoreUnknown"]


def test_somebody_who_waits_comes_first() -> None:
    found = scene(asking(drill()))
    assert only(found).due == instant("2026-08-21 02:00:05")
    asked_at = found.now - timedelta(minutes=5)
    found.desired = asking(drill(asked_at=asked_at))
    assert only(found).due == asked_at
    assert plan(found.desired, found.observed, found.now + timedelta(days=9)) == found.plan
