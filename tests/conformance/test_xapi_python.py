"""PyPI's `XenAPI`, XenServer's own client, over XML-RPC, and its transfers by plain HTTP."""

import http.client
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import XenAPI

from reconciler.lab.lab import Lab, Served
from reconciler.lab.settings import Settings

MIB = 1 << 20
SIZE = 24 * MIB
HUGE = 1 << 50  # the length that Xen Orchestra claims when it knows none


class Pool:
    """A logged-in client and the lab behind it."""

    def __init__(self, lab: Lab, served: Served) -> None:
        self.lab = lab
        self.served = served
        self.session = XenAPI.Session(served.url, ignore_ssl=True)
        self.session.xenapi.login_with_password(served.user, served.password, "1.0", "test")
        self.api = self.session.xenapi

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        length: int | None = None,
        **query: str,
    ) -> tuple[int, bytes]:
        url = urlsplit(self.served.url)
        if url.scheme == "https":
            context = ssl._create_unverified_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                url.hostname or "", url.port, context=context, timeout=120
            )
        else:
            connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=120)
        query.setdefault("session_id", self.session._session)
        headers = {"Content-Length": str(len(body) if length is None else length)}
        connection.request(method, f"{path}?{urlencode(query)}", body or None, headers)
        if length is not None and connection.sock is not None:
            # The plain socket's half-close: an SSLSocket's own would end both directions.
            socket.socket.shutdown(connection.sock, socket.SHUT_WR)
        try:
            response = connection.getresponse()
            return response.status, response.read()
        except OSError:
            if length is None:
                raise
            return 0, b""  # a stream that was cut on purpose may be answered with a reset
        finally:
            connection.close()

    def export(self, vdi: str, **query: str) -> bytes:
        status, content = self.request("GET", "/export_raw_vdi", vdi=vdi, **query)
        assert status == 200
        return content

    def transfer(self, method: str, path: str, body: bytes = b"", **query: str) -> dict[str, str]:
        """A request with a task of our own; the finished task."""
        task = self.api.task.create("transfer", "")
        length = query.pop("length", None)
        size = None if length is None else int(length)
        self.request(method, path, body, size, task_id=task, **query)
        return self.finished(task)

    def finished(self, task: str) -> dict[str, str]:
        deadline = time.monotonic() + 30
        while self.api.task.get_status(task) == "pending":
            assert time.monotonic() < deadline
        record: dict[str, str] = self.api.task.get_record(task)
        self.api.task.destroy(task)
        return record

    def disk(self, vm: str) -> str:
        for vbd in self.api.VM.get_VBDs(vm):
            if self.api.VBD.get_type(vbd) == "Disk":
                return str(self.api.VBD.get_VDI(vbd))
        raise AssertionError("no disk")

    def content(self, vdi: str) -> bytes:
        return self.lab.read_vdi(self.api.VDI.get_uuid(vdi), 0, SIZE)


@pytest.fixture(params=["plain", "tls"])
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pool]:
    content = bytearray(SIZE)
    content[5 * MIB : 8 * MIB] = random.Random(3).randbytes(3 * MIB)
    image = tmp_path / "image.raw"
    image.write_bytes(content)
    settings = Settings(login_failure_delay_s=0.0, coalesce=False)
    with (
        Lab.open(str(tmp_path / "lab"), settings=settings) as lab,
        lab.serve(tls=request.param == "tls") as served,
    ):
        lab.import_vm("web", [str(image)])
        pool = Pool(lab, served)
        yield pool
        pool.session("close")()


def web(pool: Pool) -> str:
    return str(pool.api.VM.get_by_name_label("web")[0])


def test_records(pool: Pool) -> None:
    vm = web(pool)
    record = pool.api.VM.get_record(vm)
    assert record["name_label"] == "web"
    assert record["memory_static_max"] == str(1 << 30)  # integers are text on this wire
    assert record["is_a_template"] is False
    assert record["HVM_shadow_multiplier"] == 1.0
    assert set(pool.api.VM.get_all_records()) >= {vm}
    assert pool.api.host.get_all_records()
    assert pool.api.pool.get_all()[0] in pool.api.pool.get_all_records()
    moment = pool.api.host.get_servertime(pool.api.pool.get_master(pool.api.pool.get_all()[0]))
    assert str(moment).endswith("Z")


def test_wrong_calls(pool: Pool) -> None:
    for call, code in (
        (lambda: pool.api.VM.get_record("OpaqueRef:x"), "HANDLE_INVALID"),
        (lambda: pool.api.VM.get_by_uuid("x"), "UUID_INVALID"),
        (pool.api.VM.get_record, "MESSAGE_PARAMETER_COUNT_MISMATCH"),
        (pool.api.VM.fly, "MESSAGE_METHOD_UNKNOWN"),
        (lambda: pool.api.VM.set_tags(web(pool), 3), "FIELD_TYPE_ERROR"),
    ):
        with pytest.raises(XenAPI.Failure) as caught:
            call()
        assert caught.value.details[0] == code
    stranger = XenAPI.Session(pool.served.url, ignore_ssl=True)
    with pytest.raises(XenAPI.Failure) as caught:
        stranger.xenapi.login_with_password("root", "no")
    stranger("close")()
    assert caught.value.details[:2] == ["SESSION_AUTHENTICATION_FAILED", "root"]


def test_a_lost_session_is_renewed_by_the_client(pool: Pool) -> None:
    pool.lab.pool.sessions.drop_all()
    assert web(pool)


def test_export_is_the_disk(pool: Pool) -> None:
    snapshot = pool.finished(pool.api.Async.VM.snapshot(web(pool), "snap"))
    assert snapshot["status"] == "success"
    vdi = pool.disk(pool.api.VM.get_by_name_label("snap")[0])
    assert pool.export(vdi) == pool.content(vdi)
    assert pool.export(vdi, format="raw") == pool.content(vdi)
    vhd = pool.export(vdi, format="VHD")
    assert len(vhd) == 2048 + 512 + 2 * (512 + 2 * MIB) + 512
    assert vhd[:512] == vhd[-512:]
    assert vhd[1536:2048] == b"\0" * 512
    assert vhd[2048 + 512 : 2048 + 1024] == b"\xff" * 512
    assert vhd[2048 + 1024 :][: 2 * MIB] == pool.content(vdi)[4 * MIB : 6 * MIB]
    with_password = pool.transfer("GET", "/export_raw_vdi/", vdi=vdi, format="vhd")
    assert with_password["status"] == "success"


def test_differences_import_onto_their_base(pool: Pool) -> None:
    pool.lab.power("web", "Running")
    first = pool.disk(pool.api.VM.snapshot(web(pool), "first"))
    pool.lab.random_write("web", 0, 9 * MIB + 7, 100)
    pool.lab.write_disk("web", 0, 6 * MIB, b"\0" * MIB)
    second = pool.disk(pool.api.VM.snapshot(web(pool), "second"))
    full, delta = pool.export(first, format="vhd"), pool.export(second, format="vhd", base=first)
    assert len(delta) == 2048 + 512 + 2 * (512 + 2 * MIB) + 512
    wish = {
        "SR": pool.api.VDI.get_SR(first),
        "virtual_size": str(SIZE),
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": {"marker": "restored"},
    }
    target = pool.api.VDI.create(wish)
    for stream in (full, delta):
        task = pool.transfer("PUT", "/import_raw_vdi", stream, vdi=target, format="vhd")
        assert (task["status"], task["result"]) == ("success", f"<value>{target}</value>")
    assert pool.content(target) == pool.content(second)
    assert pool.api.VDI.get_VBDs(target) == []
    raw = pool.api.VDI.create(wish)
    content = pool.content(first)
    assert pool.transfer("PUT", "/import_raw_vdi", content, vdi=raw)["status"] == "success"
    assert pool.content(raw) == content


def test_broken_streams_fail_their_task(pool: Pool) -> None:
    vdi = pool.disk(pool.api.VM.snapshot(web(pool), "snap"))
    vhd = bytearray(pool.export(vdi, format="vhd"))
    target = pool.disk(web(pool))
    trailer = bytes(vhd[:-512]) + bytes(512)
    for stream, length in (
        (bytes(vhd[:3000]), len(vhd)),
        (trailer, None),
        (b"nonsense" * 1000, None),
        (bytes(vhd[:-512]), None),
    ):
        query = {"vdi": target, "format": "vhd"}
        if length is not None:
            query["length"] = str(length)
        task = pool.transfer("PUT", "/import_raw_vdi", stream, **query)
        assert task["status"] == "failure"
        assert task["error_info"] == ["VDI_IO_ERROR", "Device I/O errors"]
        assert [pool.api.VBD.get_currently_attached(v) for v in pool.api.VDI.get_VBDs(target)] == [
            False
        ]


@pytest.mark.parametrize("compression", ["false", "true", "zstd"])
def test_xva_round_trip(pool: Pool, compression: str) -> None:
    vm = web(pool)
    content = pool.content(pool.disk(vm))
    status, xva = pool.request("GET", "/export/", ref=vm, use_compression=compression)
    assert status == 200
    pool.api.VM.destroy(vm)
    task = pool.transfer("PUT", "/import/", xva, length=str(HUGE))
    assert task["status"] == "success", task
    (again,) = pool.api.VM.get_by_name_label("web")
    assert task["result"] == f"<value><array><data><value>{again}</value></data></array></value>"
    assert pool.content(pool.disk(again)) == content
    assert pool.api.VM.get_current_operations(again) == {}


def test_a_broken_xva_leaves_nothing(pool: Pool) -> None:
    _, xva = pool.request("GET", "/export", ref=web(pool), use_compression="false")
    before = set(pool.api.VM.get_all()), set(pool.api.VDI.get_all())
    damaged = bytearray(xva)
    damaged[len(xva) // 2] ^= 1
    task = pool.transfer("PUT", "/import", bytes(damaged))
    assert task["error_info"][0] == "IMPORT_ERROR_SOME_CHECKSUMS_FAILED"
    task = pool.transfer("PUT", "/import", xva[: len(xva) // 2], length=str(HUGE))
    assert task["error_info"] == ["IMPORT_ERROR_PREMATURE_EOF"]
    assert (set(pool.api.VM.get_all()), set(pool.api.VDI.get_all())) == before
    forced = pool.transfer("PUT", "/import", bytes(damaged), force="true")
    assert forced["status"] == "success"


def test_events_wake_a_client(pool: Pool) -> None:
    vm = web(pool)
    token = pool.api.event_from(["vm", "task"], "", 1.0)["token"]
    assert pool.api.event_from(["vm"], token, 0.1)["events"] == []
    timer = threading.Timer(0.2, pool.lab.call, ("VM.set_name_label", vm, "renamed"))
    timer.start()
    reply = getattr(pool.api.event, "from")(["vm"], token, 20.0)
    timer.join()
    (event,) = reply["events"]
    assert (event["class"], event["operation"], event["ref"]) == ("vm", "mod", vm)
    assert event["snapshot"]["name_label"] == "renamed"
    assert reply["token"] > token


def test_who_may_not(pool: Pool) -> None:
    vdi = pool.disk(web(pool))
    status, _ = pool.request("GET", "/export_raw_vdi", vdi=vdi, session_id="OpaqueRef:x")
    assert status == 401
    task = pool.api.task.create("refused", "")
    pool.request("GET", "/export_raw_vdi", vdi=vdi, session_id="OpaqueRef:x", task_id=task)
    assert pool.api.task.get_error_info(task) == ["SESSION_INVALID", "OpaqueRef:x"]
    assert pool.request("GET", "/nonsense")[0] == 403
    assert pool.request("DELETE", "/")[0] == 501
    assert pool.request("GET", "/export_raw_vdi", vdi=vdi, format="floppy")[0] == 404
    assert pool.request("PUT", "/import_raw_vdi", b"x", format="vhd")[0] == 400
    assert pool.request("GET", "/export_raw_vdi", vdi="OpaqueRef:x")[0] == 500


def test_a_running_disk_refuses_inside_the_body(pool: Pool) -> None:
    pool.lab.power("web", "Running")
    vdi = pool.disk(web(pool))
    task = pool.api.task.create("refused", "")
    status, body = pool.request("GET", "/export_raw_vdi", vdi=vdi, format="vhd", task_id=task)
    assert status == 200
    assert body.startswith(b"HTTP/1.1 500 Internal Error")
    assert b"SR_BACKEND_FAILURE_46" in body
    assert pool.api.task.get_error_info(task)[0] == "SR_BACKEND_FAILURE_46"
