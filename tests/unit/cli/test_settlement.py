from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from scenes import wanting

from reconciler.cli.settlement import PartState, is_settled, parts_of
from reconciler.desired.selector import Selector
from reconciler.desired.state import Job
from reconciler.ids import (
    JobId,
    JobName,
    PoolName,
    RemoteName,
    SnapshotUuid,
    Stamp,
    VmUuid,
    stamp_of,
)
from reconciler.observed.chain import History, RestorePoint
from reconciler.observed.pool import PoolView, PowerState, Vm
from reconciler.observed.progress import Attempt, Progress
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.actions import Export, Snapshot, id_of
from reconciler.plan.plan import Held, Plan
from reconciler.plan.reasons import Reason

ASKED = datetime(2026, 1, 9, 12, 0, 0, 500_000, tzinfo=UTC)
NOW = ASKED + timedelta(minutes=5)
LAB, NAS, OFF = PoolName("lab"), RemoteName("nas1"), RemoteName("offsite")
WEB, DB = VmUuid("a"), VmUuid("b")
JOB = Job(
    name=JobName("nightly"),
    id=JobId("j"),
    pools=(LAB,),
    remotes=(NAS, OFF),
    selector=Selector(tags=frozenset({"prod"})),
    schedules=(),
)
DESIRED = wanting(JOB)


def vm(uuid: VmUuid, *tags: str) -> Vm:
    return Vm(uuid, f"vm-{uuid}", frozenset(tags), PowerState.RUNNING, ())


POOL = PoolView(
    LAB,
    "u",
    "lab",
    "m",
    "8.3",
    NOW,
    {WEB: vm(WEB, "prod"), DB: vm(DB, "prod"), VmUuid("c"): vm(VmUuid("c"))},
)


def holding(remote: RemoteName, points: Mapping[VmUuid, datetime], job: str = "j") -> RemoteView:
    histories = {
        uuid: History(
            uuid,
            NOW,
            points=(
                RestorePoint(
                    uuid, "x", stamp_of(at), at.replace(microsecond=0), JobId(job), (), (), 7
                ),
            ),
        )
        for uuid, at in points.items()
    }
    return RemoteView(remote, NOW, None, None, histories)


def snapshot(uuid: VmUuid) -> Snapshot:
    return Snapshot(LAB, uuid, f"vm-{uuid}", JOB.name, JOB.id, (), ASKED, Reason.REQUESTED)


def export(uuid: VmUuid, remote: RemoteName) -> Export:
    return Export(
        pool=LAB,
        remote=remote,
        vm=uuid,
        vm_name=f"vm-{uuid}",
        job=JOB.name,
        job_id=JOB.id,
        schedules=(),
        snapshot=SnapshotUuid("s"),
        stamp=Stamp("t"),
        disks=(),
        due=ASKED,
        reason=Reason.POINT_MISSING,
    )


def states(observed: Observed, plan: Plan = Plan(), now: datetime = NOW) -> dict[str, PartState]:  # noqa: B008
    parts = parts_of(DESIRED, observed, plan, JOB, ASKED, now)
    return {part.subject: part.state for part in parts}


def world(
    nas: RemoteView | Unknown, off: RemoteView | Unknown, progress: Progress | None = None
) -> Observed:
    return Observed({LAB: POOL}, {NAS: nas, OFF: off}, progress or Progress())


def test_each_chosen_vm_on_each_remote_is_a_part() -> None:
    assert states(world(holding(NAS, {WEB: ASKED, DB: NOW}), holding(OFF, {WEB: NOW}))) == {
        "VM vm-a on remote nas1": PartState.DONE,
        "VM vm-a on remote offsite": PartState.DONE,
        "VM vm-b on remote nas1": PartState.DONE,
        "VM vm-b on remote offsite": PartState.PENDING,
    }


def test_older_points_and_points_of_other_jobs_do_not_count() -> None:
    old = ASKED - timedelta(seconds=1)
    assert set(
        states(world(holding(NAS, {WEB: old, DB: old}), holding(OFF, {WEB: NOW}, "other"))).values()
    ) == {PartState.PENDING}


def attempt(count: int, reason: Reason = Reason.REMOTE_ERROR, *, stuck: bool = False) -> Attempt:
    again = None if stuck else NOW
    return Attempt(NOW, succeeded=False, count=count, not_before=again, reason=reason, why="no")


@pytest.mark.parametrize(
    ("ended", "state"),
    [
        (attempt(1), PartState.PENDING),
        (attempt(3), PartState.FAILED),
        (attempt(1, stuck=True), PartState.FAILED),
        (Attempt(NOW, succeeded=True), PartState.PENDING),
    ],
)
def test_what_keeps_failing_is_failed(ended: Attempt, state: PartState) -> None:
    action = export(DB, OFF)
    progress = Progress(ended={id_of(action): ended})
    observed = world(holding(NAS, {WEB: NOW, DB: NOW}), holding(OFF, {WEB: NOW}), progress)
    for plan in (
        Plan(actions=(action,)),
        Plan(held=(Held("x", Reason.WAITING_FOR_BACKOFF, "later", action),)),
    ):
        assert states(observed, plan)["VM vm-b on remote offsite"] is state


def test_a_snapshot_that_fails_fails_every_remote_of_its_vm() -> None:
    action = snapshot(DB)
    progress = Progress(ended={id_of(action): attempt(3)})
    observed = world(holding(NAS, {WEB: NOW}), holding(OFF, {WEB: NOW}), progress)
    parts = parts_of(DESIRED, observed, Plan(actions=(action,)), JOB, ASKED, NOW)
    failed = [part for part in parts if part.state is PartState.FAILED]
    assert [part.subject for part in failed] == [
        "VM vm-b on remote nas1",
        "VM vm-b on remote offsite",
    ]
    assert {part.why for part in failed} == {"no"}
    assert is_settled(parts)


def test_what_no_waiting_changes_is_failed_at_once() -> None:
    held = (
        Held("x", Reason.NO_DISKS, "it has no disk", snapshot(DB)),
        Held("y", Reason.VM_BUSY, "it migrates", snapshot(WEB)),
    )
    assert states(world(holding(NAS, {}), holding(OFF, {})), Plan(held=held)) == {
        "VM vm-a on remote nas1": PartState.PENDING,
        "VM vm-a on remote offsite": PartState.PENDING,
        "VM vm-b on remote nas1": PartState.FAILED,
        "VM vm-b on remote offsite": PartState.FAILED,
    }


def test_what_is_out_of_sight_is_a_part_and_waited_for_a_minute() -> None:
    gone = Unknown(NOW, Reason.REMOTE_UNAVAILABLE, "not mounted")
    observed = world(holding(NAS, {WEB: NOW, DB: NOW}), gone)
    assert states(observed)["remote offsite"] is PartState.PENDING
    later = NOW + timedelta(minutes=2)
    assert states(observed, now=later)["remote offsite"] is PartState.FAILED
    refused = Unknown(NOW, Reason.CREDENTIALS_INVALID, "wrong password")
    assert states(Observed({LAB: refused}))["pool lab"] is PartState.FAILED


def test_what_was_not_looked_at_yet_is_pending() -> None:
    assert states(Observed()) == {
        "pool lab": PartState.PENDING,
        "remote nas1": PartState.PENDING,
        "remote offsite": PartState.PENDING,
    }


def test_a_history_that_cannot_be_read_is_a_failure_of_that_vm_alone() -> None:
    view = holding(NAS, {WEB: NOW})
    broken = Unknown(NOW, Reason.REMOTE_UNAVAILABLE, "I/O error")
    mixed = RemoteView(NAS, NOW, None, None, {**view.histories, DB: broken})
    found = states(world(mixed, holding(OFF, {WEB: NOW, DB: NOW})))
    assert found["VM vm-a on remote nas1"] is PartState.DONE
    assert found["VM vm-b on remote nas1"] is PartState.FAILED
