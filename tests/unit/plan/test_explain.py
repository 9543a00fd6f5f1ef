"""How a plan reads: signs, sizes, what is collapsed, and what no name can do."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from scenes import Scene, job, schedule, wanting

from reconciler.desired.retention import Retention
from reconciler.ids import DiskUuid, JobName, PoolName, RemoteName, SnapshotUuid, VmUuid, stamp_of
from reconciler.observed.state import Observed
from reconciler.plan.actions import (
    CleanSnapshot,
)
from reconciler.plan.explain import document_of, markdown_of, text_of
from reconciler.plan.plan import Held, Plan
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import RestoreDisk, RestoreVm

NOW = datetime(2026, 8, 21, 2, 0, 10, tzinfo=UTC)
NAS = RemoteName("nas")
LAST = "{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}"
TONIGHT = "{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}"


def scene(points: str = "", snapshots: str = "", last: int = 7) -> Scene:
    return Scene(
        wanting(job(schedule(retention=Retention(last=last)))),
        f"""
now: 2026-08-21 02:10:00
pools: {{east: {{vms: {{web: {{snapshots: [{snapshots}]}}}}}}}}
remotes: {{nas: {{vms: {{web: {{points: [{points}]}}}}}}}}
""",
    )


def text(found: Scene) -> str:
    return text_of(found.plan, found.desired, found.observed)


def line_of(rendered: str, word: str) -> str:
    (line,) = (line for line in rendered.splitlines() if line[4:].startswith(f"{word} "))
    return line


def test_a_full_that_was_expected_is_no_alarm() -> None:
    assert line_of(text(scene("", TONIGHT)), "export").startswith("  + export")


def test_a_full_that_was_not_is_one() -> None:
    line = line_of(text(scene(LAST, TONIGHT)), "export")
    assert line.startswith("  ! export")
    assert "FULL" in line
    assert "≤10.0 GiB" in line
    assert "ReferenceSnapshotLost" in line


def test_a_delta_says_which_point() -> None:
    line = line_of(text(scene(LAST, f"{LAST}, {TONIGHT}")), "export")
    assert "delta -> nas" in line
    assert "of 2026-08-21 02:00:05" in line


def test_what_is_removed_has_a_minus() -> None:
    found = scene(f"{LAST}, {TONIGHT}", f"{LAST}, {TONIGHT}", last=1)
    rendered = text(found)
    assert "-10.0 GiB" in line_of(rendered, "prune")
    assert line_of(rendered, "clean").startswith("  - clean")
    assert "Destructive: 1 of 2 points (50.0 %)." in rendered


def test_in_sync_is_two_lines() -> None:
    assert text(scene(TONIGHT, TONIGHT)) == (
        "Plan: in sync.\nWith nothing changed, the plan is the same until 2026-08-22 02:00 UTC.\n"
    )


def test_restores_are_shown() -> None:
    stamp = stamp_of(NOW)
    web = VmUuid("v")
    east = PoolName("east")
    actions = (
        RestoreVm(NAS, web, "web", stamp, east, None, None, False, NOW),
        RestoreDisk(NAS, web, "web", stamp, DiskUuid("d"), "/tmp/\x1b[31mx", "raw", NOW),
    )
    rendered = text_of(Plan(actions=actions, sentence="2 restores"), wanting(), Observed())
    assert "from nas to east" in rendered
    assert "\x1b" not in rendered


def many(count: int, reason: Reason = Reason.VM_BUSY) -> Plan:
    held = tuple(
        Held(f"VM vm{number} of job nightly", reason, "under way on it: migrate")
        for number in range(count)
    )
    return Plan(held=held, sentence=f"in sync; {count} held")


def test_many_that_are_held_alike_are_counted() -> None:
    rendered = text_of(many(100), wanting(job()), Observed())
    assert rendered.count("VmBusy") == 6
    assert "and 94 more like these" in rendered


def test_each_section_is_headed_by_what_it_is_about() -> None:
    held = (
        Held("BackupJob/broken", Reason.INVALID_SPEC, "what"),
        Held("VM web of job nightly", Reason.VM_BUSY, "what"),
        Held("job nightly on pool east", Reason.POOL_UNREACHABLE, "what"),
        Held("pool east", Reason.JOB_UNKNOWN, "what"),
        Held("VM web on remote nas", Reason.UNREADABLE_METADATA, "what", until=NOW),
    )
    rendered = text_of(Plan(held=held), wanting(job()), Observed())
    headings = [line for line in rendered.splitlines() if line and line[0] not in " PDB"]
    assert headings == ["job nightly", "pool east", "held"]
    assert "VM web: VmBusy: what" in rendered
    assert "on pool east: PoolUnreachable: what" in rendered
    assert "(until 2026-08-21 02:00:10)" in rendered


HOSTILE = "evil\n  - prune  everything\x1b[2J\u202e\u2028`|<b>"


def hostile() -> Plan:
    clean = CleanSnapshot(
        pool=PoolName("east"),
        vm=VmUuid("v"),
        vm_name=HOSTILE,
        snapshot=SnapshotUuid("s"),
        disks=(),
        due=NOW,
        reason=Reason.SNAPSHOT_SUPERSEDED,
    )
    return Plan(actions=(clean,), held=(Held(HOSTILE, Reason.VM_BUSY, HOSTILE),), sentence="x")


def test_a_name_begins_no_line_and_moves_no_cursor() -> None:
    rendered = text_of(hostile(), wanting(job()), Observed())
    assert len([line for line in rendered.splitlines() if "prune" in line]) == 2
    assert not {"\x1b", "\u202e", "\u2028"} & set(rendered)
    assert all(character.isprintable() or character == "\n" for character in rendered)


def test_a_name_is_no_markdown() -> None:
    rendered = markdown_of(hostile(), wanting(job()), Observed())
    rows = [line for line in rendered.splitlines() if line.startswith("| ")]
    assert all(row.replace("\\|", "").count("|") == 7 for row in rows)
    assert "<b>" not in rendered.replace("\\<", "")


def test_markdown_shows_what_the_text_shows() -> None:
    found = scene(f"{LAST}, {TONIGHT}", f"{LAST}, {TONIGHT}", last=1)
    rendered = markdown_of(found.plan, found.desired, found.observed)
    assert "**job nightly**" in rendered
    assert "| `-` | prune | web |" in rendered
    assert "Destructive: 1 of 2 points" in rendered


def test_a_program_gets_everything() -> None:
    plan = replace(many(100), wake_at=NOW + timedelta(hours=1))
    document = json.loads(json.dumps(document_of(plan, wanting(job()), Observed())))
    assert document["apiVersion"] == "backup.reconciler.io/v1alpha1"
    assert document["kind"] == "Plan"
    assert len(document["held"]) == 100
    assert document["wakeAt"] == "2026-08-21T03:00:10+00:00"


def test_a_program_gets_actions_and_their_ids() -> None:
    found = scene(f"{LAST}, {TONIGHT}", f"{LAST}, {TONIGHT}", last=1)
    document = document_of(found.plan, found.desired, found.observed)
    json.dumps(document)
    verbs = [action["id"].partition("-")[0] for action in document["actions"]]
    assert sorted(verbs) == ["clean", "prune"]
    assert document["destructive"] == {"points": 1, "of": 2}


def test_what_the_guard_blocks_says_how_to_approve_it() -> None:
    points = ", ".join(
        f"{{job: nightly, at: 2026-08-{day} 02:00:05, schedules: [night]}}" for day in range(10, 22)
    )
    found = scene(points, TONIGHT, last=1)
    rendered = text(found)
    assert "Destructive" not in rendered
    assert (
        f"Blocked by the guard: 11 of 12 points (91.7 %); to approve: {found.plan.deletions}"
        in (rendered)
    )
    held = document_of(found.plan, found.desired, found.observed)["held"]
    assert {each["action"]["job"] for each in held} == {JobName("nightly")}
