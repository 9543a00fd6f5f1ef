"""Ids name intents: what may change without another id, and what may not."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

from scenes import Scene, job, wanting

from reconciler.ids import (
    DiskUuid,
    PoolName,
    RemoteName,
    ScheduleId,
    SnapshotUuid,
    Stamp,
    VmUuid,
)
from reconciler.plan.actions import Action, CleanSnapshot, Export, Prune, id_of
from reconciler.plan.reasons import Reason
from reconciler.plan.render import as_dict

NOW = datetime(2026, 8, 21, 2, tzinfo=UTC)
PRUNE = Prune(
    remote=RemoteName("nas"),
    vm=VmUuid("vm"),
    vm_name="web",
    job=None,
    stamp=Stamp("20260821T020000Z"),
    freed_bytes=5,
    due=NOW,
    reason=Reason.RETENTION_EXCEEDED,
)
SCENE = """
now: 2026-08-21 02:00:10
pools:
  east: {vms: {web: {snapshots: [{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}]}}}
remotes: {nas: {}}
"""


def export() -> Export:
    (action,) = Scene(wanting(job()), SCENE).actions(Export)
    assert isinstance(action, Export)
    return action


def test_an_id_says_what_kind_it_is() -> None:
    assert id_of(PRUNE).startswith("prune-")
    assert id_of(PRUNE) == id_of(replace(PRUNE))


def test_circumstances_do_not_change_an_id() -> None:
    later = replace(
        PRUNE, due=datetime(2030, 1, 1, tzinfo=UTC), vm_name="renamed", freed_bytes=7,
        reason=Reason.REQUESTED,
    )  # fmt: skip
    assert id_of(later) == id_of(PRUNE)


def test_another_intent_has_another_id() -> None:
    others = [
        replace(PRUNE, stamp=Stamp("20260821T020001Z")),
        replace(PRUNE, vm=VmUuid("other")),
        replace(PRUNE, remote=RemoteName("off")),
    ]
    assert len({id_of(each) for each in [PRUNE, *others]}) == 4


def test_an_export_is_the_same_whatever_it_stands_on() -> None:
    action = export()
    assert id_of(replace(action, disks=(), schedules=(ScheduleId("x"),))) == id_of(action)
    assert id_of(replace(action, stamp=Stamp("20260821T020006Z"))) != id_of(action)


def test_an_export_counts_disks_that_are_not_there_yet() -> None:
    action = export()
    present = replace(action.disks[0], reason=Reason.ALREADY_EXPORTED, disk=DiskUuid("other"))
    assert replace(action, disks=(*action.disks, present)).disks_to_send == action.disks


def test_every_action_has_a_verb_and_says_whether_it_destroys() -> None:
    destructive = {kind.__name__ for kind in get_args(Action) if kind.destructive is True}
    assert destructive == {"Prune", "PruneReplica"}


def test_a_snapshot_that_is_a_restore_point_is_destroyed() -> None:
    superseded = CleanSnapshot(
        pool=PoolName("east"),
        vm=VmUuid("vm"),
        vm_name="web",
        snapshot=SnapshotUuid("snapshot"),
        disks=(),
        due=datetime(2026, 8, 21, tzinfo=UTC),
        reason=Reason.SNAPSHOT_SUPERSEDED,
    )
    assert not superseded.destructive
    assert replace(superseded, reason=Reason.RETENTION_EXCEEDED).destructive
    assert all(kind.verb for kind in get_args(Action))


def test_an_action_is_plain_values_for_a_program() -> None:
    shown = as_dict(export())
    assert shown["action"] == "Export"
    assert shown["id"].startswith("export-")
    assert shown["due"] == "2026-08-21T02:00:00+00:00"
    assert shown["disks"][0]["reason"] == "FirstBackup"
