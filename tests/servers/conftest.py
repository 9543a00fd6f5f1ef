"""Real file servers, and a machine with a kernel that has clients for them: started once."""

import os
from collections.abc import Iterator

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


@pytest.fixture(scope="session")
def machine(network, tmp_path_factory) -> Iterator[Guest]:
    with guest(network, tmp_path_factory.mktemp("machine")) as machine:
        yield machine
