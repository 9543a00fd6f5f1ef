"""Ceph's S3 gateway on loopback: a monitor, an object store in memory, and the gateway itself.

The strictest of the S3 servers here: it checks signatures, refuses what a condition forbids, and
forgets to ask for conditions where others do not.
"""

import contextlib
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
from s3_servers import ACCESS_KEY, BUCKET, PATIENCE_S, SECRET_KEY, S3Server, free_port, serving

_STORE_BYTES = 1024**3
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor_v2},v1:127.0.0.1:{monitor_v1}]
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
run dir = {area}
log file = {area}/$name.log
mon cluster log file = {area}/cluster.log
admin socket = {area}/$name.asok
pid file = {area}/$name.pid
keyring = {area}/keyring
[mon]
mon data = {area}/mon
mon data avail crit = 1
mon data avail warn = 2
[osd]
osd data = {area}/osd
osd objectstore = memstore
memstore device bytes = {store_bytes}
[client.admin]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {area}/rgw
ms mon client mode = crc secure
"""


@contextlib.contextmanager
def rgw_server(area: Path) -> Iterator[S3Server]:
    """area: a directory with a short path (sockets are made there), for all that Ceph writes."""
    port = free_port()
    for name in ("mon", "osd", "rgw"):
        (area / name).mkdir()
    fsid = str(uuid.uuid4())
    ports = [free_port() for _ in range(2)]
    (area / "ceph.conf").write_text(
        _CONFIGURATION.format(
            fsid=fsid,
            area=area,
            monitor_v2=ports[0],
            monitor_v1=ports[1],
            port=port,
            store_bytes=_STORE_BYTES,
        )
    )
    ceph = _Ceph(area)
    try:
        _start_cluster(ceph, fsid, ports)
        gateway = ["radosgw", "-f", "-c", str(ceph.configuration), "-n", "client.admin"]
        with serving(gateway, port, area / "gateway.log") as server:
            ceph.run(
                *("radosgw-admin", "user", "create", "--uid=test", "--display-name=test"),
                *(f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}"),
            )
            _make_bucket(server.endpoint)
            yield server
    finally:
        ceph.end()


def _start_cluster(ceph: "_Ceph", fsid: str, ports: list[int]) -> None:
    area, keyring = ceph.area, str(ceph.area / "keyring")
    addresses = f"[v2:127.0.0.1:{ports[0]},v1:127.0.0.1:{ports[1]}]"
    ceph.run(
        *("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon."),
        *("--cap", "mon", "allow *"),
    )
    ceph.run(
        *("ceph-authtool", keyring, "--gen-key", "-n", "client.admin"),
        *("--cap", "mon", "allow *", "--cap", "osd", "allow *"),
    )
    monitors = str(area / "monmap")
    ceph.run("monmaptool", "--create", "--addv", "a", addresses, "--fsid", fsid, monitors)
    monitor = ("ceph-mon", "-i", "a")
    ceph.run(*monitor, "--mkfs", "--monmap", monitors, "--keyring", keyring)
    ceph.start(*monitor)
    disk = str(uuid.uuid4())
    ceph.run("ceph", "--connect-timeout", "30", "osd", "new", disk)
    ceph.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
    ceph.start("ceph-osd", "-i", "0")


class _Ceph:
    def __init__(self, area: Path) -> None:
        self.area = area
        self.configuration = area / "ceph.conf"
        self._processes: list[subprocess.Popen] = []

    def run(self, *command: str) -> str:
        """Raises AssertionError with what it said."""
        options = [] if command[0] in ("ceph-authtool", "monmaptool") else self._options()
        ended = subprocess.run(
            [command[0], *options, *command[1:]],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert ended.returncode == 0, f"{command}: {ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def start(self, *command: str) -> None:
        with (self.area / f"{command[0]}.out").open("wb") as log:
            process = subprocess.Popen(
                [command[0], *self._options(), "-f", *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)

    def end(self) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGKILL)
            process.wait()

    def _options(self) -> list[str]:
        return ["-c", str(self.configuration)]


def _make_bucket(endpoint: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    client.close()
