"""NFS and SMB servers that others wrote, in a network namespace of the test's.

Each serves one directory, and can be stopped, continued, killed and started again while clients
hold files there.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uml import HOST

NFS_EXPORT = "/export"
SMB_SHARE, SMB_USER, SMB_PASSWORD = "cellar", "root", "a secret, with = and #"
FORGETFUL_PORT, FORGETFUL_LEASE_S = 2050, 5
PATIENCE_S = 120.0
LEASE_S = 90
"""For how long an NFS server remembers a client that is silent: Linux's own default, too. Ganesha
answers EXPIRED to the first calls after it, for which the client has no better word than EIO, even
on a hard mount; so it is longer than a machine of ours ever stands still."""
_POLL_S = 0.05
_IMAGE_BYTES = 512 * 1024 * 1024

_GANESHA = """\
NFS_CORE_PARAM {{
    Protocols = 4;
    NFS_Port = {port};
    Bind_addr = {host};
    Enable_NLM = false;
    Enable_RQUOTA = false;
}}
NFSV4 {{
    RecoveryRoot = {area}/recovery;
    Minor_Versions = 1, 2;
    Grace_Period = {lease_s};
    Lease_Lifetime = {lease_s};
}}
EXPORT {{
    Export_Id = 1;
    Path = {directory};
    Pseudo = {export};
    Access_Type = RW;
    Squash = No_Root_Squash;
    Sectype = sys;
    Protocols = 4;
    Transports = TCP;
    FSAL {{ Name = VFS; }}
}}
"""

_SAMBA = """\
[global]
    server role = standalone server
    bind interfaces only = yes
    interfaces = {host}/24
    smb ports = 445
    disable netbios = yes
    private dir = {area}/samba
    lock directory = {area}/samba
    state directory = {area}/samba
    cache directory = {area}/samba
    pid directory = {area}/samba
    ncalrpc dir = {area}/samba/ncalrpc
    log file = {area}/samba.log
    passdb backend = tdbsam:{area}/samba/passdb.tdb
    load printers = no
    server min protocol = SMB3_00
    map to guest = never
    strict sync = yes
[{share}]
    path = {directory}
    read only = no
    valid users = {user}
"""


@dataclass
class FileServer:
    """A server's process in a namespace. directory: what it serves."""

    command: Sequence[str]
    network: str
    port: int
    directory: Path
    log: Path
    _process: subprocess.Popen | None = field(default=None, init=False)

    def start(self) -> None:
        """Raises AssertionError if it does not come up."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self.network, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(self.network, self.port):
            alive = self._process.poll() is None
            if not alive or time.monotonic() > deadline:
                said = self.log.read_text(errors="replace")[-4000:]
                raise AssertionError(f"{self.command[0]} does not answer; it said:\n{said}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """At once, with all its processes; whatever it had not written is gone."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _answers(network: str, port: int) -> bool:
    """Whether somebody listens on a port there."""
    probe = ["ip", "netns", "exec", network, "ss", "-Htln", f"sport = :{port}"]
    return bool(subprocess.run(probe, capture_output=True, check=True).stdout.strip())


@contextlib.contextmanager
def exported(area: Path, name: str) -> Iterator[Path]:
    """A directory on an ext4 of its own: what lies below temporary directories may not be fit."""
    image, directory = area / f"{name}.img", area / name
    directory.mkdir()
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@contextlib.contextmanager
def running(server: FileServer) -> Iterator[FileServer]:
    server.start()
    try:
        yield server
    finally:
        server.go_on()
        server.kill()


@contextlib.contextmanager
def ganesha(
    network: str, area: Path, *, port: int = 2049, lease_s: int = LEASE_S
) -> Iterator[FileServer]:
    """NFS 4.1 and 4.2 of HOST:NFS_EXPORT."""
    with exported(area, "nfs") as directory:
        (area / "recovery").mkdir()
        configuration = area / "ganesha.conf"
        configuration.write_text(
            _GANESHA.format(
                host=HOST,
                port=port,
                lease_s=lease_s,
                area=area,
                directory=directory,
                export=NFS_EXPORT,
            )
        )
        command = [
            *("ganesha.nfsd", "-F", "-f", str(configuration), "-p", str(area / "ganesha.pid")),
            *("-L", "STDOUT", "-N", "NIV_WARN"),
        ]
        with running(FileServer(command, network, port, directory, area / "ganesha.log")) as it:
            yield it


@contextlib.contextmanager
def samba(network: str, area: Path) -> Iterator[FileServer]:
    """SMB 3 of //HOST/SMB_SHARE."""
    with exported(area, "smb") as directory:
        (area / "samba").mkdir()
        configuration = area / "smb.conf"
        configuration.write_text(
            _SAMBA.format(host=HOST, area=area, directory=directory, share=SMB_SHARE, user=SMB_USER)
        )
        subprocess.run(
            ["smbpasswd", "-c", str(configuration), "-s", "-a", SMB_USER],
            input=f"{SMB_PASSWORD}\n{SMB_PASSWORD}\n",
            text=True,
            check=True,
            capture_output=True,
        )
        command = [
            *("smbd", "-F", "--no-process-group", "-s", str(configuration)),
            *("-l", str(area), "--debug-stdout"),
        ]
        with running(FileServer(command, network, 445, directory, area / "smbd.log")) as it:
            yield it
