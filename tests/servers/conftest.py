"""Real file servers, and a machine with a kernel that has clients for them: started once."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from file_servers import FORGETFUL_LEASE_S, FORGETFUL_PORT, FileServer, ganesha, samba
from uml import Guest, guest, namespace, require

PROGRAMS = (
    *("linux.uml", "ip", "ss", "modprobe", "mount.nfs", "mount.cifs"),
    *("ganesha.nfsd", "smbd", "smbpasswd", "mkfs.ext4"),
)


@pytest.fixture(scope="session")
def network() -> Iterator[str]:
    require(*PROGRAMS)
    with namespace(f"reconciler-{os.getpid()}") as name:
        yield name


@pytest.fixture(scope="session")
def nfs(network, tmp_path_factory) -> Iterator[FileServer]:
    with ganesha(network, tmp_path_factory.mktemp("nfs")) as server:
        yield server


@pytest.fixture(scope="session")
def forgetful_nfs(network, tmp_path_factory) -> Iterator[FileServer]:
    """One that forgets whoever was silent for five seconds, at a port of its own."""
    area = tmp_path_factory.mktemp("forgetful")
    with ganesha(network, area, port=FORGETFUL_PORT, lease_s=FORGETFUL_LEASE_S) as server:
        yield server


@pytest.fixture(scope="session")
def smb(network, tmp_path_factory) -> Iterator[FileServer]:
    with samba(network, tmp_path_factory.mktemp("smb")) as server:
        yield server


class Machines:
    """The machine that tests share; another one once a test has left it in any state."""

    def __init__(self, network: str, area: Callable[[], Path]) -> None:
        self._network = network
        self._area = area
        self._running = contextlib.ExitStack()
        self._machine: Guest | None = None

    def get(self) -> Guest:
        if self._machine is None or self._machine.is_spoiled:
            self.close()
            self._machine = self._running.enter_context(guest(self._network, self._area()))
        return self._machine

    def close(self) -> None:
        self._running.close()


@pytest.fixture(scope="session")
def machines(network, tmp_path_factory) -> Iterator[Machines]:
    with contextlib.closing(Machines(network, lambda: tmp_path_factory.mktemp("machine"))) as made:
        yield made
