"""Replicas on the same pool and on another: whole, brought up to date, startable, never harmed."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.executor.refusal import Refused
from reconciler.ids import (
    JobId,
    ScheduleId,
    VmUuid,
)
from reconciler.lab import guest
from reconciler.lab.faults import DropConnection, FailCall
from reconciler.observed.replica_marks import BLOCKED
from reconciler.plan.actions import ExportKind
from reconciler.xapi.errors import XapiError, XapiFailure
from reconciler.xapi.tasks import run_async

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
JOB = JobId("33333333-3333-4333-8333-333333333333")
SCHEDULE = ScheduleId("44444444-4444-4444-8444-444444444444")
SIZE = 16 << 20
NULL = "OpaqueRef:NULL"
EXPORT = "http:GET /export_raw_vdi"
IMPORT = "http:PUT /import_raw_vdi"


async def test_a_full_then_deltas_are_byte_equal_points_of_one_vm(site):
    for number in range(4):
        action = await site.replicate()
        assert (action.base is None) == (number == 0)
        if number:
            assert 0 < site.sent_bytes < 12 << 20, "a delta"
        await site.assert_points_are_right()
        await site.live_equals(action.stamp)
        site.write()
    assert len({point.replica for point in await site.points()}) == 1
    assert all(point.clean for point in await site.points())
    view = await site.view()
    assert view.unreadable == view.strays == ()
    protected = {vm.name for vm in view.vms.values()}
    assert protected == ({"web"} if site.target is site.client else set()), "never backed up itself"
    assert {vm.name for vm in (await site.view(site.client)).vms.values()} == {"web"}


async def test_a_replica_is_kept_as_other_tools_keep_theirs(site):
    action = await site.replicate()
    vm = await site.replica_record()
    assert vm["blocked_operations"] == {"start": BLOCKED, "start_on": BLOCKED}
    assert {"prod", "Continuous Replication"} <= set(vm["tags"])
    assert vm["name_label"] == "web - nightly"
    assert " -- " in f" -- {vm['name_description']}"
    assert "last replication: 2026-01-06" in vm["name_description"]
    assert vm["other_config"]["xo:backup:sr"] == site.sr
    assert not {"xo:backup:job", "xo:backup:datetime", "xo:backup:vm"} & set(vm["other_config"])
    (point,) = vm["snapshots"]
    snapshot = await site.target.call("VM.get_record", point)
    assert snapshot["name_label"] == f"web - nightly / {SCHEDULE} {action.stamp}"
    assert not snapshot["is_a_template"]
    config = snapshot["other_config"]
    assert config["xo:backup:job"] == JOB
    assert config["xo:backup:schedule"] == SCHEDULE
    assert config["xo:backup:vm"] == site.vm
    assert config["xo:backup:datetime"] == "2026-01-06T02:00:00Z".replace("-", "", 2)
    for disk in await site.disks_of(snapshot):
        source = disk["other_config"]["xo:copy_of"]
        assert source in {each.snapshot for each in action.disks}
        assert disk["other_config"]["xo:backup:contentKey"] == source
        assert disk["name_label"].startswith("web ")
    (vif,) = vm["VIFs"]
    (origin,) = await site.client.call("VM.get_VIFs", await ref_of(site))
    assert await site.target.call("VIF.get_MAC", vif) == await site.client.call(
        "VIF.get_MAC", origin
    )


async def ref_of(site):
    return await site.client.call("VM.get_by_uuid", site.vm)


async def test_a_replica_starts_when_it_is_cloned_or_unblocked_and_not_by_accident(site):
    await site.replicate()
    vm = await site.replica_record()
    for operation, more in (("start", []), ("start_on", [await site.target.call("pool.get_all")])):
        words = [vm["ref"], False, False]
        if more:
            hosts = await site.target.call("host.get_all")
            words = [vm["ref"], hosts[0], False, False]
        with pytest.raises(XapiFailure) as refused:
            await run_async(site.target, f"VM.{operation}", words, 30)
        assert refused.value.code == "OPERATION_BLOCKED"
    clone = await run_async(site.target, "VM.clone", [vm["snapshots"][0], "drill"], 30)
    await run_async(site.target, "VM.start", [clone, False, False], 30)
    assert await site.target.call("VM.get_power_state", clone) == "Running"
    assert site.target_lab.read_disk("drill", 0, 0, SIZE) == site.lab.read_disk("web", 0, 0, SIZE)
    (point,) = await site.points()
    assert point.clean, "the clone is another VM"
    for operation in ("start", "start_on"):
        await site.target.call("VM.remove_from_blocked_operations", vm["ref"], operation)
    await run_async(site.target, "VM.start", [vm["ref"], False, False], 30)
    (point,) = await site.points()
    assert not point.clean


async def test_a_replica_that_somebody_uses_is_left_to_them(site):
    await site.replicate()
    vm = await site.replica_record()
    for operation in ("start", "start_on"):
        await site.target.call("VM.remove_from_blocked_operations", vm["ref"], operation)
    await run_async(site.target, "VM.start", [vm["ref"], False, False], 30)
    disks = {disk["uuid"] for disk in await site.disks_of(vm)}
    site.write()
    action = await site.replicate()
    assert action.replica is None
    assert site.sent_bytes < 12 << 20, "a clone of the point took the delta"
    await site.assert_points_are_right()
    assert await site.target.call("VM.get_power_state", vm["ref"]) == "Running"
    assert {disk["uuid"] for disk in await site.disks_of(vm)} == disks
    site.write()
    await site.replicate()
    await site.assert_points_are_right()
    assert len({point.replica for point in await site.points()}) == 2


async def test_what_somebody_wrote_into_a_halted_replica_is_not_thrown_away(site):
    await site.replicate()
    vm = await site.replica_record()
    (first, *_) = [disk["uuid"] for disk in await site.disks_of(vm)]
    vdi = site.target_lab.pool.database.by_uuid("VDI", first)
    guest.write(site.target_lab.pool, vdi, 9 << 20, b"precious")
    site.write()
    action = await site.replicate()
    assert action.replica == vm["uuid"], "from outside it looks untouched"
    await site.assert_points_are_right()
    assert site.target_lab.read_vdi(first, 9 << 20, 8) == b"precious"
    assert len({point.replica for point in await site.points()}) == 2


async def test_disks_that_come_go_and_grow_are_followed(west, tmp_path):
    await west.replicate()
    ref = await ref_of(west)
    lab = west.lab
    vbds = await west.client.call("VM.get_VBDs", ref)
    records = {vbd: await west.client.call("VBD.get_record", vbd) for vbd in vbds}
    second = next(vbd for vbd, record in records.items() if record["userdevice"] == "1")
    lab.power("web", "Halted")
    first = lab.disk("web", 0).ref
    await run_async(west.client, "VDI.resize", [first, 24 << 20], 30)
    lab.random_write("web", 0, 20 << 20, 1 << 20)
    await west.replicate()
    await west.assert_points_are_right()

    await west.client.call("VBD.destroy", second)
    struct = {"virtual_size": 8 << 20, "type": "user", "sharable": False, "read_only": False}
    sr = await west.client.call("VDI.get_SR", first)
    added = await west.client.call(
        "VDI.create", {**struct, "SR": sr, "other_config": {}, "name_label": "third"}
    )
    vbd = {"VM": ref, "VDI": added, "userdevice": "1", "bootable": False, "mode": "RW"}
    vbd |= {"type": "Disk", "empty": False, "other_config": {}}
    await west.client.call(
        "VBD.create", {**vbd, "qos_algorithm_type": "", "qos_algorithm_params": {}}
    )
    lab.random_write("web", 1, 0, 3 << 20)
    action = await west.replicate()
    await west.assert_points_are_right()
    vm = await west.replica_record()
    assert sorted(disk["name_label"] for disk in await west.disks_of(vm)) == ["third", "web 0"]
    await west.live_equals(action.stamp)
    before = await west.everything()
    west.write()
    await west.replicate()
    await west.assert_points_are_right()
    after = await west.everything()
    assert after == {**before, "VM": before["VM"] + 1, "VBD": before["VBD"] + 2} | {
        "VIF": before["VIF"] + 1,
        "disks": before["disks"] + 2,
    }, "one snapshot more and nothing else"


async def test_the_configuration_follows(west):
    await west.replicate()
    ref = await ref_of(west)
    west.lab.power("web", "Halted")
    await west.client.call("VM.set_memory_limits", ref, 1 << 29, 3 << 30, 2 << 30, 3 << 30)
    await west.client.call("VM.set_VCPUs_max", ref, 8)
    await west.client.call("VM.set_VCPUs_at_startup", ref, 6)
    await west.client.call("VM.set_HVM_boot_params", ref, {"order": "n"})
    await west.client.call("VM.set_ha_restart_priority", ref, "restart")
    await west.client.call("VM.add_tags", ref, "new")
    await west.client.call("VM.add_to_other_config", ref, "folder", "/a")
    await west.replicate()
    vm = await west.replica_record()
    assert (vm["memory_static_max"], vm["VCPUs_max"], vm["VCPUs_at_startup"]) == (3 << 30, 8, 6)
    assert vm["HVM_boot_params"] == {"order": "n"}
    assert vm["ha_restart_priority"] == ""
    assert {"new", "HA disabled"} <= set(vm["tags"])
    assert vm["other_config"]["folder"] == "/a"
    snapshot = await west.target.call("VM.get_record", vm["snapshots"][-1])
    assert snapshot["VCPUs_max"] in (2, 8)
    await west.client.call("VM.set_VCPUs_at_startup", ref, 1)
    await west.client.call("VM.set_VCPUs_max", ref, 2)
    await west.replicate()
    vm = await west.replica_record()
    assert (vm["VCPUs_max"], vm["VCPUs_at_startup"]) == (2, 1)


async def test_points_are_pruned_and_the_others_stay(site):
    for _ in range(3):
        action = await site.replicate()
        site.write()
    first, second, third = await site.points()
    before = await site.everything()
    await site.carry_out(site.prune_of(first))
    await site.assert_points_are(second.stamp, third.stamp)
    after = await site.everything()
    assert after["VM"] == before["VM"] - 1
    assert after["disks"] == before["disks"] - 2
    await site.carry_out(site.prune_of(first))
    site.target_lab.coalesce()
    await site.assert_points_are(second.stamp, third.stamp)
    await site.live_equals(action.stamp)
    with pytest.raises(Refused):
        await site.carry_out(site.prune_of(second, stamp=third.stamp))
    with pytest.raises(Refused):
        await site.carry_out(site.prune_of(second, vm=VmUuid(JOB)))
    with pytest.raises(Refused):
        await site.carry_out(site.prune_of(second, snapshot=None))
    await site.assert_points_are(second.stamp, third.stamp)


async def test_nothing_that_is_not_left_over_is_cleaned(site):
    await site.replicate()
    (point,) = await site.points()
    vm = await site.replica_record()
    clone = await run_async(site.target, "VM.clone", [vm["snapshots"][0], "mine"], 30)
    before = await site.everything()
    for uuid in (
        point.replica,
        point.snapshot,
        await site.target.call("VM.get_uuid", clone),
        site.vm,
    ):
        wish = replace(site.clean_of(point), replica=VmUuid(uuid))
        if site.target is site.client or uuid != site.vm:
            with pytest.raises(Refused):
                await site.carry_out(wish)
    assert await site.everything() == before
    await site.assert_points_are_right()


@pytest.mark.parametrize("fault", ["export", "import", "refused import"])
async def test_a_failed_transfer_harms_nothing_and_leaves_nothing(site, fault):
    await site.replicate()
    site.write()
    action = await site.replication()
    del site.contents[action.stamp]
    before = await site.everything()
    match fault:
        case "export":
            site.lab.faults.add(EXPORT, DropConnection(after_bytes=3 << 20), times=2)
        case "import":
            cut = DropConnection(after_bytes=1 << 20, reset=True)
            site.target_lab.faults.add(IMPORT, cut, times=2)
        case _:
            code = FailCall("VDI_IO_ERROR", ("Device I/O errors",))
            site.target_lab.faults.add(IMPORT, code, times=2)
    with pytest.raises((ExceptionGroup, XapiError)):
        await site.carry_out(action)
    site.lab.faults.clear()
    site.target_lab.faults.clear()
    await site.assert_points_are_right()
    await site.clean()
    assert await site.everything() == before
    again = await site.replicate()
    await site.live_equals(again.stamp)
    (_, newest) = await site.points()
    assert newest.stamp == again.stamp


async def test_a_delta_that_the_pool_cannot_make_is_received_whole(west):
    await west.replicate()
    west.write()
    refusal = FailCall("INTERNAL_ERROR", ("Cannot compute differences on non-VHD images",))
    west.lab.faults.add(EXPORT, refusal, times=2)
    action = await west.replicate()
    await west.assert_points_are_right()
    await west.live_equals(action.stamp)


async def test_doing_it_again_does_nothing(west):
    action = await west.replicate()
    before = await west.everything()
    (point,) = await west.points()
    west.lab.power("web", "Halted")
    await west.carry_out(replace(action, replica=point.replica))
    await west.carry_out(action)
    assert await west.everything() == before
    assert west.sent_bytes == 0


async def test_an_abandoned_replica_goes_with_its_last_point(site):
    await site.replicate()
    (old,) = await site.points()
    before = await site.everything()
    site.write()
    action = await site.replication()
    whole = tuple(replace(disk, kind=ExportKind.FULL, base=None) for disk in action.disks)
    await site.carry_out(replace(action, replica=None, base=None, disks=whole))
    (_, new) = await site.points()
    assert new.replica != old.replica
    await site.carry_out(site.prune_of(old, with_replica=True))
    await site.assert_points_are(new.stamp)
    after = await site.everything()
    # on one pool the source's snapshot is counted too, with its drive
    extra = {"VM": 1, "VBD": 3, "VIF": 1, "disks": 2} if site.target is site.client else {}
    assert after == {kind: count + extra.get(kind, 0) for kind, count in before.items()}
    with pytest.raises(XapiFailure):
        await site.target.call("VM.get_by_uuid", old.replica)


async def test_an_abandoned_replica_that_somebody_wrote_to_stays(west):
    await west.replicate()
    (old,) = await west.points()
    vm = await west.replica_record()
    (first, *_) = [disk["uuid"] for disk in await west.disks_of(vm)]
    vdi = west.target_lab.pool.database.by_uuid("VDI", first)
    guest.write(west.target_lab.pool, vdi, 9 << 20, b"precious")
    west.write()
    action = await west.replicate()
    await west.carry_out(west.prune_of(old, with_replica=True))
    await west.assert_points_are(action.stamp)
    assert west.target_lab.read_vdi(first, 9 << 20, 8) == b"precious"


async def test_a_replica_with_other_points_stays(west):
    for _ in range(2):
        await west.replicate()
        west.write()
    old, new = await west.points()
    await west.carry_out(west.prune_of(old, with_replica=True))
    await west.assert_points_are(new.stamp)
    await west.live_equals(new.stamp)
