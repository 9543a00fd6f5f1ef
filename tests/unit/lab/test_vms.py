"""Machines: snapshots, clones, reverts, power, and what each state allows."""

import threading

import pytest

from reconciler.lab.failures import Failure
from reconciler.lab.lab import Lab
from reconciler.lab.settings import Settings
from reconciler.lab.values import NULL, Record, Value


def record(lab: Lab, class_name: str, ref: Value) -> Record:
    found = lab.call(f"{class_name}.get_record", ref)
    assert isinstance(found, dict)
    return found


def disks_of(lab: Lab, vm: Value) -> list[str]:
    vbds = [
        lab.pool.database.row("VBD", ref)
        for ref in lab.pool.database.row("VM", str(vm)).members("VBDs")
    ]
    return [vbd.text("VDI") for vbd in vbds if vbd.text("type") == "Disk"]


def code(lab: Lab, method: str, *parameters: Value) -> str:
    with pytest.raises(Failure) as caught:
        lab.call(method, *parameters)
    return caught.value.code


def test_a_snapshot_as_xapi_makes_it(lab: Lab, web: str) -> None:
    live = lab.disk("web").ref
    lab.call("VM.add_to_other_config", web, "marker", "1")
    lab.call("VDI.add_to_other_config", live, "marker", "2")
    lab.call("VM.add_to_blocked_operations", web, "destroy", "no")
    lab.power("web", "Running")
    ref = lab.call("VM.snapshot", web, "snap")
    taken, source = record(lab, "VM", ref), record(lab, "VM", web)
    assert (taken["is_a_snapshot"], taken["is_a_template"]) == (True, True)
    assert (taken["snapshot_of"], taken["power_state"]) == (web, "Halted")
    assert taken["blocked_operations"] == {}
    assert taken["other_config"] == source["other_config"]
    assert taken["tags"] == ["backup"]
    assert (taken["parent"], source["parent"]) == (NULL, ref)
    assert source["snapshots"] == [ref]
    assert taken["snapshot_info"] == {
        "power-state-at-snapshot": "Running",
        "disk-snapshot-type": "crash_consistent",
    }
    (disk,) = disks_of(lab, ref)
    vdi = record(lab, "VDI", disk)
    assert (vdi["is_a_snapshot"], vdi["snapshot_of"]) == (True, live)
    assert vdi["other_config"] == {"marker": "2"}
    macs = [record(lab, "VIF", one["VIFs"][0])["MAC"] for one in (taken, source)]
    assert macs[0] == macs[1]
    for operation in ("VM.snapshot", "VM.clean_shutdown"):
        parameters: list[Value] = [ref, "again"] if operation == "VM.snapshot" else [ref]
        assert code(lab, operation, *parameters) == "VM_IS_SNAPSHOT"


def test_ignored_disks_are_not_in_the_snapshot(lab: Lab, web: str) -> None:
    snapshot = lab.call("VM.snapshot", web, "snap", [lab.disk("web").ref])
    assert disks_of(lab, snapshot) == []


def test_a_failed_snapshot_leaves_nothing(lab: Lab, image: "object") -> None:
    machine = lab.import_vm("two", [str(image), str(image)])
    vm = str(lab.call("VM.get_by_uuid", machine.uuid))
    lab.call("VDI.set_on_boot", lab.disk("two", 1).ref, "reset")
    before = len(lab.pool.database.tables["VDI"])
    error = "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"
    assert code(lab, "VM.snapshot", vm, "snap") == error
    lab.coalesce()
    managed = [row for row in lab.pool.database.rows("VDI") if row.flag("managed")]
    assert len(managed) == before
    assert len(lab.pool.database.tables["VM"]) == 3  # dom0, the template and the machine


def test_a_clone_is_a_machine_of_its_own(lab: Lab, web: str) -> None:
    clone = lab.call("VM.clone", web, "twin")
    (disk,) = disks_of(lab, clone)
    lab.write_disk("twin", 0, 0, b"changed")
    assert lab.read_disk("web", 0, 0, 7) == b"\0" * 7
    taken, source = record(lab, "VM", clone), record(lab, "VM", web)
    assert taken["is_a_template"] is False
    assert taken["other_config"] != source["other_config"]
    assert record(lab, "VDI", disk)["is_a_snapshot"] is False


def test_a_copy_shares_nothing(lab: Lab, web: str) -> None:
    copy = lab.call("VM.copy", web, "copy", NULL)
    (disk,) = disks_of(lab, copy)
    assert record(lab, "VDI", disk)["sm_config"] == {}
    assert lab.read_disk("copy", 0, 0, 16 << 20) == lab.read_disk("web", 0, 0, 16 << 20)


def test_revert(lab: Lab, web: str) -> None:
    old = lab.disk("web").text("uuid")
    before = lab.read_disk("web", 0, 0, 16 << 20)
    snapshot = lab.call("VM.snapshot", web, "snap")
    lab.power("web", "Running")
    lab.random_write("web", 0, 0, 8 << 20)
    lab.call("VM.revert", snapshot)
    assert lab.read_disk("web", 0, 0, 16 << 20) == before
    assert lab.disk("web").text("uuid") != old
    assert record(lab, "VM", web)["power_state"] == "Halted"
    (taken,) = disks_of(lab, snapshot)
    assert record(lab, "VDI", taken)["snapshot_of"] == lab.disk("web").ref
    lab.coalesce()
    assert lab.read_disk("web", 0, 0, 16 << 20) == before


def test_checkpoint_and_suspend(lab: Lab, web: str) -> None:
    assert code(lab, "VM.checkpoint", web, "memory") == "VM_BAD_POWER_STATE"
    lab.power("web", "Running")
    taken = record(lab, "VM", lab.call("VM.checkpoint", web, "memory"))
    assert taken["power_state"] == "Suspended"
    memory = record(lab, "VDI", taken["suspend_VDI"])
    assert (memory["type"], memory["is_a_snapshot"]) == ("suspend", True)
    assert record(lab, "VM", web)["suspend_VDI"] == NULL
    lab.call("VM.suspend", web)
    assert record(lab, "VM", web)["power_state"] == "Suspended"
    lab.call("VM.resume", web, False, False)
    assert record(lab, "VM", web)["power_state"] == "Running"
    lab.call("VM.hard_shutdown", web)
    lab.call("VM.destroy", lab.call("VM.get_by_uuid", taken["uuid"]))
    lab.call("VDI.destroy", taken["suspend_VDI"])  # XAPI leaves it to its client
    lab.coalesce()
    kinds = [row.text("type") for row in lab.pool.database.rows("VDI")]
    assert "suspend" not in kinds


def test_power(lab: Lab, web: str) -> None:
    lab.power("web", "Running")
    running = record(lab, "VM", web)
    assert running["resident_on"] == lab.pool.master
    assert record(lab, "VM_guest_metrics", running["guest_metrics"])["PV_drivers_detected"] is True
    assert record(lab, "host", lab.pool.master)["resident_VMs"]
    disk = lab.disk("web")
    for method in ("VM.destroy", "VM.clone", "VM.start"):
        extra: list[Value] = {"VM.clone": ["x"], "VM.start": [False, False]}.get(method, [])
        assert code(lab, method, web, *extra) == "VM_BAD_POWER_STATE"
    assert code(lab, "VDI.destroy", disk.ref) == "VDI_IN_USE"
    assert code(lab, "VDI.resize", disk.ref, 1 << 30) == "VDI_IN_USE"
    lab.call("VDI.resize_online", disk.ref, 20 << 20)
    lab.call("VM.clean_shutdown", web)
    halted = record(lab, "VM", web)
    assert (halted["power_state"], halted["guest_metrics"]) == ("Halted", NULL)
    lab.call("VM.destroy", web)
    assert lab.call("VDI.get_VBDs", disk.ref) == []
    assert disk.number("virtual_size") == 20 << 20


def test_a_disk_runs_in_one_machine_at_a_time(lab: Lab, web: str) -> None:
    lab.power("web", "Running")
    other = lab.call("VM.clone", lab.call("VM.snapshot", web, "snap"), "other")
    lab.call("VM.set_is_a_template", other, False)
    (vbd,) = [
        ref
        for ref in lab.pool.database.row("VM", str(other)).members("VBDs")
        if lab.call("VBD.get_type", ref) == "Disk"
    ]
    lab.call("VBD.destroy", vbd)
    wish: Record = {
        "VM": other,
        "VDI": lab.disk("web").ref,
        "userdevice": "0",
        "bootable": False,
        "mode": "RW",
        "type": "Disk",
        "empty": False,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    }
    lab.call("VBD.create", wish)
    assert code(lab, "VM.start", other, False, False) == "SR_BACKEND_FAILURE_46"


def test_blocked_operations(lab: Lab, web: str) -> None:
    lab.call("VM.add_to_blocked_operations", web, "destroy", "kept by the test")
    with pytest.raises(Failure) as caught:
        lab.call("VM.destroy", web)
    assert caught.value.description == ["OPERATION_BLOCKED", web, "kept by the test"]
    lab.call("VM.update_allowed_operations", web)
    assert "destroy" not in lab.pool.database.row("VM", web).members("allowed_operations")
    lab.call("VM.remove_from_blocked_operations", web, "destroy")
    lab.call("VM.destroy", web)


def test_an_operation_waits_for_another(lab: Lab, web: str) -> None:
    database = lab.pool.database
    vm = database.row("VM", web)
    database.update_map(vm, "current_operations", {"OpaqueRef:t": "export"})
    timer = threading.Timer(
        0.1, database.update_map, (vm, "current_operations", {"OpaqueRef:t": None})
    )
    timer.start()
    lab.call("VM.destroy", web)
    timer.join()
    assert database.find("VM", web) is None


@pytest.mark.parametrize("settings", [Settings(wait_s=0.05, retry_s=0.01, coalesce=False)])
def test_waiting_has_an_end(lab: Lab, web: str) -> None:
    vm = lab.pool.database.row("VM", web)
    lab.pool.database.update_map(vm, "current_operations", {"OpaqueRef:t": "export"})
    with pytest.raises(Failure) as caught:
        lab.call("VM.destroy", web)
    assert caught.value.description == [
        *("OTHER_OPERATION_IN_PROGRESS", "VM", web, "export", "OpaqueRef:t")
    ]
    # these may overlap
    lab.call("VM.clone", web, "clone")


def test_children_move_up_when_a_snapshot_goes(lab: Lab, web: str) -> None:
    first = lab.call("VM.snapshot", web, "first")
    second = lab.call("VM.snapshot", web, "second")
    assert record(lab, "VM", second)["parent"] == first
    lab.call("VM.destroy", first)
    assert record(lab, "VM", second)["parent"] == NULL
    assert record(lab, "VM", web)["snapshots"] == [second]


def test_a_vtpm_keeps_its_contents(lab: Lab, web: str) -> None:
    vtpm = lab.call("VTPM.create", web, False)
    lab.call("VTPM.set_contents", vtpm, "secret")
    snapshot = lab.call("VM.snapshot", web, "snap")
    (copy,) = lab.pool.database.row("VM", str(snapshot)).members("VTPMs")
    assert lab.call("VTPM.get_contents", copy) == "secret"
