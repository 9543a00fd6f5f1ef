"""Full or delta, on which base, for each disk on each remote."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scenes import Scene, job, schedule, wanting
from worlds import disk_snapshot_uuid, disk_uuid, uuid

from reconciler.desired.selector import Selector
from reconciler.desired.state import DiskLayout, RunRequest
from reconciler.ids import JobName, RemoteName
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Attempt, Progress
from reconciler.observed.remote import RemoteView
from reconciler.observed.unknown import Unknown
from reconciler.plan.actions import (
    CleanFiles,
    CleanSnapshot,
    Export,
    ExportKind,
    Merge,
    Snapshot,
    id_of,
)
from reconciler.plan.reasons import Reason

NOW = datetime(2026, 8, 21, 2, 5, tzinfo=UTC)
NAS, OFF = RemoteName("nas"), RemoteName("off")
NIGHT, HOUR = schedule("night"), schedule("hour", "0 * * * *")


def at(when: str, schedules: str = "night", **more: str) -> str:
    rest = "".join(f", {key}: {value}" for key, value in more.items())
    return f"{{job: nightly, at: {when}, schedules: [{schedules}]{rest}}}"


def scene(
    points: str = "",
    snapshots: str = "",
    *,
    off: str | None = None,
    now: str = "2026-08-21 02:10:00",
    disks: str = "{root: 10GiB}",
    more: str = "",
    **changes: Any,
) -> Scene:
    remotes = {"remotes": (NAS,) if off is None else (NAS, OFF)}
    return Scene(
        wanting(job(**{"schedules": (NIGHT,), **remotes, **changes})),
        f"""
now: {now}
pools: {{east: {{vms: {{web: {{disks: {disks}, snapshots: [{snapshots}]}}}}}}}}
remotes:
  nas: {{vms: {{web: {{points: [{points}]{more}}}}}}}
  off: {{vms: {{web: {{points: [{off or ""}]}}}}}}
""",
    )


def exports(found: Scene) -> dict[str, Export]:
    return {action.remote: action for action in found.actions(Export)}


def fates(export: Export) -> list[tuple[str, str]]:
    return [(disk.kind.value, disk.reason.value) for disk in export.disks]


LAST = "2026-08-20 02:00:05"
TONIGHT = "2026-08-21 02:00:05"
BOTH = f"{at(LAST)}, {at(TONIGHT)}"


def test_the_first_point_is_full() -> None:
    export = exports(scene("", at(TONIGHT)))["nas"]
    assert fates(export) == [("Full", "FirstBackup")]
    assert export.disks[0].estimate_bytes == 10 * 1024**3


def test_a_disk_that_a_snapshot_keeps_for_its_memory_is_not_sent() -> None:
    found = scene("", at(TONIGHT), disks="{root: 10GiB, swap: 1GiB}")
    (view,) = found.observed.pools.values()
    assert isinstance(view, PoolView)
    (vm,) = view.vms.values()
    (taken,) = vm.snapshots
    assert taken.marks is not None
    assert len(taken.disks) == 2
    root = next(disk.uuid for disk in vm.disks if disk.size_bytes == 10 * 1024**3)
    taken = replace(taken, marks=replace(taken.marks, disks=(root,)))
    pools = {view.name: replace(view, vms={vm.uuid: replace(vm, snapshots=(taken,))})}
    found.observed = replace(found.observed, pools=pools)
    assert [disk.disk for disk in exports(found)["nas"].disks] == [root]


def test_a_delta_stands_on_the_tip() -> None:
    export = exports(scene(at(LAST), BOTH))["nas"]
    (disk,) = export.disks
    assert (disk.kind, disk.reason) == (ExportKind.DELTA, Reason.BASE_PRESENT)
    assert disk.base == disk_snapshot_uuid(disk_uuid("web", "root"), "20260820T020005Z")
    assert disk.base_file == "20260820T020005Z.vhd"
    assert export.stamp == "20260821T020005Z"
    assert export.schedules == (NIGHT.id,)


def test_a_lost_reference_makes_only_that_disk_full() -> None:
    points = at(LAST, disks="[root, data]")
    snapshots = f"{at(LAST, lost='[data]')}, {at(TONIGHT)}"
    found = scene(points, snapshots, disks="{root: 10GiB, data: 10GiB}")
    assert fates(exports(found)["nas"]) == [
        ("Delta", "BasePresent"),
        ("Full", "ReferenceSnapshotLost"),
    ]


def test_each_remote_follows_its_own_reference() -> None:
    older = "2026-08-19 02:00:05"
    found = scene(f"{at(older)}, {at(LAST)}", f"{at(older)}, {BOTH}", off=at(older))
    assert exports(found)["nas"].disks[0].base_file == "20260820T020005Z.vhd"
    assert exports(found)["off"].disks[0].base_file == "20260819T020005Z.vhd"


def test_one_lost_base_forces_no_full_elsewhere() -> None:
    older = "2026-08-19 02:00:05"
    found = scene(f"{at(older)}, {at(LAST)}", f"{at(older)}, {at(TONIGHT)}", off=at(older))
    assert fates(exports(found)["nas"]) == [("Full", "ReferenceSnapshotLost")]
    assert fates(exports(found)["off"]) == [("Delta", "BasePresent")]


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (f"{at('2026-08-19 02:00:05', missing='[root]')}, {at(LAST)}", "ChainBroken"),
        (at(LAST, broken="{root: bad footer}"), "ChainBroken"),
        (at(LAST, virtual="20GiB"), "DiskShrunk"),
        (at(LAST, disks="[other]"), "DiskAdded"),
    ],
)
def test_why_a_disk_goes_whole(points: str, reason: str) -> None:
    assert fates(exports(scene(points, BOTH))["nas"]) == [("Full", reason)]


def test_a_disk_that_grew_goes_as_a_delta() -> None:
    assert fates(exports(scene(at(LAST, virtual="5GiB"), BOTH))["nas"]) == [
        ("Delta", "BasePresent")
    ]


@pytest.mark.parametrize(("every", "kind"), [(0, "Delta"), (3, "Delta"), (2, "Full"), (1, "Full")])
def test_a_chain_ends_after_so_many_files(every: int, kind: str) -> None:
    points = f"{at('2026-08-19 02:00:05')}, {at(LAST)}"
    ((found, _),) = fates(exports(scene(points, BOTH, full_every=every))["nas"])
    assert found == kind


# ── which snapshot, for what ──────────────────────────────────────────────────────────────────────


def test_a_remote_whose_slots_are_answered_gets_nothing() -> None:
    """The snapshot was taken for the other remote, which had lost its own."""
    found = scene(f"{at(TONIGHT)}", f"{at('2026-08-21 02:05:00')}", off=at(LAST))
    assert list(exports(found)) == ["off"]


def test_a_point_counts_only_for_the_schedules_that_are_open_there() -> None:
    snapshots = at("2026-08-21 03:00:05", "night, hour")
    found = scene(
        at(TONIGHT, "night, hour"),
        snapshots,
        off=at(LAST, "night, hour"),
        now="2026-08-21 03:10:00",
        schedules=(NIGHT, HOUR),
    )
    assert exports(found)["nas"].schedules == (HOUR.id,)
    assert exports(found)["off"].schedules == (NIGHT.id, HOUR.id)


def test_a_snapshot_made_by_hand_goes_everywhere() -> None:
    found = scene(at(TONIGHT), at("2026-08-21 02:05:00", ""), off=at(TONIGHT))
    assert {name: each.schedules for name, each in exports(found).items()} == {
        "nas": (),
        "off": (),
    }
    assert exports(found)["nas"].reason is Reason.REQUESTED


def test_a_request_wants_a_snapshot_that_a_schedule_made() -> None:
    found = scene(at(TONIGHT), at("2026-08-21 02:05:00"))
    assert exports(found) == {}
    request = RunRequest(JobName("nightly"), found.now - timedelta(minutes=6))
    found.desired = replace(found.desired, requests=(request,))
    assert exports(found)["nas"].schedules == ()


def test_a_snapshot_of_schedules_that_are_gone_is_wanted_by_nobody() -> None:
    found = scene(at(TONIGHT), at("2026-08-21 02:05:00", "gone"))
    assert exports(found) == {}
    assert len(found.actions(CleanSnapshot)) == 1


def test_a_vm_that_is_not_chosen_any_more_gets_the_point_that_was_begun() -> None:
    found = scene(at(LAST), BOTH)
    found.desired = wanting(
        replace(found.desired.jobs[JobName("nightly")], selector=Selector(names=("nobody",)))
    )
    assert list(exports(found)) == ["nas"]
    found.now += timedelta(days=1)
    assert exports(found) == {}
    assert found.actions(Snapshot) == []


def test_marks_of_another_vm_are_a_clones() -> None:
    found = scene("", at(TONIGHT, marked_for="other"))
    assert exports(found) == {}
    assert len(found.actions(Snapshot)) == 1


@pytest.mark.parametrize("says_disks", ["true", "false"])
def test_a_snapshot_that_lost_a_disk_makes_no_point(says_disks: str) -> None:
    """A new one is taken; the old one stays as long as it is a base."""
    tonight = at(TONIGHT, lost="[data]", says_disks=says_disks)
    points = at(LAST, disks="[root, data]")
    found = scene(points, f"{at(LAST)}, {tonight}", disks="{root: 10GiB, data: 10GiB}")
    assert exports(found) == {}
    assert len(found.actions(Snapshot)) == 1
    cleaned = [action.snapshot for action in found.actions(CleanSnapshot)]
    assert cleaned == [uuid("snapshot", uuid("vm", "web"), "20260821T020005Z", job().id)]


# ── what is there already ─────────────────────────────────────────────────────────────────────────

TWO_DISKS = "{root: 10GiB, data: 10GiB}"
HALF = f"{at(LAST, disks='[root, data]')}, {at(TONIGHT, '', disks='[root]', pruned='true')}"


def test_a_disk_that_is_there_is_not_sent_again() -> None:
    found = scene(HALF, BOTH, disks=TWO_DISKS)
    export = exports(found)["nas"]
    assert fates(export) == [("Delta", "AlreadyExported"), ("Delta", "BasePresent")]
    assert [disk.disk for disk in export.disks_to_send] == [disk_uuid("web", "data")]
    assert found.actions(CleanFiles) == []


def test_an_export_of_which_only_the_metadata_is_missing() -> None:
    points = f"{at(LAST)}, {at(TONIGHT, '', pruned='true')}"
    export = exports(scene(points, BOTH))["nas"]
    assert export.disks_to_send == ()
    assert fates(export) == [("Delta", "AlreadyExported")]


def test_a_broken_file_under_the_points_name_is_sent_again() -> None:
    points = f"{at(LAST)}, {at(TONIGHT, '', pruned='true', broken='{root: bad footer}')}"
    assert fates(exports(scene(points, BOTH))["nas"]) == [("Full", "ChainBroken")]


def test_what_an_earlier_snapshot_left_is_stood_on() -> None:
    """The export of last night was interrupted; its file is there, its snapshot as well."""
    points = f"{at('2026-08-19 02:00:05')}, {at(LAST, '', pruned='true')}"
    found = scene(points, BOTH)
    assert exports(found)["nas"].disks[0].base_file == "20260820T020005Z.vhd"
    assert found.actions(CleanFiles) == []


# ── what is in the way ────────────────────────────────────────────────────────────────────────────


def test_a_begun_merge_is_finished_first() -> None:
    points = f"{at('2026-08-19 02:00:05', pruned='true')}, {at(LAST)}"
    merges = f", merges: [{{job: nightly, target: 2026-08-19 02:00:05, source: {LAST}}}]"
    found = scene(points, BOTH, more=merges)
    assert [action.reason for action in found.actions(Merge)] == [Reason.MERGE_INTERRUPTED]
    (held,) = found.held(Export)
    assert held.reason is Reason.MERGE_INTERRUPTED


@pytest.mark.parametrize(
    ("count", "retried", "succeeded", "waits"),
    [
        (2, True, False, True),
        (3, True, False, False),
        (1, False, False, False),
        (0, True, True, True),
    ],
    ids=["failed twice", "failed three times", "stuck", "succeeded"],
)
def test_a_merge_that_keeps_failing_holds_up_no_backup(
    count: int, retried: bool, succeeded: bool, waits: bool
) -> None:
    points = f"{at('2026-08-19 02:00:05', pruned='true')}, {at(LAST)}"
    merges = f", merges: [{{job: nightly, target: 2026-08-19 02:00:05, source: {LAST}}}]"
    found = scene(points, BOTH, more=merges)
    (merge,) = found.actions(Merge)
    again = found.now + timedelta(minutes=5) if retried else None
    ended = {id_of(merge): Attempt(found.now, succeeded, count, again)}
    found.observed = replace(found.observed, progress=Progress(ended=ended))
    assert bool(found.held(Export)) == waits
    assert bool(found.actions(Export)) != waits


def test_left_overs_at_the_tip_are_removed_before_anything_is_sent() -> None:
    """A file of a lost snapshot stands on the tip: a second one there would be a fork."""
    lost = at("2026-08-20 23:00:05", "", pruned="true")
    found = scene(f"{at(LAST)}, {lost}", BOTH)
    assert [held.reason for held in found.held(Export)] == [Reason.FILE_UNREFERENCED]
    (clean,) = found.actions(CleanFiles)
    ended = {id_of(clean): Attempt(found.now, False, 3, found.now)}
    found.observed = replace(found.observed, progress=Progress(ended=ended))
    assert fates(exports(found)["nas"]) == [("Full", "ChainBroken")]


def test_somebody_elses_lock_holds_the_export() -> None:
    found = scene(at(LAST), BOTH, more=", locked: true")
    (held,) = found.held(Export)
    assert held.reason is Reason.FOREIGN_WRITER


def test_unreadable_metadata_does_not_stop_backups() -> None:
    found = scene(at(LAST), BOTH, more=", unreadable: [{path: x.json, why: not JSON}]")
    assert list(exports(found)) == ["nas"]


def test_a_history_that_was_not_seen_gets_nothing() -> None:
    found = scene(at(LAST), BOTH)
    view = found.observed.remotes[NAS]
    assert isinstance(view, RemoteView)
    (history,) = view.histories.values()
    assert isinstance(history, History)
    unknown = Unknown(found.now, "UnreadableMetadata", "EIO")
    views = {NAS: replace(view, histories={history.vm: unknown})}
    found.observed = replace(found.observed, remotes=views)
    assert found.actions() == []
    assert found.reasons() == ["UnreadableMetadata"]


# ── layouts ───────────────────────────────────────────────────────────────────────────────────────


def in_blocks(found: Scene) -> Scene:
    remotes = {
        name: replace(remote, layout=DiskLayout.BLOCKS)
        for name, remote in found.desired.remotes.items()
    }
    found.desired = replace(found.desired, remotes=remotes)
    return found


def test_a_chain_is_of_one_layout() -> None:
    night, now = at("2026-08-20 02:00:05"), at("2026-08-21 02:00:05")
    blocks = at("2026-08-20 02:00:05", blocks="true")
    for found, is_blocks in (
        (in_blocks(scene(night, f"{night}, {now}")), True),
        (scene(blocks, f"{night}, {now}"), False),
    ):
        (export,) = found.actions(Export)
        assert export.blocks is is_blocks
        (disk,) = export.disks
        assert (disk.kind, disk.reason) == (ExportKind.FULL, Reason.LAYOUT_CHANGED)


def test_a_delta_stands_on_an_alias_by_its_name() -> None:
    night, now = at("2026-08-20 02:00:05"), at("2026-08-21 02:00:05")
    found = in_blocks(scene(at("2026-08-20 02:00:05", blocks="true"), f"{night}, {now}"))
    (disk,) = found.actions(Export)[0].disks
    assert disk.reason is Reason.BASE_PRESENT
    assert disk.base_file == "20260820T020005Z.alias.vhd"


def test_a_disk_that_grew_goes_whole_in_blocks_only() -> None:
    night, now = at("2026-08-20 02:00:05"), at("2026-08-21 02:00:05")
    grown = {"disks": "{root: 20GiB}"}
    blocks = at("2026-08-20 02:00:05", blocks="true")
    (disk,) = in_blocks(scene(blocks, f"{night}, {now}", **grown)).actions(Export)[0].disks
    assert (disk.kind, disk.reason) == (ExportKind.FULL, Reason.DISK_GROWN)
    (disk,) = scene(night, f"{night}, {now}", **grown).actions(Export)[0].disks
    assert disk.kind is ExportKind.DELTA


# ── how old a chain is ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("5", Reason.KEY_INTERVAL_REACHED),  # four were merged away
        ("4", Reason.BASE_PRESENT),
        ("null", Reason.BASE_PRESENT),
    ],
)
def test_points_that_were_merged_away_count(said: str, reason: Reason) -> None:
    night, now = at("2026-08-20 02:00:05"), at("2026-08-21 02:00:05")
    point = at("2026-08-20 02:00:05", since_full=said)
    (disk,) = scene(point, f"{night}, {now}", full_every=6).actions(Export)[0].disks
    assert disk.reason is reason
    expected = {"5": 0, "4": 5, "null": 1}[said]
    assert disk.since_full == expected


def test_a_chain_without_a_word_is_as_old_as_it_is_long() -> None:
    points = ", ".join(at(f"2026-08-{day} 02:00:05") for day in (18, 19, 20))
    night, now = at("2026-08-20 02:00:05"), at("2026-08-21 02:00:05")
    (disk,) = scene(points, f"{night}, {now}").actions(Export)[0].disks
    assert disk.since_full == 3


def test_a_file_that_waits_for_its_point_counts_as_one() -> None:
    last, loose = (
        at("2026-08-19 02:00:05", since_full="7"),
        at("2026-08-20 02:00:05", pruned="true"),
    )
    points = f"{last}, {loose}"
    night, now = at("2026-08-20 02:00:05"), at("2026-08-21 02:00:05")
    (disk,) = scene(points, f"{night}, {now}").actions(Export)[0].disks
    assert disk.since_full == 9


# ── deltas that cannot be read ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (Attempt(NOW, False, 3, NOW, "XapiError", "VDI_IO_ERROR"), Reason.DELTA_FAILED),
        (Attempt(NOW, False, 2, NOW, "XapiError", "VDI_IO_ERROR"), Reason.BASE_PRESENT),
        (Attempt(NOW, False, 9, NOW, "RemoteError", "EIO"), Reason.BASE_PRESENT),
        (Attempt(NOW, True), Reason.BASE_PRESENT),
    ],
)
def test_a_delta_that_the_pool_cannot_read_becomes_a_full(attempt: Attempt, reason: Reason) -> None:
    night, now = at("2026-08-20 02:00:05"), at("2026-08-21 02:00:05")
    found = scene(night, f"{night}, {now}")
    (export,) = found.actions(Export)
    progress = Progress(ended={id_of(export): attempt})
    found.observed = replace(found.observed, progress=progress)
    (again,) = found.actions(Export)
    assert id_of(again) == id_of(export)
    assert again.disks[0].reason is reason
