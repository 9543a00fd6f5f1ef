"""What sends one snapshot to several places starts together, and reads each disk once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from scenes import job, wanting

from reconciler.desired.state import Compression, Desired, Settings, SrTarget
from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    SnapshotUuid,
    SrUuid,
    VmUuid,
    stamp_of,
)
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Attempt, Claims, Progress, SlotKind
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.plan.actions import (
    Action,
    Archive,
    CopyVm,
    DiskExport,
    Export,
    ExportKind,
    Merge,
    Prune,
    Replicate,
    Snapshot,
    id_of,
)
from reconciler.plan.admit import Admission, decide
from reconciler.plan.claims import claims_of, claims_of_party
from reconciler.plan.plan import Plan
from reconciler.plan.reasons import Reason

NOW = datetime(2026, 8, 21, 2, tzinfo=UTC)
EAST, WEST = PoolName("east"), PoolName("west")
NAS, OFF, SR = RemoteName("nas"), RemoteName("off"), SrUuid("5a5a5a5a-0000")


def estate(*, exports: int = 12, nas: int = 12, off: int = 12, **settings: Any) -> Desired:
    desired = wanting(
        job(
            pools=(EAST, WEST),
            remotes=(NAS, OFF),
            srs=(SrTarget(SR, WEST),),
            settings=Settings(**settings),
        )
    )
    return replace(
        desired,
        pools={
            name: replace(pool, exports_max=exports, replicas_max=2)
            for name, pool in desired.pools.items()
        },
        remotes={
            NAS: replace(desired.remotes[NAS], actions_max=nas),
            OFF: replace(desired.remotes[OFF], actions_max=off),
        },
    )


def seen(**progress: Any) -> Observed:
    return Observed(
        pools={name: PoolView(name, "u", name, "host", "8.3", NOW) for name in (EAST, WEST)},
        remotes={name: RemoteView(name, NOW, None, None) for name in (NAS, OFF)},
        progress=Progress(**progress),
    )


def disks(vm: str, count: int, base: str | None = None) -> tuple[DiskExport, ...]:
    return tuple(
        DiskExport(
            DiskUuid(f"{vm}{number}"),
            DiskSnapshotUuid(f"{vm}{number}"),
            ExportKind.FULL if base is None else ExportKind.DELTA,
            Reason.FIRST_BACKUP,
            None if base is None else DiskSnapshotUuid(f"{base}{number}"),
        )
        for number in range(count)
    )


def common(vm: str) -> dict[str, Any]:
    return {
        "pool": EAST,
        "vm": VmUuid(vm),
        "vm_name": vm,
        "job": JobName("nightly"),
        "job_id": JobId("j"),
        "schedules": (),
        "snapshot": SnapshotUuid(f"snapshot of {vm}"),
        "stamp": stamp_of(NOW),
        "due": NOW,
        "reason": Reason.POINT_MISSING,
    }


def export(vm: str, remote: RemoteName = NAS, count: int = 1, base: str | None = None) -> Export:
    return Export(**common(vm), remote=remote, disks=disks(vm, count, base))


def replicate(vm: str, count: int = 1) -> Replicate:
    return Replicate(
        **common(vm), target_pool=WEST, sr=SR, replica=None, base=None, disks=disks(vm, count)
    )


def archive(vm: str) -> Archive:
    return Archive(**common(vm), remote=NAS, compression=Compression.ZSTD)


def copy(vm: str) -> CopyVm:
    return CopyVm(**common(vm), target_pool=WEST, sr=SR, compression=Compression.ZSTD)


def decided(desired: Desired, observed: Observed, *actions: Action) -> Admission:
    return decide(Plan(actions=actions), desired, observed, NOW)


def running(*parties: tuple[Action, ...], since: datetime = NOW) -> Observed:
    claims: dict[Any, Claims] = {}
    for party in parties:
        for action, each in zip(party, claims_of_party(party, estate(), since), strict=True):
            claims[id_of(action)] = each
    return seen(running=dict.fromkeys(claims, since), claims=claims)


def test_what_sends_one_snapshot_starts_together_and_what_sends_another_apart() -> None:
    first, second, third = export("a"), export("a", OFF), replicate("a")
    other = export("b")
    admission = decided(estate(), seen(), first, other, second, third)
    assert admission.starts == ((first, second, third), (other,))
    assert admission.actions == (first, second, third, other)


def test_each_disk_of_a_party_is_counted_once_whatever_its_bases() -> None:
    party = export("a", NAS, 4), export("a", OFF, 4, base="old"), replicate("a", 4)
    assert decided(estate(exports=8), seen(), *party, export("b", NAS, 4)).starts == (
        party,
        (export("b", NAS, 4),),
    )
    assert decided(estate(exports=8), seen(), *party, export("b", NAS, 5)).starts == (party,)
    assert decided(estate(exports=8), running(party), export("b", NAS, 4)).starts
    assert not decided(estate(exports=8), running(party), export("b", NAS, 5)).starts


def test_a_whole_vm_is_one_stream_for_all() -> None:
    party = archive("a"), copy("a")
    assert decided(estate(exports=2), seen(), *party, export("b")).starts == (
        party,
        (export("b"),),
    )


def test_the_slots_of_a_party_are_free_when_its_last_is_done() -> None:
    party = export("a", NAS, 2), export("a", OFF, 2)
    both = running(party)
    last = {id_of(party[1])}
    alone = seen(
        running=dict.fromkeys(last, NOW),
        claims={key: both.progress.claims[key] for key in last},
    )
    for observed in (both, alone):
        assert not decided(estate(exports=2), observed, export("b")).starts
    assert decided(estate(exports=2), seen(), export("b")).starts


def test_who_joins_later_reads_alone() -> None:
    party = export("a", NAS, 2), export("a", OFF, 2)
    one = running((party[0],), since=NOW - timedelta(minutes=1))
    assert not decided(estate(exports=3), one, *party).starts
    assert decided(estate(exports=4), one, *party).starts == ((party[1],),)


def test_one_that_backs_off_is_left_out_and_the_others_start() -> None:
    party = export("a"), export("a", OFF), replicate("a")
    again_at = NOW + timedelta(minutes=1)
    failed = Attempt(NOW, False, 1, again_at, "RemoteError", "EIO")
    admission = decided(estate(), seen(ended={id_of(party[1]): failed}), *party)
    assert admission.starts == ((party[0], party[2]),)
    assert [held.reason for held in admission.waiting] == [Reason.WAITING_FOR_BACKOFF]
    assert admission.wake_at == again_at


def test_one_whose_place_is_busy_is_left_out_and_comes_next_there() -> None:
    merge = Merge(OFF, VmUuid("a"), "a", None, "x", "y", 1, NOW, Reason.POINT_PRUNED)
    prune = Prune(OFF, VmUuid("a"), "a", None, stamp_of(NOW), 1, NOW, Reason.RETENTION_EXCEEDED)
    party = export("a"), export("a", OFF)
    busy = seen(running={id_of(merge): NOW}, claims={id_of(merge): claims_of(merge)})
    admission = decided(estate(), busy, *party, prune)
    assert admission.starts == ((party[0],),)
    assert [held.action for held in admission.waiting] == [party[1], prune]
    assert decided(estate(), seen(), party[1], prune).starts == ((party[1],),)


def test_a_party_waits_for_its_slots_as_one_and_keeps_them_free() -> None:
    other = export("other", OFF)
    party = export("a"), export("a", OFF)
    late = export("late")
    observed = running((other,))
    admission = decided(estate(nas=1, off=1), observed, *party, late)
    assert admission.starts == ()
    assert [held.reason for held in admission.waiting] == [Reason.WAITING_FOR_LIMIT] * 3
    assert "remote off" in admission.waiting[0].why
    assert decided(estate(nas=2, off=1), observed, *party, late).starts == ((late,),)


def test_of_one_vm_no_more_disks_are_read_at_once_than_the_job_says() -> None:
    party = export("a", NAS, 5), export("a", OFF, 5)
    desired = estate(exports=3, disks_max=2)
    assert decided(desired, seen(), *party, export("b")).starts == (party, (export("b"),))
    (claims, _) = claims_of_party(party, desired, NOW)
    assert [slots.count for slots in claims.slots if slots.kind is SlotKind.EXPORTS] == [2]


def test_no_more_vms_of_a_job_are_at_work_at_once_than_it_says() -> None:
    desired = estate(vms_max=1)
    party = export("a"), export("a", OFF)
    admission = decided(desired, seen(), *party, export("b"))
    assert admission.starts == (party,)
    assert "VMs of job nightly" in admission.waiting[0].why
    again = Snapshot(
        EAST, VmUuid("a"), "a", JobName("nightly"), JobId("j"), (), NOW, Reason.SCHEDULED
    )
    assert decided(desired, running(party), again).starts == ((again,),)
    assert not decided(desired, running(party), replace(again, vm=VmUuid("b"))).starts


def test_an_sr_takes_as_many_at_once_as_its_pool_says() -> None:
    three = replicate("a"), replicate("b"), replicate("c")
    admission = decided(estate(), seen(), *three)
    assert admission.actions == three[:2]
    assert (
        admission.waiting[0].why
        == "the limit is 2 replications at once to SR 5a5a5a5a of pool west"
    )


def test_no_snapshot_is_taken_while_enough_disks_wait_for_every_destination() -> None:
    queue = [
        action
        for number in range(8)
        for action in (
            export(f"vm{number}", NAS, 3),
            export(f"vm{number}", OFF, 3),
            replicate(f"vm{number}", 3),
        )
    ]
    late = Snapshot(
        EAST, VmUuid("late"), "late", JobName("nightly"), JobId("j"), (), NOW, Reason.SCHEDULED
    )
    assert late not in decided(estate(exports=12), seen(), *queue, late).actions
    idle_sr = [action for action in queue if isinstance(action, Export)]
    assert late in decided(estate(exports=12), seen(), *idle_sr, late).actions


def test_a_party_needs_its_streams_once_beside_what_runs_already() -> None:
    party = export("a", NAS, 4), export("a", OFF, 4), replicate("a", 4)
    busy = running((export("other", NAS, 1),))
    assert decided(estate(exports=5), busy, *party).starts == (party,)
    assert not decided(estate(exports=4), busy, *party).starts


def after_work_on_sr(ended_ago: timedelta, seen_ago: timedelta) -> Observed:
    """An action of ours on the SR has ended, and its pool was last seen before or after that."""
    touched = {place: NOW - ended_ago for place, _ in claims_of(replicate("a")).places[1:]}
    observed = seen(touched=touched)
    view = observed.pools[WEST]
    assert isinstance(view, PoolView)
    pools = {**observed.pools, WEST: replace(view, as_of=NOW - seen_ago)}
    return replace(observed, pools=pools)


def test_a_party_waits_for_a_picture_that_is_late_by_little() -> None:
    party = export("a"), replicate("a")
    observed = after_work_on_sr(timedelta(seconds=5), timedelta(seconds=20))
    admission = decided(estate(), observed, *party, export("b"))
    assert admission.starts == ((export("b"),),), "others go on"
    assert [each.reason for each in admission.waiting] == [Reason.WAITING_FOR_OBSERVATION] * 2
    assert admission.wake_at == NOW + timedelta(seconds=55)
    fresh = after_work_on_sr(timedelta(seconds=5), timedelta(seconds=1))
    assert decided(estate(), fresh, *party).starts == (party,), "each disk is read once"


def test_a_picture_that_does_not_come_is_not_waited_for_for_ever() -> None:
    party = export("a"), replicate("a")
    observed = after_work_on_sr(timedelta(minutes=1), timedelta(minutes=2))
    admission = decided(estate(), observed, *party)
    assert admission.starts == ((export("a"),),)
    assert admission.wake_at is None


def test_who_waits_for_something_else_is_not_waited_for() -> None:
    failed = Attempt(NOW, False, 1, NOW + timedelta(minutes=5), "XapiError", "no")
    observed = after_work_on_sr(timedelta(seconds=5), timedelta(seconds=20))
    progress = replace(observed.progress, ended={id_of(replicate("a")): failed})
    admission = decided(estate(), replace(observed, progress=progress), export("a"), replicate("a"))
    assert admission.starts == ((export("a"),),)
