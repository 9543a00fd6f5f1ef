"""What each kind of action occupies."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest
from scenes import job, wanting

from reconciler.desired.state import (
    Compression,
    Desired,
)
from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    RestoreId,
    SnapshotUuid,
    SrUuid,
    Stamp,
    VmUuid,
)
from reconciler.observed.progress import Mode, Place, PlaceKind, SlotKind, Slots
from reconciler.plan.actions import (
    Action,
    Archive,
    CleanFiles,
    CleanReplica,
    CleanSnapshot,
    CopyVm,
    DiskExport,
    Export,
    ExportKind,
    Merge,
    Prune,
    PruneReplica,
    Replicate,
    Snapshot,
    Verify,
)
from reconciler.plan.claims import claims_of, limit_of, restore_place, touched_by
from reconciler.plan.power_on import PowerOn
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import CleanRestore, RestoreDisk, RestoreVm

NOW = datetime(2026, 8, 21, 2, tzinfo=UTC)
EAST, NAS, VM, STAMP = PoolName("east"), RemoteName("nas"), VmUuid("v"), Stamp("20260821T020000Z")
ON_POOL = Place(PlaceKind.POOL, "east", VM)
WEST, SR = PoolName("west"), SrUuid("5a5a5a5a")
ON_SR = Place(PlaceKind.SR, "west/5a5a5a5a", VM)
ON_REMOTE = Place(PlaceKind.REMOTE, "nas", VM)
DISK = DiskExport(DiskUuid("d"), DiskSnapshotUuid("s"), ExportKind.FULL, Reason.FIRST_BACKUP)
OTHER = replace(DISK, disk=DiskUuid("f"), snapshot=DiskSnapshotUuid("t"))
THERE = replace(DISK, disk=DiskUuid("e"), reason=Reason.ALREADY_EXPORTED)

SENT = {
    "pool": EAST,
    "vm": VM,
    "vm_name": "web",
    "job": JobName("j"),
    "job_id": JobId("j"),
    "schedules": (),
    "snapshot": SnapshotUuid("s"),
    "stamp": STAMP,
    "due": NOW,
    "reason": Reason.POINT_MISSING,
}
AT_SR = {"target_pool": WEST, "sr": SR}

ACTIONS: list[Action] = [
    Snapshot(EAST, VM, "web", JobName("j"), JobId("j"), (), NOW, Reason.SCHEDULED),
    Export(**SENT, remote=NAS, disks=(DISK, OTHER, THERE)),
    Archive(**SENT, remote=NAS, compression=Compression.NONE),
    Replicate(**SENT, **AT_SR, replica=None, base=None, disks=(DISK, OTHER)),
    CopyVm(**SENT, **AT_SR, compression=Compression.NONE),
    PruneReplica(
        WEST, SR, VM, "web", None, JobId("j"), STAMP, VmUuid("r"), None, NOW,
        Reason.RETENTION_EXCEEDED,
    ),
    CleanReplica(
        WEST, SR, VM, "web", JobId("j"), VmUuid("r"), NOW, Reason.REPLICA_INTERRUPTED
    ),
    Merge(NAS, VM, "web", None, "a", "b", 1, NOW, Reason.POINT_PRUNED),
    Prune(NAS, VM, "web", None, STAMP, 1, NOW, Reason.RETENTION_EXCEEDED),
    CleanFiles(NAS, VM, "web", ("a",), 1, NOW, Reason.PARTIAL_UPLOAD),
    CleanSnapshot(EAST, VM, "web", SnapshotUuid("s"), (), NOW, Reason.SNAPSHOT_SUPERSEDED),
    Verify(NAS, VM, "web", JobName("j"), JobId("j"), STAMP, 1, NOW, Reason.PROOF_DUE),
    PowerOn(EAST, VM, "web", NOW, Reason.SHUT_DOWN_FOR_SNAPSHOT),
    RestoreVm(NAS, VM, "web", STAMP, EAST, None, None, False, NOW),
    RestoreDisk(NAS, VM, "web", STAMP, DiskUuid("d"), "/tmp/x", "raw", NOW),
    CleanRestore(EAST, RestoreId("r"), VM, "web", (), NOW),
]  # fmt: skip


def test_every_kind_is_here() -> None:
    assert {type(action) for action in ACTIONS} == set(get_args(Action))


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_modes(action: Action) -> None:
    expected = {
        Snapshot: {ON_POOL: Mode.APPEND},
        Export: {ON_POOL: Mode.READ, ON_REMOTE: Mode.APPEND},
        Archive: {ON_POOL: Mode.READ, ON_REMOTE: Mode.APPEND},
        Replicate: {ON_POOL: Mode.READ, ON_SR: Mode.APPEND},
        CopyVm: {ON_POOL: Mode.READ, ON_SR: Mode.APPEND},
        PruneReplica: {ON_SR: Mode.REWRITE},
        CleanReplica: {ON_SR: Mode.REWRITE},
        Merge: {ON_REMOTE: Mode.REWRITE},
        Prune: {ON_REMOTE: Mode.REWRITE},
        CleanFiles: {ON_REMOTE: Mode.REWRITE},
        CleanSnapshot: {ON_POOL: Mode.REWRITE},
        Verify: {ON_REMOTE: Mode.PROVE},
        PowerOn: {ON_POOL: Mode.APPEND},
        RestoreVm: {ON_REMOTE: Mode.READ},
        RestoreDisk: {ON_REMOTE: Mode.READ},
        CleanRestore: {restore_place(EAST, RestoreId("r")): Mode.REWRITE},
    }
    claims = claims_of(action)
    assert dict(claims.places) == expected[type(action)]
    changed = [place for place, mode in expected[type(action)].items() if mode is not Mode.READ]
    assert list(touched_by(claims)) == changed


def test_a_restore_that_a_manifest_asks_for_holds_what_it_makes() -> None:
    asked = RestoreVm(NAS, VM, "web", STAMP, EAST, None, None, False, NOW, restore=RestoreId("r"))
    making = restore_place(EAST, RestoreId("r"))
    assert dict(claims_of(asked).places) == {ON_REMOTE: Mode.READ, making: Mode.APPEND}
    assert touched_by(claims_of(asked)) == (making,)


def test_exports_are_counted_in_disks_that_are_sent() -> None:
    (export,) = (action for action in ACTIONS if isinstance(action, Export))
    assert claims_of(export).slots == (
        Slots(SlotKind.EXPORTS, "east", 2),
        Slots(SlotKind.ACTIONS, "nas", 1),
        Slots(SlotKind.VMS, "j", 1, VM),
    )


def test_a_vm_goes_as_one_stream_where_it_goes_whole() -> None:
    for action in ACTIONS:
        if isinstance(action, Archive | CopyVm):
            assert Slots(SlotKind.EXPORTS, "east", 1) in claims_of(action).slots


def test_replicas_are_limited_by_the_pool_of_their_sr() -> None:
    (replicate,) = (action for action in ACTIONS if isinstance(action, Replicate))
    (slots,) = (each for each in claims_of(replicate).slots if each.kind is SlotKind.REPLICAS)
    desired = wanting(job())
    assert limit_of(slots.kind, slots.name, desired) == 1
    west = replace(desired.pools[EAST], name=WEST, replicas_max=3)
    assert limit_of(slots.kind, slots.name, replace(desired, pools={WEST: west})) == 3


def test_one_snapshot_at_a_time_is_made_or_removed() -> None:
    for action in ACTIONS:
        if isinstance(action, Snapshot | CleanSnapshot):
            assert Slots(SlotKind.SNAPSHOTS, "east", 1) in claims_of(action).slots


def test_limits_are_those_of_the_manifests() -> None:
    desired = wanting(job())
    assert limit_of(SlotKind.SNAPSHOTS, "east", desired) == 1
    assert limit_of(SlotKind.EXPORTS, "east", desired) == 12
    assert limit_of(SlotKind.ACTIONS, "nas", desired) == 12


@pytest.mark.parametrize("kind", [kind for kind in SlotKind if kind is not SlotKind.VMS])
def test_what_nobody_describes_is_done_one_at_a_time(kind: SlotKind) -> None:
    assert limit_of(kind, "gone", Desired()) == 1
