"""How a job stands that keeps its points in more places than remotes."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from scenes import Scene, job, schedule, wanting

from reconciler.desired.retention import Retention
from reconciler.desired.state import Cancellation, JobMode, Settings, SrTarget, Timeouts
from reconciler.ids import PoolName, RunId
from reconciler.observed.unknown import Unknown
from reconciler.plan.reasons import Reason
from reconciler.status.conditions import Condition, ConditionStatus, ConditionType
from reconciler.status.report import Report
from reconciler.status.standing import VmState

WEST = PoolName("west")
NIGHT = "job: nightly, at: 2026-08-21 02:00:05, schedules: [night]"
LAST = "job: nightly, at: 2026-08-20 02:00:05, schedules: [night]"


def scene(replica: str = NIGHT, now: str = "2026-08-21 02:10:00", **changes: Any) -> Scene:
    wanted = wanting(job(**{"srs": (SrTarget("fast", WEST),), **changes}))
    pools = {
        name: replace(wanted.pools[PoolName("east")], name=name)
        for name in (PoolName("east"), WEST)
    }
    return Scene(
        replace(wanted, pools=pools),
        f"""
now: {now}
pools:
  east: {{vms: {{web: {{snapshots: [{{{LAST}}}, {{{NIGHT}}}]}}}}}}
  west: {{srs: [fast], replicas: [{{vm: web, sr: fast, {replica}}}]}}
remotes: {{nas: {{vms: {{web: {{points: [{{{LAST}}}, {{{NIGHT}}}]}}}}}}}}
""",
    )


def report(found: Scene) -> Report:
    return Report(found.desired, found.observed, found.plan, found.now)


def conditions(found: Scene) -> dict[ConditionType, Condition]:
    (mine,) = report(found).conditions().values()
    return {condition.type: condition for condition in mine}


def state(found: Scene) -> VmState:
    ((vm,),) = (standing.vms for standing in report(found).standings)
    return vm.state


def test_a_vm_is_protected_when_every_destination_has_its_point() -> None:
    found = conditions(scene())
    assert {each.status for each in found.values()} == {ConditionStatus.TRUE}
    assert found[ConditionType.READY].message == "1/1 VMs protected on 1 remote and 1 SR"
    assert found[ConditionType.CHAINS_HEALTHY].message == "3 points, all whole"


def test_a_replica_that_is_late_makes_the_vm_late() -> None:
    assert state(scene(LAST)) is VmState.DUE
    found = conditions(scene(LAST, now="2026-08-21 04:00:00"))
    assert found[ConditionType.RPO_MET].status is ConditionStatus.FALSE
    assert found[ConditionType.RPO_MET].reason is Reason.BACKUP_OVERDUE


def test_a_pool_of_replicas_that_is_not_seen_is_a_trouble() -> None:
    found = scene()
    unknown = Unknown(found.now, Reason.POOL_UNREACHABLE, "no answer")
    found.observed = replace(found.observed, pools={**found.observed.pools, WEST: unknown})
    assert state(found) is VmState.UNKNOWN
    told = conditions(found)
    assert told[ConditionType.READY].reason is Reason.POOL_UNREACHABLE
    assert told[ConditionType.RPO_MET].status is ConditionStatus.UNKNOWN
    assert told[ConditionType.CHAINS_HEALTHY].status is ConditionStatus.UNKNOWN


def test_an_sr_that_nobody_knows_needs_a_person() -> None:
    told = conditions(scene(srs=(SrTarget("slow", WEST),)))
    assert told[ConditionType.STALLED].reason is Reason.SR_UNKNOWN
    assert "SR slow of pool west" in told[ConditionType.STALLED].message


def test_rolling_snapshots_are_kept_on_the_pool_alone() -> None:
    wanted = job(schedule(retention=Retention(last=2)), mode=JobMode.SNAPSHOT, remotes=(), srs=())
    found = scene()
    found.desired = replace(found.desired, jobs={wanted.name: wanted})
    assert state(found) is VmState.PROTECTED
    told = conditions(found)[ConditionType.READY]
    assert told.message == "1/1 VMs protected on the pool alone"


def test_what_was_cancelled_is_dealt_with_and_what_was_too_slow_is_not() -> None:
    cancelled = scene(LAST)
    run = Cancellation(RunId("nightly/20260821T020000Z"))
    cancelled.desired = replace(cancelled.desired, cancellations=(run,))
    assert state(cancelled) is VmState.PROTECTED
    slow = scene(LAST, settings=Settings(timeouts=Timeouts(run=timedelta())))
    assert state(slow) is VmState.HELD
    told = conditions(slow)
    assert told[ConditionType.READY].reason is Reason.TIMED_OUT
    assert ConditionType.STALLED not in told, "the next slot makes another try"
