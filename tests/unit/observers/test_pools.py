import asyncio
import json
import random
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.clock import SteppedClock
from reconciler.ids import JobId, PoolName, ScheduleId, Stamp, VmUuid
from reconciler.observed.marks import write_disk_marks, write_marks
from reconciler.observed.pool import SNAPSHOT_IN_PROGRESS, Marks, PoolView, PowerState
from reconciler.observed.unknown import Unknown
from reconciler.observers.pool_fold import UNREADABLE_DISK, NoPool, PoolFold
from reconciler.observers.pools import PoolObserver
from reconciler.xapi.errors import BadAnswer, CredentialsInvalid, Unreachable, Untrusted
from reconciler.xapi.events import Change
from reconciler.xapi.login import Session

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)
JOB = JobId("11111111-1111-4111-8111-111111111111")


def uuid_of(name):
    return (
        f"{random.Random(name).getrandbits(128):032x}"[:8]
        + "-1111-4111-8111-"
        + (f"{random.Random(name).getrandbits(48):012x}")
    )


class Pool:
    """A pool's records, made by hand."""

    def __init__(self):
        self.records = {}
        self.put("pool", "P", uuid=uuid_of("P"), name_label="east", master="H")
        self.put(
            "host",
            "H",
            uuid=uuid_of("H"),
            name_label="host1",
            address="10.0.0.1",
            software_version={"product_brand": "XCP-ng", "product_version": "8.3.0"},
        )
        self.put("SR", "S", uuid=uuid_of("S"), name_label="local", type="ext")

    def put(self, kind, ref, **fields):
        record = {**self.records.get((kind, ref), {}), **fields}
        self.records[kind, ref] = record
        return Change(kind, ref, record)

    def drop(self, kind, ref):
        del self.records[kind, ref]
        return Change(kind, ref, None)

    def vm(self, ref, disks=("0",), **fields):
        changes = []
        vbds = []
        for position in disks:
            vbds.append(f"{ref}-vbd{position}")
            changes += self.disk(ref, position)
        change = self.put(
            "VM",
            ref,
            **{
                "uuid": uuid_of(ref),
                "name_label": ref,
                "power_state": "Running",
                "is_a_template": False,
                "is_default_template": False,
                "is_a_snapshot": False,
                "is_control_domain": False,
                "snapshot_of": "OpaqueRef:NULL",
                "snapshot_time": "19700101T00:00:00Z",
                "tags": ["prod"],
                "current_operations": {},
                "VBDs": vbds,
                "other_config": {},
                **fields,
            },
        )
        return [change, *changes]

    def disk(self, vm, position, **fields):
        vbd, vdi = f"{vm}-vbd{position}", f"{vm}-vdi{position}"
        return [
            self.put(
                "VDI",
                vdi,
                **{
                    "uuid": uuid_of(vdi),
                    "name_label": vdi,
                    "virtual_size": 1024,
                    "SR": "S",
                    "type": "user",
                    "is_a_snapshot": False,
                    "snapshot_of": "OpaqueRef:NULL",
                    "other_config": {},
                    **fields,
                },
            ),
            self.put(
                "VBD",
                vbd,
                uuid=uuid_of(vbd),
                VM=vm,
                VDI=vdi,
                type="Disk",
                userdevice=position,
                currently_attached=True,
            ),
        ]

    def snapshot(self, ref, vm, marks=None, disks=("0",), **fields):
        changes = self.vm(
            ref,
            disks=disks,
            is_a_snapshot=True,
            snapshot_of=vm,
            snapshot_time="20260101T00:00:00Z",
            power_state="Halted",
            other_config=write_marks(marks, uuid_of(ref), {}) if marks else {},
            **fields,
        )
        for position in disks:
            vdi = f"{ref}-vdi{position}"
            config = write_disk_marks(marks, uuid_of(vdi), {}) if marks else {}
            changes.append(
                self.put(
                    "VDI",
                    vdi,
                    is_a_snapshot=True,
                    snapshot_of=f"{vm}-vdi{position}",
                    other_config=config,
                )
            )
        return changes

    def everything(self):
        return tuple(Change(kind, ref, record) for (kind, ref), record in self.records.items())


def marks_for(vm, stamp="20260101T000000Z"):
    return Marks(JOB, (ScheduleId("nightly"),), Stamp(stamp), VmUuid(uuid_of(vm)))


@pytest.fixture
def pool():
    return Pool()


def fold(pool, as_of=NOW):
    folded = PoolFold(PoolName("east"))
    return folded, folded.apply(pool.everything(), as_of)


def vm_of(view, ref):
    return view.vms[VmUuid(uuid_of(ref))]


def test_a_pool_and_a_vm_are_seen(pool):
    pool.vm("web", disks=("10", "2", "0"))
    _, view = fold(pool)
    assert (view.name, view.label, view.master, view.version) == (
        "east",
        "east",
        "10.0.0.1",
        "XCP-ng 8.3.0",
    )
    assert view.as_of == NOW
    vm = vm_of(view, "web")
    assert (vm.name, vm.tags, vm.power_state) == ("web", {"prod"}, PowerState.RUNNING)
    assert [disk.position for disk in vm.disks] == ["0", "2", "10"]
    assert vm.disks[0].uuid == uuid_of("web-vdi0")
    assert vm.disks[0].sr == uuid_of("S")
    assert vm.busy == ()
    assert view.unreadable == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"is_a_template": True},
        {"is_default_template": True},
        {"is_control_domain": True},
        {"other_config": {"xo:copy_of": "x"}},
        {"other_config": {"xo:backup:sr": "x"}},
    ],
)
def test_what_cannot_be_protected_is_left_out(pool, fields):
    pool.vm("thing", **fields)
    _, view = fold(pool)
    assert view.vms == {}
    assert view.unreadable == ()


def test_drives_and_empty_ones_are_no_disks(pool):
    pool.vm("web", disks=("0", "3", "4"))
    pool.put("VBD", "web-vbd3", type="CD")
    pool.put("VBD", "web-vbd4", VDI="OpaqueRef:NULL")
    _, view = fold(pool)
    assert [disk.position for disk in vm_of(view, "web").disks] == ["0"]


def test_operations_that_hinder_a_snapshot_make_a_vm_busy(pool):
    operations = {"t1": "migrate_send", "t2": "changing_VCPUs_live", "t3": "snapshot"}
    pool.vm("web", current_operations=operations)
    _, view = fold(pool)
    assert vm_of(view, "web").busy == ("migrate_send", "snapshot")


def test_a_marked_snapshot_is_ours(pool):
    pool.vm("web")
    pool.snapshot("snap", "web", marks_for("web"))
    _, view = fold(pool)
    (snapshot,) = vm_of(view, "web").snapshots
    assert snapshot.uuid == uuid_of("snap")
    assert snapshot.marks == marks_for("web")
    (disk,) = snapshot.disks
    assert disk.uuid == uuid_of("snap-vdi0")
    assert disk.disk == uuid_of("web-vdi0")
    assert view.orphans == view.strays == ()


def test_a_snapshot_of_somebody_else_is_seen_without_marks(pool):
    pool.vm("web")
    pool.snapshot("mine", "web")
    pool.snapshot("xo", "web")
    pool.put(
        "VM",
        "xo",
        other_config={"xo:backup:job": JOB, "xo:backup:datetime": "20260101T00:00:00Z"},
    )
    _, view = fold(pool)
    assert [snapshot.marks for snapshot in vm_of(view, "web").snapshots] == [None, None]


def test_a_persons_snapshot_of_a_reverted_vm_is_not_ours(pool):
    pool.vm("web")
    pool.snapshot("snap", "web", marks_for("web"))
    pool.put("VM", "web", other_config=pool.records["VM", "snap"]["other_config"])
    pool.snapshot("by hand", "web")
    pool.put("VM", "by hand", other_config=pool.records["VM", "snap"]["other_config"])
    pool.put("VDI", "by hand-vdi0", other_config=pool.records["VDI", "snap-vdi0"]["other_config"])
    _, view = fold(pool)
    marked = {snap.uuid: snap.marks is not None for snap in vm_of(view, "web").snapshots}
    assert marked == {uuid_of("snap"): True, uuid_of("by hand"): False}


def test_marks_of_another_vm_or_without_sense_are_reported_and_mean_nothing(pool):
    pool.vm("web")
    pool.snapshot("other", "web", marks_for("db"))
    pool.snapshot("odd", "web", marks_for("web"))
    config = pool.records["VM", "odd"]["other_config"] | {"xo:backup:job": "../.."}
    pool.put("VM", "odd", other_config=config)
    _, view = fold(pool)
    assert [snapshot.marks for snapshot in vm_of(view, "web").snapshots] == [None, None]
    assert len(view.unreadable) == 2


def test_a_snapshot_in_the_making_is_seen_by_its_name(pool):
    pool.vm("web")
    pool.snapshot("snap", "web", name_label=f"{SNAPSHOT_IN_PROGRESS}-{JOB}")
    _, view = fold(pool)
    (snapshot,) = vm_of(view, "web").snapshots
    assert snapshot.name.startswith(SNAPSHOT_IN_PROGRESS)
    assert snapshot.marks is None


def test_a_snapshot_without_data_is_no_disk(pool):
    pool.vm("web")
    pool.snapshot("snap", "web", marks_for("web"))
    pool.put("VDI", "snap-vdi0", type="cbt_metadata")
    _, view = fold(pool)
    assert vm_of(view, "web").snapshots[0].disks == ()


def test_a_marked_disk_snapshot_of_no_vm_is_an_orphan(pool):
    pool.vm("web")
    changes = pool.snapshot("snap", "web", marks_for("web"))
    folded, view = fold(pool)
    assert view.orphans == ()
    assert changes
    view = folded.apply((pool.drop("VM", "snap"), pool.drop("VBD", "snap-vbd0")), LATER)
    (orphan,) = view.orphans
    assert orphan.uuid == uuid_of("snap-vdi0")
    assert orphan.marks == marks_for("web")
    view = folded.apply((pool.drop("VDI", "snap-vdi0"),), LATER)
    assert view.orphans == ()


def test_a_disk_that_anybody_has_is_no_orphan(pool):
    pool.vm("web")
    pool.snapshot("snap", "web", marks_for("web"))
    pool.drop("VM", "snap")
    pool.put("VBD", "snap-vbd0", VM="web")
    _, view = fold(pool)
    assert view.orphans == ()
    pool.put("VM", "web", is_control_domain=True)
    _, view = fold(pool)
    assert len(view.orphans) == 1


def test_a_live_disk_with_leaked_marks_is_no_orphan(pool):
    config = write_disk_marks(marks_for("web"), uuid_of("gone-vdi0"), {})
    pool.disk("gone", "0", other_config=config)
    pool.drop("VBD", "gone-vbd0")
    _, view = fold(pool)
    assert view.orphans == ()


def test_a_snapshot_whose_vm_is_gone_is_a_stray(pool):
    pool.vm("web")
    pool.snapshot("snap", "web", marks_for("web"))
    pool.snapshot("by hand", "web")
    folded, view = fold(pool)
    assert view.strays == ()
    view = folded.apply((pool.drop("VM", "web"),), LATER)
    assert [stray.uuid for stray in view.strays] == [uuid_of("snap")]
    assert view.vms == {}
    view = folded.apply(tuple(pool.vm("web")), LATER)
    assert view.strays == ()
    assert len(vm_of(view, "web").snapshots) == 2


@pytest.mark.parametrize(
    ("kind", "ref", "fields"),
    [
        ("VDI", "web-vdi0", {"uuid": "../../etc"}),
        ("VDI", "web-vdi0", {"virtual_size": "huge"}),
        ("VBD", "web-vbd0", {"type": 3}),
        ("VBD", "web-vbd0", {"VDI": "OpaqueRef:nowhere"}),
        ("VM", "web", {"VBDs": ["web-vbd0", "web-vbd1"]}),
    ],
)
def test_a_vm_with_an_unreadable_disk_is_busy_and_reported(pool, kind, ref, fields):
    pool.vm("web")
    pool.vm("db")
    pool.put(kind, ref, **fields)
    _, view = fold(pool)
    assert vm_of(view, "web").busy == (UNREADABLE_DISK,)
    assert vm_of(view, "db").busy == ()
    assert view.unreadable


def test_an_unreadable_vm_is_left_out_and_reported_and_its_snapshots_are_no_strays(pool):
    pool.vm("web")
    pool.vm("db")
    pool.snapshot("snap", "web", marks_for("web"))
    folded, _ = fold(pool)
    view = folded.apply((pool.put("VM", "web", tags=3),), LATER)
    assert set(view.vms) == {uuid_of("db")}
    assert view.unreadable == ("VM web: tags is not a set",)
    assert view.strays == view.orphans == ()
    view = folded.apply((pool.put("VM", "web", tags=[]),), LATER)
    assert view.unreadable == ()
    assert len(vm_of(view, "web").snapshots) == 1


def test_an_unreadable_join_hides_what_would_look_left_over(pool):
    pool.vm("web")
    pool.snapshot("snap", "web", marks_for("web"))
    pool.put("VBD", "snap-vbd0", uuid="x")
    _, view = fold(pool)
    assert view.orphans == ()
    assert view.unreadable


def test_two_vms_of_one_uuid_are_reported(pool):
    pool.vm("web")
    pool.vm("twin", uuid=uuid_of("web"))
    folded, view = fold(pool)
    assert len(view.vms) == 1
    assert any("twice" in line for line in view.unreadable)
    (shown,) = view.vms.values()
    view = folded.apply((pool.drop("VM", shown.name),), LATER)
    assert {vm.name for vm in view.vms.values()} == {"web", "twin"} - {shown.name}
    assert view.unreadable == ()


def test_an_unknown_power_state_is_taken_as_running(pool):
    pool.vm("web", power_state="Levitating")
    _, view = fold(pool)
    assert vm_of(view, "web").power_state is PowerState.RUNNING
    assert view.unreadable


def test_a_pool_without_a_pool_is_an_error(pool):
    pool.drop("pool", "P")
    with pytest.raises(NoPool):
        fold(pool)


def test_what_an_sr_has_still_to_fold_is_counted_and_told_when_it_changes(pool):
    pool.put("SR", "S", uuid=uuid_of("S"), name_label="fast", type="ext", content_type="user")
    pool.vm("web")

    def base(name, on, **fields):
        tree = {"vhd-parent": uuid_of(on)} if on else {}
        return pool.put(
            *("VDI", name), uuid=uuid_of(name), SR="S", managed=False, sm_config=tree, **fields
        )

    def backlog(view):
        (sr,) = view.srs.values()
        return sr.coalesce_backlog

    folded, view = fold(pool)
    assert backlog(view) is None, "nothing says what stands on what"
    root, web = base("root", ""), {"vhd-parent": uuid_of("root")}
    view = folded.apply((root, pool.put("VDI", "web-vdi0", sm_config=web)), LATER)
    assert backlog(view) == 0, "a disk that is in use is folded, but never has to be"
    second = base("second", "root")
    on_second = {"vhd-parent": uuid_of("second")}
    folded.apply((second, pool.put("VDI", "web-vdi0", sm_config=on_second)), LATER)
    view = folded.apply((pool.put("VDI", "other", uuid=uuid_of("other"), sm_config=web),), LATER)
    assert backlog(view) == 0, "somebody else stands on the root"
    view = folded.apply((pool.drop("VDI", "other"),), LATER)
    assert backlog(view) == 1
    noise = {**on_second, "host_OpaqueRef:1": "RW"}
    assert folded.apply((pool.put("VDI", "web-vdi0", sm_config=noise),), LATER) == view
    view = folded.apply(
        (pool.drop("VDI", "second"), pool.put("VDI", "web-vdi0", sm_config=web)), LATER
    )
    assert backlog(view) == 0


def test_nothing_new_gives_the_same_picture_later(pool):
    pool.vm("web")
    folded, first = fold(pool)
    noise = pool.put("VM", "web", allowed_operations=["x"])
    second = folded.apply((noise,), LATER)
    assert second == replace(first, as_of=LATER)
    assert second.vms is first.vms


def test_only_what_was_touched_is_folded_again(pool):
    pool.vm("web")
    pool.vm("db")
    folded, first = fold(pool)
    second = folded.apply((pool.put("VM", "web", name_label="new"),), LATER)
    assert vm_of(second, "web").name == "new"
    assert vm_of(first, "web").name == "web", "a published picture never changes"
    assert vm_of(second, "db") is vm_of(first, "db")


def test_a_disk_that_changes_shows_in_its_vm(pool):
    pool.vm("web")
    folded, _ = fold(pool)
    view = folded.apply((pool.put("VDI", "web-vdi0", virtual_size=4096),), LATER)
    assert vm_of(view, "web").disks[0].size_bytes == 4096
    view = folded.apply(
        (*pool.disk("web", "1"), pool.put("VM", "web", VBDs=["web-vbd0", "web-vbd1"])), LATER
    )
    assert len(vm_of(view, "web").disks) == 2
    view = folded.apply(
        (pool.drop("VBD", "web-vbd0"), pool.put("VM", "web", VBDs=["web-vbd1"])), LATER
    )
    assert [disk.position for disk in vm_of(view, "web").disks] == ["1"]


def test_an_sr_that_comes_later_is_seen(pool):
    pool.vm("web")
    sr = pool.records["SR", "S"]
    pool.drop("SR", "S")
    folded, view = fold(pool)
    assert vm_of(view, "web").disks[0].sr == ""
    view = folded.apply((pool.put("SR", "S", **sr),), LATER)
    assert vm_of(view, "web").disks[0].sr == uuid_of("S")


def random_change(pool, rng):
    """A change as a pool might make it, or a hostile one."""
    choice = rng.randrange(10)
    vm = f"vm{rng.randrange(4)}"
    snap = f"snap{rng.randrange(4)}"
    if choice < 3:
        return pool.vm(vm, disks=tuple(str(n) for n in range(rng.randrange(3))))
    if choice < 6:
        return pool.snapshot(snap, vm, rng.choice([None, marks_for(vm)]), disks=("0",))
    if choice < 8 and len(pool.records) > 4:
        kind, ref = rng.choice(
            [key for key in pool.records if key[0] in {"VM", "VBD", "VDI"}] or [("SR", "S")]
        )
        return [pool.drop(kind, ref)]
    kind, ref = rng.choice(sorted(pool.records))
    field = rng.choice(["uuid", "name_label", "VM", "VDI", "VBDs", "snapshot_of", "tags", "type"])
    return [pool.put(kind, ref, **{field: rng.choice([None, 3, "", "x", [], {}, ["a"], "web"])})]


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_changes_one_by_one_and_everything_at_once_give_the_same_picture(rng):
    pool = Pool()
    folded, _ = fold(pool)
    for _ in range(rng.randrange(30)):
        changes = tuple(random_change(pool, rng))
        with suppress(NoPool):
            folded.apply(changes, NOW)
    try:
        _, afresh = fold(pool)
    except NoPool:
        return
    assert folded.apply((), NOW) == afresh


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(deadline=None)
@given(
    st.sampled_from(["VM", "VBD", "VDI", "SR", "host", "pool"]),
    st.sampled_from(["web", "web-vbd0", "web-vdi0", "snap", "P", "H", "S"]),
    st.dictionaries(
        st.sampled_from(
            ["uuid", "VM", "VDI", "VBDs", "snapshot_of", "tags", "other_config", "master"]
        ),
        JSON,
    ),
)
def test_no_record_crashes_the_fold(kind, ref, fields):
    pool = Pool()
    pool.vm("web")
    pool.snapshot("snap", "web", marks_for("web"))
    pool.put(kind, ref, **fields)
    with suppress(NoPool):
        fold(pool)


def test_a_batch_costs_what_it_touches(pool):
    for number in range(3000):
        pool.vm(f"vm{number}")
    folded, _ = fold(pool)
    begun = time.process_time()
    for round_ in range(50):
        folded.apply((pool.put("VM", "vm7", name_label=str(round_)),), LATER)
    assert time.process_time() - begun < 0.5


# -- the observer ----------------------------------------------------------------------------


class FakeClient:
    """Answers as a pool does whose records are `pool`'s; raises `trouble` while there is some."""

    def __init__(self, pool):
        self.pool = pool
        self.trouble = None
        self.generation = 1
        self.pending = []
        self.bell = asyncio.Event()
        self._session = Session("OpaqueRef:s", None, 1)

    async def session(self):
        if self.trouble is not None:
            raise self.trouble
        return self._session

    def is_current(self, session):
        return session is self._session

    async def call(self, method, *params):
        kind = method.partition(".")[0]
        records = {ref: record for (of, ref), record in self.pool.records.items() if of == kind}
        return json.loads(json.dumps(records))

    async def call_in_session(self, session, method, classes, token, timeout):
        if self.trouble is not None:
            raise self.trouble
        if token and timeout and not self.pending:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self.bell.wait()
            if self.trouble is not None:
                raise self.trouble
        events = []
        if token:
            events, self.pending = self.pending, []
        return {"token": "1", "events": events, "valid_ref_counts": {}}

    def happen(self, *changes, trouble=None):
        self.trouble = trouble
        for change in changes:
            event = {"class": change.class_name.lower(), "ref": change.ref, "operation": "mod"}
            if change.record is None:
                event["operation"] = "del"
            else:
                event["snapshot"] = change.record
            self.pending.append(event)
        self.bell.set()
        self.bell = asyncio.Event()


class Watch:
    """A running observer and what it published."""

    def __init__(self, pool):
        self.client = FakeClient(pool)
        self.clock = SteppedClock(NOW)
        self.published = []
        self.waits = []
        self.bell = asyncio.Event()
        self.observer = PoolObserver(
            PoolName("east"), self.connect, self.clock, self.publish, pause=self.pause
        )

    async def connect(self, name):
        assert name == "east"
        return self.client

    def publish(self, view):
        self.published.append(view)
        self.bell.set()
        self.bell = asyncio.Event()

    async def pause(self, seconds):
        self.waits.append(seconds)
        if len(self.waits) > 12:
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    async def until(self, condition):
        async with asyncio.timeout(120):
            while not (self.published and condition(self.published[-1])):
                await self.bell.wait()
        return self.published[-1]


@pytest.fixture
async def watch(pool):
    pool.vm("web")
    watch = Watch(pool)
    task = asyncio.create_task(watch.observer.run())
    yield watch
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def is_view(view):
    return isinstance(view, PoolView)


def is_unknown(view):
    return isinstance(view, Unknown)


async def test_the_observer_publishes_what_it_sees(watch, pool):
    view = await watch.until(is_view)
    assert set(view.vms) == {uuid_of("web")}
    watch.client.happen(*pool.vm("db"))
    view = await watch.until(lambda view: is_view(view) and len(view.vms) == 2)
    assert vm_of(view, "db").name == "db"


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Unreachable("https://x: refused"), "PoolUnreachable"),
        (Untrusted("https://x: other certificate"), "PoolUnreachable"),
        (CredentialsInvalid("no"), "CredentialsInvalid"),
        (BadAnswer("rubbish"), "XapiError"),
        (RecursionError("a bug of ours"), "InternalError"),
    ],
)
async def test_trouble_is_unknown_and_ends(watch, trouble, reason):
    await watch.until(is_view)
    watch.client.happen(trouble=trouble)
    unknown = await watch.until(is_unknown)
    assert unknown.reason == reason
    assert str(trouble) in unknown.why
    watch.client.happen()
    assert is_view(await watch.until(is_view))


async def test_trouble_is_unknown_since_it_began_and_waits_grow(watch):
    await watch.until(is_view)
    watch.client.happen(trouble=Unreachable("x"))
    first = await watch.until(is_unknown)
    await watch.until(lambda _: len(watch.waits) > 8)
    assert watch.published[-1].since == first.since
    assert watch.waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_refused_credentials_are_not_hammered(watch):
    await watch.until(is_view)
    watch.client.happen(trouble=CredentialsInvalid("x"))
    await watch.until(is_unknown)
    assert watch.waits[0] >= 60


async def test_a_poke_makes_it_look_again(watch, pool):
    first = await watch.until(is_view)
    done_at = watch.clock.now()
    watch.observer.poke([(VmUuid(uuid_of("web")), done_at)])
    view = await watch.until(lambda view: view.as_of > done_at)
    assert view.as_of > first.as_of
    count = len(watch.published)
    watch.observer.poke([(VmUuid(uuid_of("web")), done_at)])
    watch.observer.poke([])
    await asyncio.sleep(0.01)
    assert len(watch.published) == count, "what was seen since is not looked at again"


async def test_a_poke_while_nothing_is_seen_is_fine(pool):
    Watch(pool).observer.poke([(VmUuid("x"), NOW)])


async def test_a_wish_to_look_ends_a_wait(pool):
    watch = Watch(pool)
    waiting = asyncio.Event()

    async def pause(seconds):
        waiting.set()
        await asyncio.Event().wait()

    watch.observer = PoolObserver(
        PoolName("east"), watch.connect, watch.clock, watch.publish, pause=pause
    )
    watch.client.happen(trouble=CredentialsInvalid("no"))
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(watch.observer.run())
        await waiting.wait()
        assert is_unknown(watch.published[-1])
        watch.client.trouble = None
        watch.observer.look()
        await watch.until(is_view)
        running.cancel()


async def test_a_wish_to_look_is_a_poke_without_a_reason(watch):
    first = await watch.until(is_view)
    watch.observer.look()
    await watch.until(lambda view: view.as_of > first.as_of)
