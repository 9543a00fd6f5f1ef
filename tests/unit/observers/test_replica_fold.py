"""Replicas as a pool's records tell of them, batch by batch and all at once."""

import random
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    PoolName,
    ScheduleId,
    SrUuid,
    Stamp,
    VmUuid,
)
from reconciler.observed.replica import ReplicaDisk, ReplicaKind, ReplicaState
from reconciler.observed.replica_marks import (
    DiskOrigin,
    ReplicaMarks,
    staging_name,
    write_disk_point,
    write_point,
    write_replica,
    write_unfinished,
)
from reconciler.observers.pool_fold import NoPool, PoolFold
from reconciler.xapi.events import Change

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = JobId("11111111-1111-4111-8111-111111111111")
VM = VmUuid("33333333-3333-4333-8333-333333333333")
SOURCE = DiskSnapshotUuid("66666666-6666-4666-8666-666666666666")
LIVE = DiskUuid("77777777-7777-4777-8777-777777777777")
BLOCKED = {"start": "no", "start_on": "no"}
NULL = "OpaqueRef:NULL"


def uuid_of(name):
    return f"{random.Random(name).getrandbits(32):08x}-1111-4111-8111-{len(name):012x}"


SR = SrUuid(uuid_of("S"))


def marks(stamp="20260101T000000Z"):
    return ReplicaMarks(JOB, (ScheduleId("nightly"),), Stamp(stamp), VM, "web", SR)


class Target:
    """A pool's records, made by hand."""

    def __init__(self):
        self.records = {}
        self.put("pool", "P", name_label="east", master="H")
        self.put("host", "H", name_label="host1", address="10.0.0.1", software_version={})
        sizes = {"physical_size": 1000, "physical_utilisation": 400}
        self.put("SR", "S", name_label="local", type="ext", content_type="user", **sizes)

    def put(self, kind, ref, **fields):
        known = self.records.get((kind, ref), {"uuid": uuid_of(ref)})
        self.records[kind, ref] = {**known, **fields}
        return Change(kind, ref, self.records[kind, ref])

    def drop(self, kind, ref):
        del self.records[kind, ref]
        return Change(kind, ref, None)

    def vm(self, ref, **fields):
        vbd, vdi = f"{ref}-vbd", f"{ref}-vdi"
        said = {"name_label": ref, "power_state": "Halted", "is_a_template": False}
        said |= {"is_a_snapshot": False, "snapshot_of": NULL, "current_operations": {}}
        said |= {"blocked_operations": BLOCKED, "other_config": {}, "VBDs": [vbd], **fields}
        origin = write_disk_point(marks(), DiskOrigin(SOURCE, LIVE), SOURCE, uuid_of(vdi), {})
        disk = {"virtual_size": 1024, "SR": "S", "type": "user", "other_config": origin}
        return [
            self.put("VM", ref, **said),
            self.put("VBD", vbd, VM=ref, VDI=vdi, type="Disk", userdevice="0"),
            self.put("VDI", vdi, name_label=vdi, **disk),
        ]

    def replica(self, ref="target", **fields):
        return self.vm(ref, other_config=write_replica(SR, uuid_of(ref), {}), **fields)

    def point(self, ref, stamp="20260101T000000Z", of="target"):
        config = write_point(marks(stamp), uuid_of(ref), {})
        taken = {"is_a_snapshot": True, "snapshot_of": of, "blocked_operations": {}}
        return self.vm(ref, other_config=config, **taken)

    def everything(self):
        return tuple(Change(kind, ref, record) for (kind, ref), record in self.records.items())

    def view(self):
        return PoolFold(PoolName("east")).apply(self.everything(), NOW)


@pytest.fixture
def target():
    return Target()


def test_storage_is_seen_with_what_is_free(target):
    target.put("SR", "iso", name_label="iso", type="iso", content_type="iso")
    target.put("SR", "odd", name_label="odd", type="nfs", content_type="user", physical_size=-1)
    srs = target.view().srs
    assert {sr.name: (sr.free_bytes, sr.total_bytes) for sr in srs.values()} == {
        "local": (600, 1000),
        "odd": (None, None),
    }
    assert srs[SR].uuid == SR


def test_each_snapshot_of_a_replica_is_a_point(target):
    target.replica()
    target.point("second", "20260102T000000Z")
    target.point("first", "20260101T000000Z")
    view = target.view()
    assert view.vms == {}
    assert [(point.stamp, point.snapshot) for point in view.replicas] == [
        ("20260101T000000Z", uuid_of("first")),
        ("20260102T000000Z", uuid_of("second")),
    ]
    first = view.replicas[0]
    assert (first.kind, first.state) == (ReplicaKind.UPDATED, ReplicaState.WHOLE)
    assert (first.replica, first.sr, first.job) == (uuid_of("target"), SR, JOB)
    assert (first.vm, first.vm_name, first.schedules) == (VM, "web", ("nightly",))
    assert first.disks == (ReplicaDisk(DiskSnapshotUuid(uuid_of("first-vdi")), LIVE, SOURCE, 1024),)
    assert first.clean
    assert view.strays == view.orphans == ()


@pytest.mark.parametrize(
    "touched", [{"power_state": "Running"}, {"blocked_operations": {}}, {"power_state": "Paused"}]
)
def test_a_replica_that_somebody_uses_is_not_clean(target, touched):
    target.replica(**touched)
    target.point("first")
    (point,) = target.view().replicas
    assert not point.clean
    assert point.state is ReplicaState.WHOLE


def test_a_point_outlives_its_replica_and_is_no_stray_snapshot(target):
    target.point("first", of="gone")
    view = target.view()
    (point,) = view.replicas
    assert (point.snapshot, point.clean) == (uuid_of("first"), False)
    assert view.strays == ()


def test_a_copied_vm_is_a_point_until_it_may_be_started(target):
    config = write_point(marks(), uuid_of("copy"), {})
    target.vm("copy", other_config=config)
    (point,) = target.view().replicas
    assert (point.kind, point.replica, point.snapshot) == (
        ReplicaKind.COPIED,
        uuid_of("copy"),
        None,
    )
    target.put("VM", "copy", blocked_operations={})
    assert target.view().replicas == ()
    assert target.view().vms == {}


def test_the_clone_of_a_point_is_neither_a_point_nor_something_to_clean(target):
    target.vm("clone", other_config=write_point(marks(), uuid_of("first"), {}))
    view = target.view()
    assert view.replicas == ()
    assert view.vms == {}


def test_a_point_of_another_tool_is_one_and_not_ours(target):
    target.replica()
    target.point("ours", "20260101T000000Z")
    target.point("theirs", "20260102T000000Z")
    config = target.records["VM", "theirs"]["other_config"]
    foreign = {key: value for key, value in config.items() if not key.startswith("reconciler:")}
    target.put("VM", "theirs", other_config=foreign)
    first, second = target.view().replicas
    assert (first.snapshot, first.ours) == (uuid_of("ours"), True)
    assert (second.snapshot, second.ours) == (uuid_of("theirs"), False)
    assert second.schedules == (ScheduleId("nightly"),)


def test_a_replica_that_is_called_unfinished_is_seen_as_such(target):
    target.replica(name_label="[Importing…] web")
    target.point("point")
    (seen,) = target.view().replicas
    assert seen.importing
    target.put("VM", "target", name_label="web - nightly")
    (seen,) = target.view().replicas
    assert not seen.importing


def test_what_did_not_end_is_shown_as_interrupted(target):
    target.vm("begun", other_config=write_unfinished(marks(), uuid_of("begun"), {}))
    name = staging_name(JOB, VM, Stamp("20260103T000000Z"))
    config = write_point(marks(), uuid_of("first"), {})
    target.vm("made", name_label=name, other_config=config)
    taken = {"is_a_snapshot": True, "snapshot_of": "target", "is_a_template": True}
    target.replica()
    target.vm("taken", name_label=name, other_config=write_replica(SR, "target", {}), **taken)
    found = target.view().replicas
    assert {one.state for one in found} == {ReplicaState.INTERRUPTED}
    assert {one.replica for one in found} == {uuid_of("begun"), uuid_of("made"), uuid_of("taken")}


def test_a_replica_with_points_is_never_left_over(target):
    target.vm("target", other_config=write_unfinished(marks(), uuid_of("target"), {}))
    target.point("first")
    assert [one.state for one in target.view().replicas] == [ReplicaState.WHOLE]


def random_change(target, rng):
    ref, of = f"vm{rng.randrange(3)}", f"vm{rng.randrange(3)}"
    match rng.randrange(6):
        case 0:
            return target.replica(ref, power_state=rng.choice(["Halted", "Running"]))
        case 1:
            return target.point(ref, of=of)
        case 2:
            return target.vm(ref, other_config=write_unfinished(marks(), uuid_of(ref), {}))
        case 3 if (kind_ref := rng.choice(sorted(target.records))) and kind_ref[0] != "pool":
            return [target.drop(*kind_ref)]
        case 4:
            return [target.put("SR", "S", physical_utilisation=rng.randrange(1000))]
        case _:
            kind, ref = rng.choice(sorted(target.records))
            field = rng.choice(["snapshot_of", "blocked_operations", "VBDs", "other_config"])
            return [target.put(kind, ref, **{field: rng.choice(["vm0", {}, [], None])})]


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_changes_one_by_one_and_everything_at_once_give_the_same_replicas(rng):
    target, folded = Target(), PoolFold(PoolName("east"))
    folded.apply(target.everything(), NOW)
    for _ in range(rng.randrange(30)):
        changes = tuple(random_change(target, rng))
        with suppress(NoPool):
            folded.apply(changes, NOW)
    try:
        afresh = target.view()
    except NoPool:
        return
    now = folded.apply((), NOW)
    assert (now.replicas, now.srs) == (afresh.replicas, afresh.srs)
