"""What the lab says of its transfers: what they moved, how often, and at what pace."""

import http.client
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler.lab.failures import Failure
from reconciler.lab.faults import DropConnection
from reconciler.lab.lab import Lab, Served
from reconciler.lab.settings import EXPORT_CURVE, Settings
from reconciler.lab.transfers import EXPORT, EXPORT_VM, IMPORT, total_rate

MIB = 1 << 20


@pytest.fixture
def served(lab: Lab) -> Iterator[Served]:
    with lab.serve() as served:
        yield served


def disk_of(lab: Lab) -> str:
    return lab.disk("web").text("uuid")


def ask(served: Served, method: str, target: str, body: bytes = b"") -> http.client.HTTPResponse:
    url = urlsplit(served.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=120)
    session = served._lab.pool.sessions.login(served.user, served.password, "test", "")
    connection.request(method, target, body or None, {"cookie": f"session_id={session}"})
    return connection.getresponse()


def settled(lab: Lab) -> None:
    deadline = time.monotonic() + 20
    while lab.transfers.open and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert lab.transfers.open == ()


@pytest.mark.parametrize(
    ("count", "total"), [(1, 30), (2, 40), (3, 50), (4, 60), (8, 80), (10, 88), (12, 96), (99, 96)]
)
def test_the_curve_is_that_of_a_real_pool(count: int, total: int) -> None:
    assert total_rate(EXPORT_CURVE, count) == total * MIB


def test_below_its_first_point_a_curve_is_a_line_from_nothing() -> None:
    assert total_rate(((4, 80.0),), 1) == 20.0


@pytest.mark.usefixtures("web")
def test_each_block_is_counted_as_often_as_it_was_sent(lab: Lab, served: Served) -> None:
    disk = disk_of(lab)
    lab.write_disk("web", 0, 0, b"x")
    snapshot = lab.call("VDI.snapshot", lab.disk("web").ref)
    uuid = str(lab.call("VDI.get_uuid", snapshot))
    before = time.monotonic()
    whole = ask(served, "GET", f"/export_raw_vdi?format=vhd&vdi={uuid}").read()
    settled(lab)
    blocks = lab.transfers.blocks_sent(uuid)
    assert set(blocks.values()) == {1}
    assert len(whole) == 2048 + 512 + len(blocks) * (512 + 2 * MIB) + 512
    (transfer,) = lab.transfers.since(before)
    assert (transfer.kind, transfer.object, transfer.base) == (EXPORT, uuid, "")
    assert transfer.moved_bytes == lab.transfers.moved_bytes == len(whole)
    assert lab.transfers.since(time.monotonic()) == ()
    ask(served, "GET", f"/export_raw_vdi?format=vhd&vdi={uuid}&base={uuid}").read()
    ask(served, "GET", f"/export_raw_vdi?format=vhd&vdi={uuid}").read()
    settled(lab)
    assert set(lab.transfers.blocks_sent(uuid).values()) == {2}
    assert lab.transfers.blocks_sent(disk) == {}
    assert [one.base for one in lab.transfers.all] == ["", uuid, ""]
    assert all(one.whole for one in lab.transfers.all)


@pytest.mark.usefixtures("web")
def test_an_export_that_was_cut_is_not_whole(lab: Lab, served: Served) -> None:
    lab.random_write("web", 0, 0, 16 * MIB)
    uuid = str(lab.call("VDI.get_uuid", lab.call("VDI.snapshot", lab.disk("web").ref)))
    lab.faults.add("http:GET /export_raw_vdi", DropConnection(after_bytes=5 * MIB))
    ask(served, "GET", f"/export_raw_vdi?format=vhd&vdi={uuid}").read()
    settled(lab)
    (transfer,) = lab.transfers.all
    assert not transfer.whole
    assert transfer.moved_bytes == 5 * MIB
    assert lab.transfers.blocks_sent(uuid) == {0: 1, 1: 1}
    assert lab.transfers.blocks_sent(uuid, whole=True) == {}


@pytest.mark.usefixtures("web")
def test_imports_and_machines_are_counted_too(lab: Lab, served: Served) -> None:
    disk = disk_of(lab)
    ask(served, "PUT", f"/import_raw_vdi?vdi={disk}", b"y" * MIB).read()
    settled(lab)
    xva = ask(served, "GET", f"/export?uuid={vm_of(lab)}").read()
    settled(lab)
    moved = {transfer.kind: transfer.moved_bytes for transfer in lab.transfers.all}
    assert moved[IMPORT] == MIB
    assert moved[EXPORT_VM] >= len(xva)


def vm_of(lab: Lab) -> str:
    (ref,) = lab.call("VM.get_by_name_label", "web")  # type: ignore[misc] # a set of references
    return str(lab.call("VM.get_uuid", ref))


@pytest.mark.usefixtures("web")
class TestPace:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        settings.curve = ((1, 8 * MIB), (2, 8 * MIB))
        settings.curve_factor = 1.0
        return settings

    def test_exports_share_what_the_curve_gives(self, lab: Lab, served: Served) -> None:
        lab.random_write("web", 0, 0, 4 * MIB)
        refs = [lab.call("VDI.snapshot", lab.disk("web").ref) for _ in range(2)]
        moved: list[list[int]] = []
        started = time.monotonic()

        def export(ref: str) -> None:
            ask(served, "GET", f"/export_raw_vdi?format=vhd&vdi={ref}").read()
            moved.append([transfer.moved_bytes for transfer in lab.transfers.all])

        threads = [threading.Thread(target=export, args=(ref,)) for ref in refs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        blocks = sum(len(transfer.blocks) for transfer in lab.transfers.all)
        # never faster than the curve; how much slower is the machine's affair
        assert time.monotonic() - started >= blocks * 2 * MIB / (8 * MIB) - 0.3
        when_the_first_had_it_all = moved[0]
        assert len(when_the_first_had_it_all) == 2
        slower, quicker = sorted(when_the_first_had_it_all)
        assert slower >= quicker / 2, "both had their share"


def test_a_further_sr_takes_disks(lab: Lab, image: Path) -> None:
    sr = lab.add_sr("cellar")
    assert lab.srs["cellar"] == sr
    machine = lab.import_vm("there", [str(image)], sr=sr)
    vdi = lab.pool.database.by_uuid("VDI", machine.disks[0])
    assert lab.pool.database.row("SR", vdi.text("SR")).text("uuid") == sr
    assert lab.read_disk("there", 0, 0, 16 * MIB) == image.read_bytes()
    with pytest.raises(Failure, match="SR_UNKNOWN_DRIVER"):
        lab.add_sr("attic", kind="tape")
