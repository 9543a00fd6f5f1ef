"""Replicas: what an update stands on, which points leave, what is left over."""

from dataclasses import replace
from typing import Any

import pytest
from effects import apply
from scenes import Scene, job, schedule, wanting
from worlds import disk_snapshot_uuid, disk_uuid, replica_uuid, sr_uuid, vm_uuid

from reconciler.desired.retention import Retention
from reconciler.desired.state import JobMode, PruneGuard, SrTarget
from reconciler.ids import JobId, PoolName, Stamp
from reconciler.observed.progress import Attempt, Progress
from reconciler.plan.actions import (
    CleanReplica,
    CleanSnapshot,
    CopyVm,
    ExportKind,
    PruneReplica,
    Replicate,
    Snapshot,
    id_of,
)
from reconciler.plan.reasons import Reason

WEB, WEST = vm_uuid("web"), PoolName("west")
FAST = sr_uuid("west", "fast")
FIRST = replica_uuid(WEB, FAST, JobId(job().id), "first")


def at(day: int, **more: str) -> str:
    rest = "".join(f", {key}: {value}" for key, value in more.items())
    return f"{{job: nightly, at: 2026-08-{day} 02:00:05, schedules: [night]{rest}}}"


def on_sr(day: int, **more: str) -> str:
    return at(day, vm="web", sr="fast", **more)


def scene(
    *replicas: str,
    snapshots: tuple[str, ...] = (at(20), at(21)),
    disks: str = "{root: 10GiB}",
    now: str = "2026-08-21 02:10:00",
    keep: int = 0,
    **changes: Any,
) -> Scene:
    night = schedule(retention=Retention(last=keep))
    settings = {"remotes": (), "srs": (SrTarget("fast", WEST),), "guard": PruneGuard(100, 1000)}
    wanted = wanting(job(night, **{**settings, **changes}))
    pools = {
        name: replace(wanted.pools[PoolName("east")], name=name)
        for name in (PoolName("east"), WEST)
    }
    return Scene(
        replace(wanted, pools=pools),
        f"""
now: {now}
pools:
  east: {{vms: {{web: {{disks: {disks}, snapshots: [{", ".join(snapshots)}]}}}}}}
  west: {{srs: [fast], replicas: [{", ".join(replicas)}]}}
""",
    )


def only(found: Scene) -> Replicate:
    (action,) = found.actions(Replicate)
    assert isinstance(action, Replicate)
    return action


# ── updates ───────────────────────────────────────────────────────────────────────────────────────


def test_the_first_replica_is_made_of_whole_disks() -> None:
    action = only(scene())
    assert (action.replica, action.base) == (None, None)
    assert [(disk.kind, disk.reason) for disk in action.disks] == [
        (ExportKind.FULL, Reason.FIRST_BACKUP)
    ]
    assert (action.target_pool, action.sr) == (WEST, FAST)


def test_a_replica_is_updated_by_the_difference_to_what_it_equals() -> None:
    action = only(scene(on_sr(19), on_sr(20)))
    assert action.replica == FIRST
    assert action.base == Stamp("20260820T020005Z")
    (disk,) = action.disks
    assert (disk.kind, disk.reason) == (ExportKind.DELTA, Reason.BASE_PRESENT)
    assert disk.base == disk_snapshot_uuid(disk_uuid("web", "root"), "20260820T020005Z")


def test_a_replica_that_somebody_uses_is_left_to_them_and_its_point_gone_on_from() -> None:
    action = only(scene(on_sr(20, clean="false")))
    assert action.replica is None
    assert action.base == Stamp("20260820T020005Z")
    assert [(disk.kind, disk.reason) for disk in action.disks] == [
        (ExportKind.DELTA, Reason.REPLICA_CHANGED)
    ]


def test_a_disk_without_its_snapshot_comes_whole_and_only_this_disk() -> None:
    both = {"disks": "[root, data]"}
    found = scene(
        on_sr(20, **both),
        snapshots=(at(20, disks="[root]"), at(21, **both)),
        disks="{root: 10GiB, data: 10GiB}",
    )
    assert [disk.reason for disk in only(found).disks] == [
        Reason.BASE_PRESENT,
        Reason.REFERENCE_SNAPSHOT_LOST,
    ]
    added = scene(
        on_sr(20),
        snapshots=(at(20), at(21, **both)),
        disks="{root: 10GiB, data: 10GiB}",
    )
    assert [disk.reason for disk in only(added).disks] == [Reason.BASE_PRESENT, Reason.DISK_ADDED]


def test_a_disk_that_shrank_comes_whole_and_one_that_grew_does_not() -> None:
    shrunk = only(scene(on_sr(20), disks="{root: 5GiB}"))
    assert [disk.reason for disk in shrunk.disks] == [Reason.DISK_SHRUNK]
    grown = only(scene(on_sr(20), disks="{root: 20GiB}"))
    assert [disk.reason for disk in grown.disks] == [Reason.BASE_PRESENT]


def test_a_difference_that_the_pool_cannot_read_comes_whole() -> None:
    found = scene(on_sr(20))
    attempt = Attempt(found.now, False, 3, found.now, "XapiError", "VDI_IO_ERROR")
    progress = Progress(ended={id_of(only(found)): attempt})
    found.observed = replace(found.observed, progress=progress)
    assert [disk.reason for disk in only(found).disks] == [Reason.DELTA_FAILED]


def test_in_mode_full_the_vm_is_copied() -> None:
    found = scene(on_sr(20), mode=JobMode.FULL)
    (copy,) = found.actions(CopyVm)
    assert (copy.target_pool, copy.sr) == (WEST, FAST)
    assert found.actions(Replicate) == []


# ── snapshots that replicas stand on ──────────────────────────────────────────────────────────────


def test_what_the_replica_equals_stays_and_the_rest_goes() -> None:
    found = scene(on_sr(20), on_sr(21), snapshots=(at(19), at(20), at(21)))
    gone = {action.disks for action in found.actions(CleanSnapshot)}
    assert gone == {
        (disk_snapshot_uuid(disk_uuid("web", "root"), f"202608{day}T020005Z"),) for day in (19, 20)
    }


@pytest.mark.parametrize("clean", ["true", "false"])
def test_the_base_stays_while_the_next_point_is_made(clean: str) -> None:
    assert scene(on_sr(20, clean=clean)).actions(CleanSnapshot) == []


def test_in_mode_full_nothing_stands_on_a_snapshot() -> None:
    found = scene(on_sr(20, kind="Copied"), on_sr(21, kind="Copied"), mode=JobMode.FULL)
    assert len(found.actions(CleanSnapshot)) == 2


def test_while_the_pool_of_the_sr_is_not_seen_all_snapshots_stay() -> None:
    found = scene(on_sr(20), snapshots=(at(19), at(20)))
    pools = {name: view for name, view in found.observed.pools.items() if name != WEST}
    found.observed = replace(found.observed, pools=pools)
    assert found.actions() == []
    assert {each.reason for each in found.plan.held} == {Reason.POOL_UNREACHABLE}


# ── what leaves ───────────────────────────────────────────────────────────────────────────────────


def test_points_leave_when_no_rule_keeps_them_the_oldest_first() -> None:
    found = scene(*map(on_sr, (18, 19, 20, 21)), keep=2)
    prunes = found.actions(PruneReplica)
    assert [action.stamp for action in prunes] == ["20260818T020005Z", "20260819T020005Z"]
    assert not any(action.with_replica for action in prunes)
    assert all(action.snapshot is not None for action in prunes)


def test_old_points_leave_once_the_new_one_stands() -> None:
    found = scene(*map(on_sr, (18, 19, 20)), keep=2)
    assert found.actions(PruneReplica) == []
    found.observed = apply(only(found), found.observed, found.now)
    assert [action.stamp for action in found.actions(PruneReplica)] == [
        "20260818T020005Z",
        "20260819T020005Z",
    ]


def test_the_last_good_one_stays() -> None:
    found = scene(on_sr(20), snapshots=(), now="2026-08-20 12:00:00", keep=1)
    assert found.actions(PruneReplica) == []


def test_an_abandoned_replica_goes_with_its_last_point() -> None:
    old = [on_sr(day) for day in (17, 18)]
    new = [on_sr(day, of="second") for day in (20, 21)]
    prunes = scene(*old, *new, keep=2).actions(PruneReplica)
    assert [(each.stamp, each.with_replica) for each in prunes] == [
        ("20260817T020005Z", True),
        ("20260818T020005Z", True),
    ]
    (first,) = scene(*old, *new, keep=3).actions(PruneReplica)
    assert not first.with_replica, "one of its points stays"


def test_a_replica_that_somebody_uses_stays_when_its_last_point_goes() -> None:
    new = [on_sr(day, of="second") for day in (20, 21)]
    (prune,) = scene(on_sr(18, clean="false"), *new, keep=2).actions(PruneReplica)
    assert not prune.with_replica


def test_copies_leave_as_vms() -> None:
    copies = [on_sr(day, kind="Copied") for day in (19, 20, 21)]
    (prune,) = scene(*copies, keep=2, mode=JobMode.FULL).actions(PruneReplica)
    assert prune.snapshot is None
    assert prune.stamp == "20260819T020005Z"


# ── what is left over ─────────────────────────────────────────────────────────────────────────────


def test_what_an_interrupted_replication_left_goes_first() -> None:
    found = scene(on_sr(20), on_sr(21, of="third", interrupted="true"))
    (clean,) = found.actions(CleanReplica)
    assert clean.replica == replica_uuid(WEB, FAST, clean.job_id, "third")
    (held,) = found.held(Replicate)
    assert held.reason is Reason.REPLICA_INTERRUPTED
    found.observed = apply(clean, found.observed, found.now)
    assert only(found).replica == FIRST


def test_what_cannot_be_removed_is_not_waited_for() -> None:
    found = scene(on_sr(20), on_sr(21, of="third", interrupted="true"))
    (clean,) = found.actions(CleanReplica)
    attempt = Attempt(found.now, False, 3, found.now, "XapiError", "VM_BAD_POWER_STATE")
    progress = Progress(ended={id_of(clean): attempt})
    found.observed = replace(found.observed, progress=progress)
    assert only(found)


@pytest.mark.parametrize("other", [{"job": "nobodys"}, {}])
def test_only_left_overs_of_jobs_that_are_in_force_go(other: dict[str, str]) -> None:
    left = on_sr(21, of="third", interrupted="true")
    if other:
        left = left.replace("job: nightly", "job: nobodys")
        assert scene(left).actions(CleanReplica) == []
    assert scene(on_sr(21, interrupted="true"), suspend=True).actions() == []


def test_nothing_goes_that_a_point_stands_on() -> None:
    found = scene(on_sr(20), on_sr(21, interrupted="true"))
    assert found.actions(CleanReplica) == []


# ── where ─────────────────────────────────────────────────────────────────────────────────────────


def test_an_sr_is_named_by_its_uuid_or_by_a_name_that_only_one_has() -> None:
    assert only(scene(srs=(SrTarget(FAST, WEST),))).sr == FAST
    for wrong in ("slow", "FAST"):
        found = scene(srs=(SrTarget(wrong, WEST),))
        assert found.actions() == []
        assert Reason.SR_UNKNOWN in {each.reason for each in found.plan.held}
    twins = scene()
    view: Any = twins.observed.pools[WEST]
    second = replace(view.srs[FAST], uuid=sr_uuid("west", "other"))
    view = replace(view, srs={**view.srs, second.uuid: second})
    twins.observed = replace(twins.observed, pools={**twins.observed.pools, WEST: view})
    (held,) = (each for each in twins.plan.held if each.reason is Reason.SR_UNKNOWN)
    assert held.why == "pool west has 2 SRs called so; name it by its uuid"
    twins.desired = replace(
        twins.desired,
        jobs={each.name: each for each in [job(remotes=(), srs=(SrTarget(FAST, WEST),))]},
    )
    assert only(twins).sr == FAST


def test_an_sr_without_a_pool_is_of_the_vms_own() -> None:
    found = scene(srs=(SrTarget("fast"),))
    view: Any = found.observed.pools[WEST]
    east: Any = found.observed.pools[PoolName("east")]
    found.observed = replace(
        found.observed,
        pools={**found.observed.pools, PoolName("east"): replace(east, srs=view.srs)},
    )
    assert only(found).target_pool == PoolName("east")


def test_one_sr_that_is_named_twice_gets_one_replica() -> None:
    assert only(scene(srs=(SrTarget("fast", WEST), SrTarget(FAST, WEST))))


def test_each_place_owes_its_own_schedules_only() -> None:
    week = schedule("week", "0 2 * * MON", Retention(last=1))
    night = replace(schedule(), destinations=frozenset({SrTarget("fast", WEST)}))
    found = scene(on_sr(20), snapshots=(at(20), at(21)))
    wanted = replace(job(night, week), srs=(SrTarget("fast", WEST),))
    found.desired = replace(wanting(wanted), pools=found.desired.pools, jobs={wanted.name: wanted})
    found.observed = replace(
        found.observed,
        remotes=Scene(
            found.desired, "now: 2026-08-21 02:10:00\nremotes: {nas: {}}"
        ).observed.remotes,
    )
    assert only(found).schedules == (night.id,)
    assert [type(action) for action in found.actions()] == [Replicate], "the remote owes nothing"
    assert found.actions(Snapshot) == []
