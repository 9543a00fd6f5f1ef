"""Conditions, as tools that wait for them read them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from scenes import Scene, job, schedule, wanting

from reconciler.desired.problems import Problem
from reconciler.desired.retention import Retention
from reconciler.ids import RemoteName
from reconciler.observed.progress import Attempt, Progress
from reconciler.plan.actions import id_of
from reconciler.status.conditions import Condition, ConditionStatus, ConditionType
from reconciler.status.report import Report

LAST = "{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}"
TONIGHT = "{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}"


def scene(
    points: str = f"{LAST}, {TONIGHT}",
    *,
    nas: str = "",
    pool: str = "",
    now: str = "2026-08-21 02:10:00",
    **changes: Any,
) -> Scene:
    east = pool or f"vms: {{web: {{snapshots: [{TONIGHT}]}}}}"
    place = nas or f"vms: {{web: {{points: [{points}]}}}}"
    return Scene(
        wanting(job(**changes)),
        f"now: {now}\npools: {{east: {{{east}}}}}\nremotes: {{nas: {{{place}}}}}\n",
    )


def conditions(found: Scene) -> dict[ConditionType, Condition]:
    report = Report(found.desired, found.observed, found.plan, found.now)
    (mine,) = report.conditions().values()
    types = [condition.type for condition in mine]
    assert len(types) == len(set(types))
    return {condition.type: condition for condition in mine}


def test_in_sync() -> None:
    found = conditions(scene())
    assert found.keys() == {
        ConditionType.READY,
        ConditionType.RPO_MET,
        ConditionType.CHAINS_HEALTHY,
    }
    assert {each.status for each in found.values()} == {ConditionStatus.TRUE}
    assert found[ConditionType.READY].message == "1/1 VMs protected on 1 remote"


def test_work_under_way_is_no_trouble() -> None:
    found = conditions(scene(LAST))
    assert found[ConditionType.READY].status is ConditionStatus.TRUE
    assert found[ConditionType.RPO_MET].status is ConditionStatus.TRUE


def test_a_late_backup_alone_does_not_make_a_job_unready() -> None:
    found = conditions(scene(LAST, now="2026-08-21 05:00:00"))
    assert found[ConditionType.READY].status is ConditionStatus.TRUE
    assert found[ConditionType.RPO_MET].status is ConditionStatus.FALSE
    assert found[ConditionType.RPO_MET].reason == "BackupOverdue"
    assert "web: a backup is overdue since 2026-08-21 0" in found[ConditionType.RPO_MET].message


@pytest.mark.parametrize(
    "unseen",
    [{"nas": "unknown: no answer"}, {"pool": "unknown: no answer"}],
)
def test_what_we_keep_trying_is_reconciling(unseen: dict[str, str]) -> None:
    found = conditions(scene(**unseen))
    assert found[ConditionType.READY].status is ConditionStatus.FALSE
    assert found[ConditionType.RECONCILING].status is ConditionStatus.TRUE
    assert ConditionType.STALLED not in found
    assert found[ConditionType.RPO_MET].status is ConditionStatus.UNKNOWN


def test_wrong_credentials_need_a_person() -> None:
    found = conditions(scene(pool="unknown: wrong password, reason: CredentialsInvalid"))
    assert found[ConditionType.STALLED].reason == "CredentialsInvalid"
    assert ConditionType.RECONCILING not in found


def test_a_manifest_with_problems_needs_a_person() -> None:
    found = scene()
    (mine,) = found.desired.jobs.values()
    problem = Problem("x.yaml", 1, 1, 'unknown field "dayly"', object=f"BackupJob/{mine.name}")
    found.desired = replace(found.desired, protected_jobs=frozenset({mine.id}), problems=(problem,))
    stalled = conditions(found)[ConditionType.STALLED]
    assert stalled.reason == "InvalidSpec"
    assert "dayly" in stalled.message


def test_a_blocked_deletion_needs_a_person() -> None:
    points = ", ".join(
        f"{{job: nightly, at: 2026-08-{day} 02:00:05, schedules: [night]}}" for day in range(10, 22)
    )
    found = conditions(scene(points, schedules=(schedule(retention=Retention(last=1)),)))
    assert found[ConditionType.STALLED].reason == "MassDeletionBlocked"
    assert "(and 10 more)" in found[ConditionType.STALLED].message


def test_choosing_no_vm_needs_a_person() -> None:
    found = conditions(scene(pool="vms: {}"))
    assert found[ConditionType.STALLED].reason == "NoVMsMatched"


@pytest.mark.parametrize(("again", "kind"), [(True, "Reconciling"), (False, "Stalled")])
def test_an_action_that_failed_is_trouble(again: bool, kind: str) -> None:
    found = scene(LAST)
    (export,) = found.actions()
    not_before = found.now + timedelta(minutes=1) if again else None
    attempt = Attempt(found.now, False, 1, not_before, "InsufficientSpace", "no space left")
    progress = Progress(ended={id_of(export): attempt})
    found.observed = replace(found.observed, progress=progress)
    condition = conditions(found)[ConditionType(kind)]
    assert condition.reason == "InsufficientSpace"
    assert condition.message == "export of web failed: no space left"


def test_broken_chains_are_counted() -> None:
    found = conditions(scene(f"{LAST.replace('}', ', missing: [root]}')}, {TONIGHT}"))
    assert found[ConditionType.CHAINS_HEALTHY].status is ConditionStatus.FALSE
    assert "2 of 2 points" in found[ConditionType.CHAINS_HEALTHY].message


def test_chains_that_were_not_seen_are_not_known_to_be_healthy() -> None:
    found = conditions(scene(nas="vms: {web: {unknown: EIO}}"))
    assert found[ConditionType.CHAINS_HEALTHY].status is ConditionStatus.UNKNOWN


def test_a_suspended_job_is_ready_and_says_so() -> None:
    found = conditions(scene(suspend=True))
    assert found[ConditionType.READY].status is ConditionStatus.TRUE
    assert found[ConditionType.READY].reason == "Suspended"


def test_another_jobs_trouble_is_its_own() -> None:
    found = scene(LAST, remotes=(RemoteName("nas"),))
    (export,) = found.actions()
    other = replace(export, job="other")
    attempt = Attempt(found.now, False, 1, None, "BadDisk", "x")
    found.observed = replace(
        found.observed, progress=Progress(ended={id_of(replace(other, stamp="x")): attempt})
    )
    assert ConditionType.STALLED not in conditions(found)
