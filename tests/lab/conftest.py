"""A lab in the test's own directory, with one running VM of two disks, and a client of it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.lab.lab import Lab
from reconciler.lab.settings import Settings
from reconciler.remotes.open import open_remote
from reconciler.xapi.client import XapiClient
from reconciler.xapi.deadlines import Deadlines
from reconciler.xapi.trust import trust_of

sys.path.insert(0, str(Path(__file__).parent))  # what they share
from place import Place

MIB = 1 << 20
DISK_BYTES = 16 * MIB


@pytest.fixture
def make_lab(tmp_path: Path):
    """Open labs; they are closed at the end. Every other 2 MiB of the VM's first disk is full."""
    opened = []

    def make(name: str = "lab", hosts: int = 1, vm: str | None = "web", **settings) -> Lab:
        quick = {"login_failure_delay_s": 0.0, "coalesce_delay_s": 0.05, "guest_boot_s": 0.0}
        lab = Lab.open(str(tmp_path / name), settings=Settings(**quick, **settings), hosts=hosts)
        opened.append(lab)
        if vm is None:
            return lab
        images = []
        for number, fill in enumerate((2, 0)):
            path = tmp_path / f"{name}-{number}.raw"
            with path.open("wb") as image:
                image.truncate(DISK_BYTES)
                for at in range(0, DISK_BYTES if fill else 0, fill * 2 * MIB or MIB):
                    image.seek(at)
                    image.write(os.urandom(2 * MIB))
            images.append(str(path))
        lab.import_vm(vm, images, tags=["prod"])
        lab.power(vm, "Running")
        return lab

    yield make
    for lab in reversed(opened):
        lab.close()


@pytest.fixture
def lab(make_lab):
    return make_lab()


@pytest.fixture
def served(lab):
    with lab.serve() as served:
        yield served


@pytest.fixture
async def connect():
    """Make clients of served labs; they are closed at the end."""
    clients = []

    def make(served, *urls: str, **settings) -> XapiClient:
        settings.setdefault("deadlines", Deadlines(close_s=60))  # for machines that stand still
        client = XapiClient(
            urls or [served.url],
            served.user,
            lambda: served.password,
            trust_of(None, served.fingerprint) if served.fingerprint else None,
            **settings,
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def client(served, connect):
    return connect(served)


@pytest.fixture
async def place(lab, client, tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "remote").mkdir()
    remote = await open_remote("cellar", str(tmp_path / "remote"))
    yield Place(lab, client, remote, tmp_path / "remote")
    await remote.close()
