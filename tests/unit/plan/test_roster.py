"""A job is handed every VM that it may choose: as if it looked at all of them."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from scenes import job

from reconciler.desired.selector import Selector
from reconciler.ids import JobId, PoolName, SnapshotUuid, Stamp, VmUuid
from reconciler.observed.pool import Marks, PoolView, PowerState, Snapshot, Vm
from reconciler.plan.roster import Roster

NOW = datetime(2026, 1, 5, tzinfo=UTC)
OURS, OTHER = job().id, JobId("99999999-9999-4999-8999-999999999999")
NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
SETS = st.frozensets(NAMES, max_size=3)


def snapshot(vm: VmUuid, of: JobId) -> Snapshot:
    marks = Marks(of, (), Stamp("20260101T020000Z"), vm)
    return Snapshot(SnapshotUuid(f"s-{vm}"), "snapshot", NOW, marks, ())


@st.composite
def vms(draw: st.DrawFn) -> Vm:
    uuid = VmUuid(draw(NAMES))
    marked = draw(st.sampled_from([None, OURS, OTHER]))
    return Vm(
        uuid=uuid,
        name=draw(NAMES),
        tags=draw(SETS),
        power_state=draw(st.sampled_from(list(PowerState))),
        disks=(),
        snapshots=() if marked is None else (snapshot(uuid, marked),),
    )


SELECTORS = st.builds(
    Selector,
    uuids=SETS,
    names=st.lists(NAMES, max_size=2).map(tuple),
    tags=SETS,
    power_states=st.frozensets(st.sampled_from(["Running", "Halted"])),
    exclude_tags=SETS,
    all=st.booleans(),
)


@given(st.lists(vms(), max_size=8), SELECTORS)
def test_nobody_is_left_out(found: list[Vm], selector: Selector) -> None:
    view = PoolView(PoolName("lab"), "u", "lab", "m", "v", NOW, {vm.uuid: vm for vm in found})
    mine = job(selector=selector)
    candidates = Roster(view).candidates(mine)
    uuids = [vm.uuid for vm in candidates]
    assert uuids == sorted(set(uuids))
    wanted = {
        vm.uuid
        for vm in view.vms.values()
        if selector.matches(vm.uuid, vm.name, vm.tags, vm.power_state.value)
        or any(each.marks is not None and each.marks.job == OURS for each in vm.snapshots)
    }
    assert wanted <= set(uuids)


def test_a_tag_spares_looking_at_all_others() -> None:
    names = [VmUuid(name) for name in "abcd"]
    view = PoolView(
        *(PoolName("lab"), "u", "lab", "m", "v", NOW),
        vms={
            uuid: Vm(uuid, uuid, frozenset({f"tag-{uuid}"}), PowerState.RUNNING, ())
            for uuid in names
        },
    )
    mine = job(selector=Selector(tags=frozenset({"tag-b"})))
    assert [vm.uuid for vm in Roster(view).candidates(mine)] == ["b"]
