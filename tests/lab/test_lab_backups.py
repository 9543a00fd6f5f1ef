"""The flows of a backup engine on the lab: snapshots kept and dropped, replication, tracking.

The order of the calls is the one that was seen from Xen Orchestra's engine.
"""

import base64
import http.client
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler.lab.failures import Failure
from reconciler.lab.lab import Lab, Served
from reconciler.lab.settings import Settings
from reconciler.lab.values import NULL, Record, Value

MIB = 1 << 20
SIZE = 24 * MIB


class Engine:
    """A logged-in engine: calls in process, transfers over HTTP."""

    def __init__(self, lab: Lab, served: Served) -> None:
        self.lab = lab
        self.url = urlsplit(served.url)
        self.session = lab.pool.sessions.login(lab.user, lab.password, "", lab.pool.master)
        self.call = lab.call

    def transfer(self, method: str, path: str, body: bytes = b"") -> tuple[bytes, Record]:
        """The body of the answer and the finished task."""
        task = str(self.call("task.create", "[XO] transfer", ""))
        connection = http.client.HTTPConnection(self.url.hostname or "", self.url.port, timeout=120)
        where = f"{path}&session_id={self.session}&task_id={task}"
        connection.request(method, where, body, {"Content-Length": str(len(body))})
        content = connection.getresponse().read()
        connection.close()
        row = self.lab.pool.tasks.wait(task, 20.0)
        assert row is not None
        self.call("task.destroy", task)
        return content, row.record()

    def export(self, vdi: str, base: str = "") -> bytes:
        path = f"/export_raw_vdi/?format=vhd&vdi={vdi}" + (f"&base={base}" if base else "")
        content, task = self.transfer("GET", path)
        assert task["status"] == "success", task
        return content

    def upload(self, vdi: str, vhd: bytes) -> None:
        _, task = self.transfer("PUT", f"/import_raw_vdi/?format=vhd&vdi={vdi}", vhd)
        assert task["status"] == "success", task

    def disk(self, vm: Value) -> str:
        for vbd in self.lab.pool.database.row("VM", str(vm)).members("VBDs"):
            if self.call("VBD.get_type", vbd) == "Disk":
                return str(self.call("VBD.get_VDI", vbd))
        raise AssertionError

    def snapshot(self, vm: Value) -> str:
        snapshot = str(self.call("VM.snapshot", vm, "xo-backup-temp-snapshot-name"))
        self.call("VM.set_is_a_template", snapshot, False)
        return snapshot

    def drop(self, snapshot: str) -> None:
        """A snapshot and its disk."""
        vdi = self.disk(snapshot)
        self.call("VM.destroy", snapshot)
        self.call("VDI.destroy", vdi)

    def content(self, vdi: str) -> bytes:
        return self.lab.read_vdi(str(self.call("VDI.get_uuid", vdi)), 0, SIZE)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    image = tmp_path / "image.raw"
    with image.open("wb") as file:
        file.truncate(SIZE)
        file.seek(2 * MIB)
        file.write(random.Random(5).randbytes(10 * MIB))
    with (
        Lab.open(str(tmp_path / "lab"), settings=Settings(coalesce=False)) as lab,
        lab.serve() as served,
    ):
        lab.import_vm("web", [str(image)])
        lab.power("web", "Running")
        yield Engine(lab, served)


@pytest.fixture
def web(engine: Engine) -> str:
    (vm,) = engine.call("VM.get_by_name_label", "web")
    return str(vm)


def hidden(lab: Lab) -> list[str]:
    return [row.text("uuid") for row in lab.pool.database.rows("VDI") if not row.flag("managed")]


def should_have_coalesced(lab: Lab, vdi: str) -> int:
    """Xen Orchestra's measure of an unhealthy chain: hidden disks that are only children."""
    rows = {row.text("uuid"): row for row in lab.pool.database.rows("VDI")}
    hits, row = 0, lab.pool.database.row("VDI", vdi)
    while (parent := row.mapping("sm_config").get("vhd-parent")) is not None:
        row = rows[parent]
        children = [
            one for one in rows.values() if one.mapping("sm_config").get("vhd-parent") == parent
        ]
        hits += len(children) == 1 and not children[0].flag("managed")
    return hits


def test_one_snapshot_kept_per_machine_is_a_steady_state(engine: Engine, web: str) -> None:
    lab, live = engine.lab, lab_disk(engine)
    kept = engine.snapshot(web)
    for number in range(4):
        lab.random_write("web", 0, number * MIB, 3 * MIB)
        newer = engine.snapshot(web)
        delta = engine.export(engine.disk(newer), engine.disk(kept))
        assert len(delta) <= 2048 + 512 + 3 * (512 + 2 * MIB) + 512
        engine.drop(kept)
        before = engine.content(live)
        assert len(hidden(lab)) == 2
        lab.coalesce()
        assert len(hidden(lab)) == 1
        assert engine.content(live) == before
        assert should_have_coalesced(lab, live) == 0
        kept = newer
    engine.drop(kept)
    lab.coalesce()
    assert hidden(lab) == []
    assert "vhd-parent" not in lab.pool.database.row("VDI", live).mapping("sm_config")


def lab_disk(engine: Engine) -> str:
    return engine.lab.disk("web").ref


def test_coalescing_does_not_change_a_difference(engine: Engine, web: str) -> None:
    first = engine.snapshot(web)
    engine.lab.random_write("web", 0, 3 * MIB, 10)
    middle = engine.snapshot(web)
    engine.lab.random_write("web", 0, 15 * MIB, 10)
    last = engine.snapshot(web)
    vdi, base = engine.disk(last), engine.disk(first)
    before = engine.export(vdi, base)
    engine.drop(middle)
    engine.lab.coalesce()
    after = engine.export(vdi, base)
    # fresh identities aside, the same table and the same blocks
    assert after[2048:-512] == before[2048:-512]


def test_without_its_snapshot_there_is_no_difference(engine: Engine, web: str) -> None:
    first, second = engine.snapshot(web), engine.snapshot(web)
    base, vdi = engine.disk(first), engine.disk(second)
    engine.drop(first)
    content, task = engine.transfer("GET", f"/export_raw_vdi/?format=vhd&vdi={vdi}&base={base}")
    assert b"HANDLE_INVALID" in content
    assert task["error_info"] == ["HANDLE_INVALID", "VDI", base]


def test_a_large_leaf_coalesces_while_its_guest_writes(engine: Engine, web: str) -> None:
    snapshot = engine.snapshot(web)
    engine.lab.random_write("web", 0, 0, SIZE)
    engine.drop(snapshot)
    engine.lab.coalesce()
    expected = engine.lab.read_disk("web", 0, 0, SIZE)
    assert hidden(engine.lab) == []
    engine.lab.write_disk("web", 0, 5, b"more")
    assert engine.lab.read_disk("web", 0, 0, SIZE) == expected[:5] + b"more" + expected[9:]


def replica(engine: Engine, web: str, vhd: bytes) -> str:
    """A machine with the content of a full export, as replication makes it."""
    source = engine.lab.pool.database.row("VM", web)
    record = {**source.record(), "name_label": "[Importing…] replica", "is_a_template": False}
    blocked = {"start": "Importing", "start_on": "Importing"}
    vm = str(engine.call("VM.create", {**record, "blocked_operations": blocked}))
    for vbd in engine.lab.pool.database.row("VM", vm).members("VBDs"):
        engine.call("VBD.destroy", vbd)
    vdi = str(
        engine.call(
            "VDI.create",
            {
                "name_label": "[Importing] disk",
                "name_description": "",
                "SR": engine.lab.pool.record.text("default_SR"),
                "virtual_size": SIZE,
                "type": "user",
                "sharable": False,
                "read_only": False,
                "other_config": {"xo:copy_of": "source"},
                "xenstore_data": {},
                "tags": [],
            },
        )
    )
    attach(engine, vm, vdi)
    engine.upload(vdi, vhd)
    for operation in blocked:
        engine.call("VM.remove_from_blocked_operations", vm, operation)
    engine.call("VM.set_name_label", vm, "replica")
    return vm


def attach(engine: Engine, vm: str, vdi: str) -> None:
    wish: Record = {
        "VM": vm,
        "VDI": vdi,
        "bootable": False,
        "empty": False,
        "mode": "RW",
        "other_config": {},
        "qos_algorithm_params": {},
        "qos_algorithm_type": "",
        "type": "Disk",
        "unpluggable": True,
        "userdevice": "0",
    }
    engine.call("VBD.create", wish)


def test_replication(engine: Engine, web: str) -> None:
    lab = engine.lab
    first = engine.snapshot(web)
    vm = replica(engine, web, engine.export(engine.disk(first)))
    assert engine.content(engine.disk(vm)) == engine.content(engine.disk(first))
    ours = engine.snapshot(vm)
    # the replica was not touched: its difference to its own snapshot is an empty table
    untouched = engine.export(engine.disk(vm), engine.disk(ours))
    assert len(untouched) == 2048 + 512 + 512
    assert untouched[2048:2560] == b"\xff" * 512
    lab.random_write("web", 0, 7 * MIB, 3 * MIB)
    second = engine.snapshot(web)
    delta = engine.export(engine.disk(second), engine.disk(first))
    engine.upload(engine.disk(vm), delta)
    assert engine.content(engine.disk(vm)) == engine.content(engine.disk(second))
    assert engine.content(engine.disk(ours)) == engine.content(engine.disk(first))
    # a replica that ran has diverged: a new machine from a clone of its snapshot
    lab.power("replica", "Running")
    lab.write_disk("replica", 0, 0, b"diverged")
    clone = str(engine.call("VDI.clone", engine.disk(ours)))
    engine.upload(clone, delta)
    assert engine.content(clone) == engine.content(engine.disk(second))


def test_disaster_recovery(engine: Engine, web: str) -> None:
    snapshot = engine.snapshot(web)
    xva, task = engine.transfer("GET", f"/export/?ref={snapshot}&use_compression=false")
    assert task["status"] == "success"
    sr = engine.lab.pool.record.text("default_SR")
    answer, task = engine.transfer("PUT", f"/import/?sr_id={sr}", xva)
    assert answer == b""
    other = task["other_config"]
    assert isinstance(other, dict)
    assert other["object_creation"] == "complete"
    (vm,) = [
        row.ref
        for row in engine.lab.pool.database.rows("VM")
        if row.text("name_label") == "xo-backup-temp-snapshot-name" and row.ref != snapshot
    ]
    record = engine.call("VM.get_record", vm)
    assert isinstance(record, dict)
    assert (record["is_a_snapshot"], record["is_a_template"]) == (False, False)
    assert (record["snapshot_of"], record["power_state"]) == (NULL, "Halted")
    assert engine.content(engine.disk(vm)) == engine.content(engine.disk(snapshot))
    engine.call("VM.start", vm, False, False)
    assert engine.call("VM.get_power_state", vm) == "Running"


def granules(bitmap: Value) -> list[int]:
    """The 64 KiB blocks of a changed block list."""
    bits = base64.b64decode(str(bitmap))
    return [n for n in range(len(bits) * 8) if bits[n // 8] & (0x80 >> (n % 8))]


def test_changed_block_tracking(engine: Engine, web: str) -> None:
    lab, live = engine.lab, lab_disk(engine)
    engine.call("VDI.enable_cbt", live)
    engine.call("VDI.enable_cbt", live)
    lab.write_disk("web", 0, 0, b"before the first snapshot")
    first = engine.disk(engine.snapshot(web))
    lab.write_disk("web", 0, 65536 * 3 - 1, b"ab")
    second_vm = engine.snapshot(web)
    second = engine.disk(second_vm)
    lab.write_disk("web", 0, SIZE - 1, b"z")
    third = engine.disk(engine.snapshot(web))
    changed = "VDI.list_changed_blocks"
    assert granules(engine.call(changed, first, second)) == [2, 3]
    assert granules(engine.call(changed, second, third)) == [SIZE // 65536 - 1]
    assert granules(engine.call(changed, first, third)) == [2, 3, SIZE // 65536 - 1]
    for pair in ((second, first), (first, first)):
        with pytest.raises(Failure, match="SR_BACKEND_FAILURE_460"):
            engine.call(changed, *pair)
    with pytest.raises(Failure, match="VDI_IN_USE"):
        engine.call(changed, first, live)
    # the data may go, the knowledge stays
    engine.call("VM.destroy", second_vm)
    engine.call("VDI.data_destroy", second)
    assert engine.call("VDI.get_type", second) == "cbt_metadata"
    assert granules(engine.call(changed, second, third)) == [SIZE // 65536 - 1]
    with pytest.raises(Failure, match="VDI_INCOMPATIBLE_TYPE"):
        engine.call("VDI.snapshot", second)
    _, task = engine.transfer("GET", f"/export_raw_vdi/?format=vhd&vdi={third}&base={second}")
    assert task["status"] == "failure"
    engine.call("VDI.destroy", second)
    assert granules(engine.call(changed, first, third)) == [2, 3, SIZE // 65536 - 1]
    with pytest.raises(Failure, match="OPERATION_NOT_ALLOWED"):
        engine.call("VDI.enable_cbt", third)
    engine.call("VDI.disable_cbt", live)
    assert engine.call("VDI.get_cbt_enabled", live) is False


def test_tracking_survives_a_restart(engine: Engine, web: str, tmp_path: Path) -> None:
    engine.call("VDI.enable_cbt", lab_disk(engine))
    first = engine.disk(engine.snapshot(web))
    engine.lab.write_disk("web", 0, 65536 * 7, b"x")
    engine.lab.close()
    with Lab.open(str(tmp_path / "lab"), settings=Settings(coalesce=False)) as again:
        again.write_disk("web", 0, 65536 * 9, b"x")
        newer = again.call("VDI.snapshot", again.disk("web").ref)
        assert granules(again.call("VDI.list_changed_blocks", first, newer)) == [7, 9]


def test_a_machine_shows_while_it_is_imported(engine: Engine, web: str) -> None:
    snapshot = engine.snapshot(web)
    xva, _ = engine.transfer("GET", f"/export/?ref={snapshot}&use_compression=true")
    task = str(engine.call("task.create", "[XO] import", ""))
    with socket.create_connection((engine.url.hostname, engine.url.port), timeout=120) as sock:
        where = f"/import/?session_id={engine.session}&task_id={task}"
        head = f"PUT {where} HTTP/1.1\r\nHost: lab\r\nContent-Length: {1 << 50}\r\n\r\n"
        sock.sendall(head.encode())
        # the answer comes before a byte of the body
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        half = len(xva) // 2
        sock.sendall(xva[:half])
        database = engine.lab.pool.database
        while not (
            found := [vm for vm in database.rows("VM") if task in vm.mapping("current_operations")]
        ):
            database.wait(1.0)
        (vm,) = found
        assert vm.mapping("current_operations") == {task: "import"}
        engine.call("VM.add_tags", vm.ref, "Disaster Recovery")
        assert engine.call("task.get_status", task) == "pending"
        sock.sendall(xva[half:])
        done = engine.lab.pool.tasks.wait(task, 20.0)
    assert done is not None
    assert done.text("status") == "success"
    assert (vm.mapping("current_operations"), vm.members("tags")) == ({}, ["Disaster Recovery"])
    assert engine.content(engine.disk(vm.ref)) == engine.content(engine.disk(snapshot))


def test_a_health_check(engine: Engine, web: str) -> None:
    """Restored, its network cut, started, awaited, and everything taken away again."""
    snapshot = engine.snapshot(web)
    vm = replica(engine, web, engine.export(engine.disk(snapshot)))
    for vif in engine.lab.pool.database.row("VM", vm).members("VIFs"):
        engine.call("VIF.destroy", vif)
    before = engine.lab.pool.events.current_id()
    token: Value = f"{before:020d},{before:020d}"
    engine.call("VM.start", vm, False, False)
    detected = False
    while not detected:
        reply = engine.call("event.from", ["VM_guest_metrics"], token, 10.0)
        assert isinstance(reply, dict)
        token = reply["token"]
        detected = any(event["snapshot"]["PV_drivers_detected"] for event in reply["events"])
    assert engine.call("VM.get_power_state", vm) == "Running"
    engine.call("VM.hard_shutdown", vm)
    disk = engine.disk(vm)
    engine.call("VM.destroy", vm)
    engine.call("VDI.destroy", disk)
