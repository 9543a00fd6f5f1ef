"""Metrics, read off reports: true, silent about what was not seen, and bounded."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from scenes import Scene, job, schedule, wanting
from worlds import sr_uuid, vm_uuid

from reconciler.desired.retention import Retention
from reconciler.desired.state import JobMode, PruneGuard, SrTarget, Verification
from reconciler.ids import JobName, PoolName, RemoteName
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Attempt, Progress
from reconciler.plan.actions import Export, id_of
from reconciler.plan.plan import Plan
from reconciler.plan.reasons import Reason
from reconciler.status.metrics import METRICS, VM_NAMES_MAX, Family
from reconciler.status.report import Report
from reconciler.status.runs import RunState, Trigger
from reconciler.status.series import VERBS, families
from reconciler.status.tally import Histogram, Tally, Way

BEFORE = "{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}"
TONIGHT = "{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}"
WEB = vm_uuid("web")


def scene(text: str, now: str = "2026-08-21 02:10:05", **changes: Any) -> Scene:
    return Scene(wanting(job(**changes)), f"now: {now}\n{text}")


def in_sync(points: str = f"{BEFORE}, {TONIGHT}", **changes: Any) -> Scene:
    return scene(
        f"pools: {{east: {{vms: {{web: {{snapshots: [{TONIGHT}]}}}}}}}}\n"
        f"remotes: {{nas: {{vms: {{web: {{points: [{points}]}}}}}}}}",
        **changes,
    )


class Found:
    """Families at one instant, asked by name and labels."""

    def __init__(
        self,
        scene: Scene,
        tally: Tally | None = None,
        moving: Sequence[tuple[Way, int, int]] = (),
        plan: Plan | None = None,
        later: timedelta = timedelta(),
    ) -> None:
        report = Report(scene.desired, scene.observed, plan or scene.plan, scene.now)
        found = families(report, tally or Tally(), moving, scene.now + later, build=("1", "3"))
        self.families: dict[str, Family] = {each.metric.name: each for each in found}
        assert len(self.families) == len(found), "no family comes twice"

    def series(self, name: str, /, **labels: str) -> list[tuple[dict[str, str], Any]]:
        family = self.families[f"reconciler_{name}"]
        named = [
            (
                {key: text for key, text in zip(family.metric.labels, values, strict=True) if text},
                value,
            )
            for values, value in family.series
        ]
        return [
            (mine, value)
            for mine, value in named
            if all(mine.get(key) == text for key, text in labels.items())
        ]

    def value(self, name: str, /, **labels: str) -> Any:
        ((_, value),) = self.series(name, **labels)
        return value


# ── VMs ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_vm_that_is_kept() -> None:
    found = Found(in_sync())
    labels = {"backup_job": "nightly", "vm_uuid": WEB, "vm_name": "web"}
    at_nas = {**labels, "remote": "nas"}
    taken = in_sync().now - timedelta(minutes=10)
    assert found.series("vm_last_success_timestamp_seconds") == [(at_nas, taken.timestamp())]
    assert found.series("vm_rpo_exposure_seconds") == [(labels, 600)]
    assert found.series("vm_rpo_met") == [(labels, 1)]
    assert found.series("chain_length") == [(at_nas, 2)]
    assert found.series("chain_healthy") == [(at_nas, 1)]
    assert found.series("vm_info") == [({**labels, "pool": "east"}, 1)]
    assert found.value("restore_points", remote="nas", health="Whole") == 2
    assert found.value("vm_unprotected", pool="east") == 0


def test_exposure_grows_while_nothing_happens() -> None:
    found = Found(in_sync(), later=timedelta(hours=3))
    assert found.value("vm_rpo_exposure_seconds") == 600 + 3 * 3600


def test_a_broken_point_protects_nobody() -> None:
    broken = TONIGHT.replace("}", ", broken: {root: it is cut short}}")
    found = Found(in_sync(f"{BEFORE}, {broken}"))
    assert found.value("vm_rpo_exposure_seconds") == 24 * 3600 + 600
    assert found.value("chain_healthy") == 0
    assert found.value("chain_length") == 1
    assert found.value("restore_points", health="Broken") == 1


def test_a_backup_that_is_overdue() -> None:
    late = scene(
        "pools: {east: {vms: {web: {}}}}\n"
        f"remotes: {{nas: {{vms: {{web: {{points: [{BEFORE}]}}}}}}}}",
        now="2026-08-21 04:00:05",
    )
    found = Found(late)
    assert found.value("vm_rpo_met") == 0
    assert found.value("vm_rpo_exposure_seconds") == 26 * 3600
    assert found.value("job_rpo_target_seconds") == 25 * 3600


def test_what_is_not_seen_is_not_said() -> None:
    found = Found(scene("pools: {east: {vms: {web: {}}}}\nremotes: {nas: {unknown: no answer}}"))
    for name in (
        "vm_last_success_timestamp_seconds",
        "vm_rpo_exposure_seconds",
        "vm_rpo_met",
        "chain_length",
        "chain_healthy",
        "restore_points",
        "remote_free_bytes",
    ):
        assert found.series(name) == [], name
    assert found.value("remote_up", remote="nas") == 0
    assert found.value("pool_up", pool="east") == 1
    assert found.value("vm_info") == 1
    ready = {"kind": "BackupRemote", "name": "nas", "type": "Ready", "status": "False"}
    assert found.value("resource_condition", **ready) == 1


def test_a_vm_that_was_never_backed_up_has_a_chain_of_no_files() -> None:
    found = Found(scene("pools: {east: {vms: {web: {}}}}\nremotes: {nas: {}}"))
    assert found.value("chain_length") == 0
    assert found.series("vm_last_success_timestamp_seconds") == []
    assert found.series("vm_rpo_exposure_seconds") == []


def test_a_replica_is_a_point_on_an_sr() -> None:
    replica = TONIGHT.replace("{", "{vm: web, sr: fast, ", 1)
    found = Found(
        scene(
            f"pools: {{east: {{vms: {{web: {{}}}}, srs: [fast], replicas: [{replica}]}}}}",
            remotes=(),
            srs=(SrTarget("fast"),),
        )
    )
    sr = f"east/{sr_uuid('east', 'fast')}"
    ((labels, _),) = found.series("vm_last_success_timestamp_seconds")
    assert labels == {"backup_job": "nightly", "vm_uuid": WEB, "vm_name": "web", "sr": sr}
    assert found.value("restore_points", sr=sr, health="Whole") == 1


def test_snapshots_are_the_points_of_a_job_in_mode_snapshot() -> None:
    lame = BEFORE.replace("}", ", lost: [root]}")
    found = Found(
        scene(
            f"pools: {{east: {{vms: {{web: {{snapshots: [{lame}, {TONIGHT}]}}}}}}}}",
            remotes=(),
            mode=JobMode.SNAPSHOT,
        )
    )
    assert found.value("vm_rpo_exposure_seconds") == 600
    assert found.value("restore_points", health="Whole") == 1
    assert found.value("restore_points", health="Broken") == 1


def test_names_of_many_vms_are_told_once() -> None:
    vms = ", ".join(f"vm{number}: {{}}" for number in range(VM_NAMES_MAX + 1))
    many = Found(scene(f"pools: {{east: {{vms: {{{vms}}}}}}}\nremotes: {{nas: {{}}}}"))
    assert len(many.series("vm_info")) == VM_NAMES_MAX + 1
    assert all("vm_name" in labels for labels, _ in many.series("vm_info"))
    for name, family in many.families.items():
        if name != "reconciler_vm_info" and family.metric.per_vm:
            assert len(family.series) in {0, VM_NAMES_MAX + 1}
            assert not any("vm_name" in dict(labels) for labels, _ in many.series(name[11:]))
    others = sum(len(each.series) for each in many.families.values() if not each.metric.per_vm)
    assert others < 100, "nothing else grows with the number of VMs"


def test_no_label_names_a_run_a_point_or_an_action() -> None:
    labels = {label for metric in METRICS for label in metric.labels}
    assert not labels & {"run", "point", "stamp", "action", "id", "message", "why"}


PROVEN = "{nightly: {of: 2026-08-20 02:00:05, at: 2026-08-20 14:00:00}}"
WEEK = Verification(timedelta(days=7))


def proven(nas: str = PROVEN, cloud: str = PROVEN, **changes: Any) -> Scene:
    """A VM on two remotes, each with what was proven there, or not seen."""
    places = ", ".join(
        f"{name}: {{{proofs}}}"
        if proofs.startswith("unknown")
        else f"{name}: {{vms: {{web: {{points: [{BEFORE}, {TONIGHT}], proofs: {proofs}}}}}}}"
        for name, proofs in (("nas", nas), ("cloud", cloud))
    )
    return scene(
        f"pools: {{east: {{vms: {{web: {{snapshots: [{TONIGHT}]}}}}}}}}\nremotes: {{{places}}}",
        **{"remotes": (RemoteName("nas"), RemoteName("cloud")), "verification": WEEK, **changes},
    )


def test_a_proof_is_told_for_each_remote_and_its_freshness_for_the_vm() -> None:
    found = Found(proven())
    labels = {"backup_job": "nightly", "vm_uuid": WEB, "vm_name": "web"}
    read_at = datetime(2026, 8, 20, 14, tzinfo=UTC).timestamp()
    assert found.series("vm_proof_timestamp_seconds") == [
        ({**labels, "remote": "nas", "level": "Chain"}, read_at),
        ({**labels, "remote": "cloud", "level": "Chain"}, read_at),
    ]
    assert found.series("vm_proof_fresh") == [(labels, 1)]


def test_a_proof_that_is_missing_or_too_old_at_one_remote_is_not_fresh() -> None:
    missing = Found(proven(cloud="{}"))
    assert [labels["remote"] for labels, _ in missing.series("vm_proof_timestamp_seconds")] == [
        "nas"
    ]
    assert missing.value("vm_proof_fresh") == 0
    old = Found(proven(cloud=PROVEN.replace("at: 2026-08-20", "at: 2026-08-13")))
    assert old.value("vm_proof_fresh") == 0
    assert old.value("vm_proof_timestamp_seconds", remote="cloud") > 0
    assert Found(proven("{}", "unknown: no answer")).value("vm_proof_fresh") == 0


def test_freshness_that_is_not_known_or_not_asked_for_is_not_said() -> None:
    for silent in (
        proven(cloud="unknown: no answer"),
        proven(verification=None),
        proven(suspend=True),
        proven("{}", "{}", suspend=True),
        scene("pools: {east: {vms: {web: {}}}}\nremotes: {nas: {}}", verification=WEEK),
    ):
        assert Found(silent).series("vm_proof_fresh") == []
    assert Found(proven(verification=None)).series("vm_proof_timestamp_seconds") == []
    assert len(Found(proven(suspend=True)).series("vm_proof_timestamp_seconds")) == 2


# ── jobs and schedules ────────────────────────────────────────────────────────────────────────────


def test_after_a_weekend_the_gap_counts_until_its_slot_is_answered() -> None:
    weekdays = schedule("night", "0 2 * * 1-5")
    vms = "pools: {east: {vms: {web: {}}}}\nremotes: {nas: {}}"

    def target(now: str) -> float:
        return (
            Found(Scene(wanting(job(weekdays)), f"now: {now}\n{vms}")).value(
                "job_rpo_target_seconds"
            )
            / 3600
        )

    assert target("2026-08-20 12:00:00") == 24 + 1  # Thursday
    assert target("2026-08-22 12:00:00") == 72 + 1  # Saturday
    assert target("2026-08-24 02:30:00") == 72 + 1  # Monday, its slot just came
    assert target("2026-08-25 12:00:00") == 24 + 1


def test_a_job_with_two_schedules_promises_what_both_do() -> None:
    often = job(schedule("noon", "0 12 * * *"), schedule("night", "0 2 * * *"))
    found = Found(
        Scene(
            wanting(often),
            "now: 2026-08-21 02:10:05\npools: {east: {vms: {web: {}}}}\nremotes: {nas: {}}",
        )
    )
    assert found.value("job_rpo_target_seconds") == (14 + 1) * 3600
    assert found.value("job_expected_interval_seconds", schedule="noon") == 24 * 3600
    upcoming = found.value("job_next_run_timestamp_seconds", schedule="night")
    assert upcoming == found.value("job_next_run_timestamp_seconds", schedule="noon") + 14 * 3600


def test_a_suspended_job_promises_nothing() -> None:
    found = Found(in_sync(suspend=True))
    for name in ("vm_rpo_met", "job_rpo_target_seconds", "job_next_run_timestamp_seconds"):
        assert found.series(name) == [], name
    assert found.value("job_info", suspended="true") == 1
    assert found.value("vm_rpo_exposure_seconds") == 600


def test_what_never_happened_counts_from_zero() -> None:
    found = Found(in_sync())
    assert found.value("run_total", result="Failed", trigger="Scheduled") == 0
    assert found.value("job_missed_intervals_total", schedule="night") == 0
    assert found.value("job_consecutive_failures") == 0
    assert found.value("guard_pending", backup_job="nightly") == 0
    assert found.value("prune_blocked_total", reason="MassDeletionBlocked") == 0


def test_runs_are_counted_and_told_apart() -> None:
    name = JobName("nightly")
    tally = Tally()
    for state in (RunState.FAILED, RunState.FAILED, RunState.TIMED_OUT):
        tally = tally.after_run(name, Trigger.SCHEDULED, state, 90)
    found = Found(in_sync(), tally.after_run(JobName("gone"), Trigger.REQUESTED, state, 1))
    assert found.value("run_total", result="Failed") == 2
    assert found.value("run_total", result="TimedOut") == 1
    assert found.value("job_consecutive_failures") == 3
    assert found.series("run_total", backup_job="gone") == [], "of a job that is no more"
    seconds = found.value("run_duration_seconds", backup_job="nightly")
    assert isinstance(seconds, Histogram)
    assert (seconds.count, seconds.total) == (3, 270)


# ── work ──────────────────────────────────────────────────────────────────────────────────────────


def owed() -> Scene:
    return scene(
        f"pools: {{east: {{vms: {{web: {{snapshots: [{BEFORE}, {TONIGHT}]}}}}}}}}\n"
        f"remotes: {{nas: {{vms: {{web: {{points: [{BEFORE}]}}}}}}}}"
    )


def test_work_is_pending_until_it_is_under_way() -> None:
    waiting = owed()
    assert Found(waiting).value("action_pending", kind="export") == 1
    assert Found(waiting).value("run_active") == 0
    (export,) = waiting.actions(Export)
    waiting.observed = replace(
        waiting.observed, progress=Progress(running={id_of(export): waiting.now})
    )
    found = Found(waiting, plan=Plan(actions=(export,)))
    assert found.value("action_pending", kind="export") == 0
    assert found.value("action_running", kind="export") == 1
    assert found.value("run_active") == 1


def test_bytes_that_move_are_counted_while_they_move() -> None:
    way = Way("backup", remote="nas")
    (export,) = owed().actions(Export)
    ended = Attempt(owed().now, False, 1, None, Reason.STREAM_BROKEN, "it broke")
    tally = Tally().after_try(export, ended, seconds=3, moved_bytes=100)
    found = Found(owed(), tally, [(way, 20, 0), (way, 3, 9)])
    assert found.value("transfer_bytes_total", direction="backup", remote="nas") == 123
    assert found.value("action_total", kind="export") == 1
    assert found.series("action_total")[0][0]["reason"] == "StreamBroken"


def test_what_the_guard_holds_waits_for_a_person() -> None:
    days = ", ".join(
        f"{{job: nightly, at: 2026-08-{day:02} 02:00:05, schedules: [night]}}"
        for day in range(10, 22)
    )
    found = Found(
        scene(
            f"pools: {{east: {{vms: {{web: {{snapshots: [{TONIGHT}]}}}}}}}}\n"
            f"remotes: {{nas: {{vms: {{web: {{points: [{days}]}}}}}}}}",
            guard=PruneGuard(percent_max=10),
            schedules=(schedule(retention=Retention(last=1)),),
        )
    )
    assert found.value("guard_pending") == 11
    assert found.value("held_points", remote="nas", reason="MassDeletionBlocked") == 11
    assert found.value("action_held", kind="prune", reason="MassDeletionBlocked") == 11


def test_every_metric_has_a_family_and_every_verb_a_place() -> None:
    found = Found(in_sync())
    assert set(found.families) == {metric.name for metric in METRICS}
    kinds = {kind for labels, _ in found.series("action_pending") for kind in labels.values()}
    assert kinds == set(VERBS)


def test_before_the_first_report_there_are_counters_only() -> None:
    found = families(None, Tally(), (), in_sync().now, build=("1", "3"))
    names = {each.metric.name for each in found}
    assert "reconciler_build_info" in names
    assert "reconciler_vm_info" not in names


def test_space_is_told_where_it_is_known() -> None:
    found = Found(in_sync())
    assert found.value("remote_free_bytes", remote="nas") == 1 << 40
    untold = in_sync()
    view = untold.observed.remotes[RemoteName("nas")]
    untold.observed = replace(
        untold.observed,
        remotes={RemoteName("nas"): replace(view, free_bytes=None, total_bytes=None)},  # type: ignore[type-var]
    )
    assert Found(untold).series("remote_free_bytes") == []


def test_how_far_what_is_under_way_has_come() -> None:
    nas, cloud = Way("backup", remote="nas"), Way("restore", remote="cloud")
    found = Found(in_sync(), moving=[(nas, 100, 400), (nas, 50, 100), (nas, 7, 0), (cloud, 7, 0)])
    assert found.series("transfer_progress_ratio") == [
        ({"direction": "backup", "remote": "nas"}, 0.3)
    ]
    assert found.value("transfer_bytes_total", direction="backup") == 157


def test_an_sr_says_what_it_has_still_to_fold_if_it_can_be_told() -> None:
    found = scene("pools: {east: {srs: [fast, slow]}}\nremotes: {nas: {vms: {}}}")
    east = found.observed.pools[PoolName("east")]
    assert isinstance(east, PoolView)
    srs = {
        uuid: replace(sr, coalesce_backlog=3 if sr.name == "fast" else None)
        for uuid, sr in east.srs.items()
    }
    found.observed = replace(found.observed, pools={PoolName("east"): replace(east, srs=srs)})
    fast = {"sr": f"east/{sr_uuid('east', 'fast')}", "sr_name": "fast"}
    assert Found(found).series("sr_coalesce_backlog") == [(fast, 3)]
