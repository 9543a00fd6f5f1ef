"""A served lab as its clients meet it: members, restarts, cut transfers, disks in use."""

import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from reconciler.lab.failures import Failure, LabError
from reconciler.lab.faults import DropConnection, FailCall, KillToolstack
from reconciler.lab.lab import Lab, Served
from reconciler.lab.settings import Settings
from reconciler.lab.values import Record, Value

MIB = 1 << 20
SIZE = 32 * MIB


class Client:
    """JSON-RPC and transfers at one host's URL, without a library between."""

    def __init__(self, url: str, user: str, password: str, session: str = "") -> None:
        self.url = urlsplit(url)
        self.session = session or str(self.rpc("session.login_with_password", user, password))

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.url.hostname or "", self.url.port, timeout=120)

    def rpc(self, method: str, *parameters: Value) -> Value:
        connection = self.connection()
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1})
        try:
            connection.request("POST", "/jsonrpc", body)
            response = connection.getresponse()
            assert response.headers["content-type"] == "application/json"
            reply = json.loads(response.read())
        finally:
            connection.close()
        if "error" in reply:
            raise Failure(reply["error"]["message"], *reply["error"]["data"])
        result: Value = reply["result"]
        return result

    def call(self, method: str, *parameters: Value) -> Value:
        return self.rpc(method, self.session, *parameters)

    def open_export(self, vdi: str, **query: str) -> http.client.HTTPResponse:
        arguments = {"session_id": self.session, "vdi": vdi, "format": "vhd", **query}
        connection = self.connection()
        connection.request("GET", f"/export_raw_vdi/?{urlencode(arguments)}")
        response = connection.getresponse()
        connection.close()  # the response keeps the socket until it is read or closed
        return response


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.raw"
    with path.open("wb") as file:
        file.truncate(SIZE)
        file.seek(4 * MIB)
        file.write(random.Random(5).randbytes(20 * MIB))
    return path


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    settings = Settings(login_failure_delay_s=0.0, coalesce=False, event_batch_s=0.0)
    with Lab.open(str(tmp_path / "lab"), settings=settings, hosts=2) as opened:
        yield opened


@pytest.fixture
def served(lab: Lab, image: Path) -> Iterator[Served]:
    lab.import_vm("web", [str(image)])
    with lab.serve() as running:
        yield running


@pytest.fixture
def client(served: Served) -> Client:
    return Client(served.url, served.user, served.password)


def snapshot(lab: Lab, name: str = "snap") -> str:
    """The VDI of a fresh snapshot of web."""
    (vm,) = lab.call("VM.get_by_name_label", "web")
    ref = str(lab.call("VM.snapshot", vm, name))
    for vbd in lab.pool.database.row("VM", ref).members("VBDs"):
        if lab.call("VBD.get_type", vbd) == "Disk":
            return str(lab.call("VBD.get_VDI", vbd))
    raise AssertionError


def finished(lab: Lab, task: Value) -> Record:
    row = lab.pool.tasks.wait(str(task), 20.0)
    assert row is not None
    return row.record()


def test_a_member_names_the_master(served: Served, client: Client) -> None:
    member = urlsplit(served.hosts[1])
    assert member.hostname == "127.0.0.2"
    for session in ("", client.session):
        with pytest.raises(Failure) as caught:
            Client(served.hosts[1], served.user, served.password, session).call("VM.get_all")
        assert caught.value.description == ["HOST_IS_SLAVE", "127.0.0.1"]


def test_a_disk_that_a_host_cannot_see_is_elsewhere(
    lab: Lab, served: Served, client: Client
) -> None:
    member = Client(served.hosts[1], "", "", client.session)
    local = next(
        sr.ref
        for sr in lab.pool.database.rows("SR")
        if sr.text("type") == "ext" and lab.pool.host_seeing(sr.ref) != lab.pool.master
    )
    vdi = str(lab.call("VDI.copy", lab.disk("web").ref, local))
    task = str(client.call("task.create", "export", ""))
    moved = client.open_export(vdi, task_id=task)
    assert moved.status == 302
    location = moved.headers["location"]
    assert location.startswith(served.hosts[1] + "/export_raw_vdi/?")
    assert f"task_id={urlencode({'': task})[1:]}" in location
    assert client.call("task.get_status", task) == "pending"
    with member.open_export(vdi, task_id=task) as response:
        assert response.status == 200
        assert response.read().endswith(b"\0" * 400)
    assert finished(lab, task)["status"] == "success"
    # a shared disk is anybody's
    with member.open_export(snapshot(lab)) as response:
        assert response.status == 200
        response.read()


def test_an_unplugged_storage_has_no_host(lab: Lab, client: Client) -> None:
    vdi = snapshot(lab)
    for pbd in lab.call("SR.get_PBDs", lab.call("VDI.get_SR", vdi)):
        lab.call("PBD.unplug", pbd)
    with pytest.raises(Failure, match="SR_HAS_NO_PBDS"):
        lab.call("VDI.snapshot", vdi)
    with client.open_export(vdi) as response:
        assert response.status == 500


def test_a_disk_is_in_use_while_it_is_exported(lab: Lab, client: Client) -> None:
    vdi = snapshot(lab)
    task = client.call("task.create", "export", "")
    response = client.open_export(vdi, task_id=str(task))
    response.read(1000)
    (vbd,) = lab.pool.database.row("VDI", vdi).members("VBDs")[1:]
    record = lab.call("VBD.get_record", vbd)
    assert isinstance(record, dict)
    assert (record["currently_attached"], record["mode"]) == (True, "RO")
    assert lab.call("VM.get_is_control_domain", record["VM"]) is True
    with pytest.raises(Failure) as caught:
        lab.call("VDI.destroy", vdi)
    assert caught.value.description == ["VDI_IN_USE", vdi, "destroy"]
    response.close()
    done = finished(lab, task)
    assert (done["status"], done["error_info"]) == (
        "failure",
        ["VDI_IO_ERROR", "Device I/O errors"],
    )
    assert len(lab.pool.database.row("VDI", vdi).members("VBDs")) == 1


def test_progress_is_seen(lab: Lab, client: Client) -> None:
    seen: list[Value] = []
    task = client.call("task.create", "export", "")
    token: Value = ""
    response = client.open_export(snapshot(lab), task_id=str(task))
    while not seen or seen[-1] != 1.0:
        reply = client.call("event.from", [f"task/{task}"], token, 5.0)
        assert isinstance(reply, dict)
        token = reply["token"]
        seen += [event["snapshot"]["progress"] for event in reply["events"]]
        response.read(3 * MIB)
    assert seen == sorted(seen)
    assert len(set(seen)) > 2
    response.close()


def test_a_guest_writes_while_its_snapshot_is_exported(lab: Lab, client: Client) -> None:
    lab.power("web", "Running")
    vdi = snapshot(lab)
    expected = lab.read_vdi(str(lab.call("VDI.get_uuid", vdi)), 0, SIZE)
    stop = threading.Event()

    def guest() -> None:
        chance = random.Random(1)
        while not stop.is_set():
            lab.random_write("web", 0, chance.randrange(SIZE - 5000), 5000)

    writer = threading.Thread(target=guest)
    writer.start()
    try:
        for _ in range(3):
            with client.open_export(vdi, format="raw") as response:
                assert response.read() == expected
    finally:
        stop.set()
        writer.join()
    assert lab.read_disk("web", 0, 0, SIZE) != expected


def test_faults_at_their_points(lab: Lab, client: Client) -> None:
    vdi = snapshot(lab)
    lab.faults.add("rpc:VDI.snapshot", FailCall("SR_BACKEND_FAILURE_44", ("", "no space", "")))
    with pytest.raises(Failure, match="SR_BACKEND_FAILURE_44"):
        client.call("VDI.snapshot", vdi)
    assert client.call("VDI.snapshot", vdi)
    # executed and never answered: the client cannot know
    lab.faults.add("rpc:VM.set_name_label", DropConnection())
    (vm,) = lab.call("VM.get_by_name_label", "web")
    with pytest.raises(http.client.RemoteDisconnected):
        client.call("VM.set_name_label", vm, "renamed")
    assert lab.call("VM.get_name_label", vm) == "renamed"
    point = "http:GET /export_raw_vdi"
    lab.faults.add(point, DropConnection(after_bytes=3 * MIB))
    with client.open_export(vdi) as response:
        assert len(response.read()) == 3 * MIB
    lab.faults.add(point, DropConnection(after_bytes=3 * MIB, reset=True))
    with client.open_export(vdi) as response, pytest.raises(ConnectionResetError):
        response.read()
    lab.faults.add(point, FailCall("SR_BACKEND_FAILURE_46", ("", "not available", "")))
    with client.open_export(vdi) as response:
        assert response.read(5) == b"HTTP/"


def test_a_killed_toolstack_forgets(lab: Lab, served: Served, client: Client) -> None:
    vdi = snapshot(lab)
    task = client.call("task.create", "export", "")
    lab.faults.add("http:GET /export_raw_vdi", KillToolstack(refuse_s=0.3, after_bytes=5 * MIB))
    with client.open_export(vdi, task_id=str(task)) as response, pytest.raises(OSError):
        response.read()
    with pytest.raises(OSError):
        client.call("VM.get_all")
    again = None
    while again is None:
        try:
            again = Client(served.url, served.user, served.password)
        except OSError:
            threading.Event().wait(0.02)
    with pytest.raises(Failure, match="SESSION_INVALID"):
        client.call("VM.get_all")
    with pytest.raises(Failure, match="HANDLE_INVALID"):
        again.call("task.get_status", task)
    assert lab.call("VDI.get_VBDs", vdi)  # the snapshot's own
    with again.open_export(vdi) as response:
        assert len(response.read()) > 20 * MIB


def test_a_blocked_listener_is_reset(lab: Lab, client: Client) -> None:
    timer = threading.Timer(0.2, lab.kill_toolstack)
    timer.start()
    with pytest.raises((OSError, Failure)):
        client.call("event.from", ["task/none"], "", 30.0)
    timer.join()


def test_what_is_no_request_is_refused(served: Served) -> None:
    url = urlsplit(served.url)
    for text in (
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300 + b"\r\n",
        b"GET / HTTP/1.1\r\na: " + b"b" * 100_000 + b"\r\n\r\n",
        b"POST /jsonrpc HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n",
        b"POST /jsonrpc HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n<a>",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"PUT /import_raw_vdi?vdi=x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ):
        with socket.create_connection((url.hostname, url.port), timeout=120) as sock:
            sock.sendall(text)
            assert sock.recv(100).split(b" ")[1] in (b"400", b"401", b"403", b"500")


def test_everything_is_there_after_kill_9(tmp_path: Path, image: Path) -> None:
    directory = tmp_path / "killed"
    program = "from reconciler.lab.command import app; app()"
    command = [sys.executable, "-c", program]

    def run(*words: str) -> dict[str, str]:
        done = subprocess.run(
            [*command, *words, "--dir", str(directory)], capture_output=True, check=True
        )
        printed: dict[str, str] = json.loads(done.stdout)
        return printed

    up = [*command, "up", "--dir", str(directory)]
    with subprocess.Popen(up, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        endpoint = json.loads(process.stdout.readline())
        machine = run("import", "web", str(image))
        client = Client(endpoint["url"], endpoint["user"], endpoint["password"])
        vm = client.call("VM.get_by_uuid", machine["uuid"])
        before = client.call("VM.get_record", vm)
        snap = client.call("VM.snapshot", vm, "snap")
        run("write", "web", "0", "--offset", "1M", "--random", "100k")
        process.send_signal(signal.SIGKILL)
    with Lab.open(str(directory)) as lab:
        after = lab.call("VM.get_record", vm)
        assert isinstance(before, dict)
        assert isinstance(after, dict)
        assert (after["uuid"], after["VBDs"]) == (before["uuid"], before["VBDs"])
        assert after["snapshots"] == [snap]
        content = image.read_bytes()
        live = lab.read_disk("web", 0, 0, SIZE)
        assert live[:MIB] == content[:MIB]
        assert live[MIB : MIB + 102400] != content[MIB : MIB + 102400]
        assert live[MIB + 102400 :] == content[MIB + 102400 :]


def test_one_process_owns_a_directory(lab: Lab) -> None:
    with pytest.raises(LabError, match="another process"):
        Lab.open(lab.directory)


def test_everything_at_once(tmp_path: Path, image: Path) -> None:
    """A guest writes, snapshots come and go, the collector merges, exports run: bytes are right."""
    settings = Settings(coalesce_delay_s=0.0, leaf_blocks_max=2)
    with Lab.open(str(tmp_path / "busy"), settings=settings) as lab, lab.serve() as served:
        lab.import_vm("web", [str(image)])
        lab.power("web", "Running")
        client = Client(served.url, served.user, served.password)
        mirror = bytearray(image.read_bytes())
        stop = threading.Event()

        def guest() -> None:
            chance = random.Random(2)
            while not stop.is_set():
                offset, data = chance.randrange(SIZE - 70_000), chance.randbytes(70_000)
                lab.write_disk("web", 0, offset, data)
                mirror[offset : offset + len(data)] = data

        writer = threading.Thread(target=guest)
        writer.start()
        try:
            for number in range(8):
                vdi = snapshot(lab, f"snap {number}")
                expected = lab.read_vdi(str(lab.call("VDI.get_uuid", vdi)), 0, SIZE)
                with client.open_export(vdi, format="raw") as response:
                    assert response.read() == expected
                (vm,) = lab.call("VM.get_by_name_label", f"snap {number}")
                lab.call("VM.destroy", vm)
                lab.call("VDI.destroy", vdi)
        finally:
            stop.set()
            writer.join()
        lab.coalesce()
        assert lab.read_disk("web", 0, 0, SIZE) == bytes(mirror)
        assert len(lab.pool.disks.disks) == 1
