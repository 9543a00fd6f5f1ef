"""How restores stand: what kubectl waits for, and what is said meanwhile."""

from dataclasses import replace
from typing import Any

from effects import apply, end, start
from scenes import Scene, wanting
from worlds import uuid

from reconciler.desired.document import Identity
from reconciler.desired.state import Desired, LocalPlace, Pool, Remote, Restore, SecretRef
from reconciler.ids import PoolName, RemoteName, RestoreId, RestoreName
from reconciler.observed.progress import Attempt
from reconciler.status.objects import object_statuses
from reconciler.status.report import Report
from reconciler.status.restores import RestoreStanding, restore_standings

EAST, NAS, DRILL = PoolName("east"), RemoteName("nas"), RestoreName("drill")
WORLD = """
now: 2026-08-21 12:00:00
pools: {{east: {{srs: [fast], {pool}}}}}
remotes: {{nas: {{vms: {{web: {{points: [{{job: nightly, at: 2026-08-21 02:00:05}}]}}}}}}}}
"""


def asking(**changes: Any) -> Desired:
    identity = RestoreId(uuid("restore", "drill"))
    drill = Restore(**{"name": DRILL, "id": identity, "vm": "web", "pool": EAST, **changes})
    return wanting(
        pools={EAST: Pool(EAST, ("https://x",), "root", SecretRef(env="X"))},
        remotes={NAS: Remote(NAS, LocalPlace("/srv/nas"))},
        restores={DRILL: drill},
    )


def scene(pool: str = "", **changes: Any) -> Scene:
    return Scene(asking(**changes), WORLD.format(pool=pool))


def standing(found: Scene) -> RestoreStanding:
    (one,) = restore_standings(Report(found.desired, found.observed, found.plan, found.now))
    return one


def said(found: Scene) -> dict[str, tuple[str, str]]:
    conditions = standing(found).conditions
    return {each.type.value: (each.status.value, each.reason.value) for each in conditions}


def test_from_a_wish_to_a_vm() -> None:
    found = scene()
    assert said(found)["Reconciling"] == ("True", "WaitingForLimit")
    (restore,) = found.actions()
    found.observed = start([restore], found.observed, found.now, found.desired)
    assert said(found) == {
        "Ready": ("False", "AlreadyRunning"),
        "Complete": ("False", "AlreadyRunning"),
        "Reconciling": ("True", "AlreadyRunning"),
    }
    found.observed = apply(restore, end(restore, found.observed, found.now), found.now)
    done = standing(found)
    assert said(found) == {
        "Ready": ("True", "Restored"),
        "Complete": ("True", "Restored"),
        "Failed": ("False", "Restored"),
    }
    made = uuid("restored", restore.restore)
    assert done.fields["resolvedPoint"]["stamp"] == "20260821T020005Z"
    assert done.fields["restoredVM"] == {"uuid": made, "name": "web (20260821T020005Z)"}


def test_a_try_that_failed_is_retried_and_says_why() -> None:
    found = scene()
    (restore,) = found.actions()
    started = start([restore], found.observed, found.now, found.desired)
    failure = Attempt(found.now, False, 1, found.now, "InsufficientSpace", "the SR is full")
    found.observed = end(restore, started, found.now, failure)
    assert said(found)["Reconciling"] == ("True", "InsufficientSpace")
    assert "Failed" not in said(found)


def test_what_only_a_person_can_help_has_failed() -> None:
    found = said(scene(vm="wbe"))
    assert found["Failed"] == found["Stalled"] == ("True", "PointUnknown")
    assert found["Complete"] == ("False", "PointUnknown")
    changed = "restores: {drill: {vm: web, at: 2026-08-21 02:00:05, revision: x, made: copy}}"
    assert said(scene(pool=changed))["Failed"] == ("True", "RestoreChanged")


def test_it_stays_complete_without_its_vm() -> None:
    found = scene(pool="restores: {drill: {vm: web, at: 2026-08-21 02:00:05, made: copy}}")
    assert said(found)["Complete"] == ("True", "Restored")
    assert "name" not in standing(found).fields["restoredVM"]


def test_a_suspended_one_is_neither_failed_nor_under_way() -> None:
    found = said(scene(suspend=True))
    assert found == {"Ready": ("False", "Suspended"), "Complete": ("False", "Suspended")}


def test_a_pool_that_was_not_looked_at_says_nothing_yet() -> None:
    found = scene()
    found.observed = replace(found.observed, pools={})
    assert not standing(found).looked_at
    identity = Identity("Restore", "default", "drill")
    report = Report(found.desired, found.observed, found.plan, found.now)
    assert not object_statuses(report, [identity])[identity].looked_at
