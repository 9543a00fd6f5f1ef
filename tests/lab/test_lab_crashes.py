"""kill -9 at any moment: acknowledged writes, snapshots and trees are all there afterwards."""

import http.client
import json
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler.lab.failures import LabError
from reconciler.lab.lab import Lab
from reconciler.lab.remote import RunningLab
from reconciler.lab.settings import Settings

MIB = 1 << 20
SIZE = 16 * MIB
PROGRAM = "from reconciler.lab.command import app; app()"
KNOBS = ("coalesce_delay_s=0", "leaf_blocks_max=1")


class Busy:
    """A lab process with a guest that writes and an engine that takes and drops snapshots."""

    def __init__(self, directory: Path, mirror: bytearray, snapshots: dict[str, bytes]) -> None:
        words = [word for knob in KNOBS for word in ("--set", knob)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "up", "--dir", str(directory), *words],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.endpoint = json.loads(self.process.stdout.readline())
        self.lab = RunningLab(str(directory))
        self.mirror = mirror
        self.snapshots = snapshots  # by uuid of the VDI
        self.pending: tuple[int, bytes] | None = None

    def rpc(self, method: str, *parameters: str) -> str:
        url = urlsplit(self.endpoint["url"])
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=120)
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": parameters, "id": 1})
        try:
            connection.request("POST", "/jsonrpc", body)
            reply = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert "error" not in reply, reply
        return str(reply["result"])

    def step(self, chance: random.Random, session: str) -> None:
        """A write, and now and then a snapshot or the end of one."""
        data = chance.randbytes(chance.choice([1, 600, 70_000]))
        offset = chance.randrange(SIZE - len(data))
        self.pending = (offset, data)
        arguments: dict[str, str | int] = {"vm": "web", "disk": "0", "offset": offset}
        self.lab.ask("PUT", "/lab/write", arguments, data)
        self.mirror[offset : offset + len(data)] = data
        self.pending = None
        if chance.random() < 0.2:
            live = self.rpc("VDI.get_by_name_label", session, "web 0").split("'")[1]
            taken = self.rpc("VDI.snapshot", session, live)
            self.rpc("VDI.set_name_label", session, taken, "taken")
            self.snapshots[self.rpc("VDI.get_uuid", session, taken)] = bytes(self.mirror)
        if len(self.snapshots) > 2:
            gone = next(iter(self.snapshots))
            del self.snapshots[gone]
            self.rpc("VDI.destroy", session, self.rpc("VDI.get_by_uuid", session, gone))

    def run(self, chance: random.Random, seconds: float) -> None:
        """Until killed, which happens after a while at a moment that nobody chose."""
        user, password = self.endpoint["user"], self.endpoint["password"]
        session = self.rpc("session.login_with_password", user, password)
        killer = threading.Timer(seconds, self.process.send_signal, (signal.SIGKILL,))
        killer.start()
        with pytest.raises((LabError, OSError, http.client.HTTPException, ValueError)):
            while True:
                self.step(chance, session)
        killer.join()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def check(directory: Path, busy: Busy) -> None:
    with Lab.open(str(directory), settings=Settings(coalesce=False)) as lab:
        live = lab.read_disk("web", 0, 0, SIZE)
        if busy.pending is not None:
            # It may or may not have happened, also in part; nothing beside it may.
            offset, data = busy.pending
            busy.mirror[offset : offset + len(data)] = live[offset : offset + len(data)]
        assert live == bytes(busy.mirror)
        for uuid, content in busy.snapshots.items():
            known = [row for row in lab.pool.database.rows("VDI") if row.text("uuid") == uuid]
            assert [lab.read_vdi(row.text("uuid"), 0, SIZE) == content for row in known] == [True]
        owned = {row.text("uuid") for row in lab.pool.database.rows("VDI")}
        assert set(lab.pool.disks.disks) == owned
        lab.coalesce()
        assert lab.read_disk("web", 0, 0, SIZE) == live
        for uuid, content in busy.snapshots.items():
            assert lab.read_vdi(uuid, 0, SIZE) == content


def test_nothing_is_lost_when_the_lab_is_killed(tmp_path: Path) -> None:
    directory, image = tmp_path / "lab", tmp_path / "image.raw"
    mirror = bytearray(random.Random(0).randbytes(SIZE))
    image.write_bytes(mirror)
    with Lab.open(str(directory)) as lab:
        lab.import_vm("web", [str(image)])
    snapshots: dict[str, bytes] = {}
    for seed in range(4):
        busy = Busy(directory, mirror, snapshots)
        busy.run(random.Random(seed), 0.3 + 0.3 * seed)
        check(directory, busy)
