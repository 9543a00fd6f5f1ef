"""NFS and SMB shares of real servers, mounted by a real kernel: the suite, and servers that go."""

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from file_servers import (
    FORGETFUL_PORT,
    NFS_EXPORT,
    SMB_PASSWORD,
    SMB_SHARE,
    SMB_USER,
    FileServer,
)
from uml import HOST, Guest

pytestmark = [
    pytest.mark.servers,
    pytest.mark.xdist_group("machine"),
    pytest.mark.slow(seconds=20),
]

STOPPED_S = 10.0
DISK_MIB = 96
SUITE = ("tests/conformance/test_remotes.py", "tests/conformance/test_file_remotes.py")
KINDS = ("nfs-4.2", "smb-3.1.1")
FORGETFUL = "nfs-4.2-forgetful"
SERVERS = {  # kind, fixture, mount options
    "nfs-4.2": ("nfs", "nfs", ("vers=4.2",)),
    "smb-3.1.1": ("smb", "smb", ("vers=3.1.1", "seal")),
    FORGETFUL: ("nfs", "forgetful_nfs", ("vers=4.2", f"port={FORGETFUL_PORT}")),
}


@dataclass(frozen=True)
class Share:
    """A share of a server, mounted in the machine by the product's own means."""

    kind: str
    server: FileServer
    machine: Guest
    directory: str

    @property
    def source(self) -> tuple[str, str, str]:
        return (self.kind, HOST, NFS_EXPORT if self.kind == "nfs" else SMB_SHARE)


@pytest.fixture(scope="session")
def share_of(request, machines) -> Callable[[str], Share]:
    """Mounts a kind of share, the first time it is asked for on a machine.

    A server that a test left standing still goes on.
    """
    shares: dict[str, Share] = {}

    def mounted(name: str) -> Share:
        machine = machines.get()
        kind, fixture, options = SERVERS[name]
        server = request.getfixturevalue(fixture)
        server.go_on()
        if name not in shares or shares[name].machine is not machine:
            share = Share(kind, server, machine, "")
            env = {"SMB_USER": SMB_USER, "SMB_PASSWORD": SMB_PASSWORD}
            words = ("tests/servers/guest_mount.py", name, *share.source, *options)
            said, left = machine.python(*words, env=env)
            found = json.loads(said)
            assert found["source"] == (
                f"{HOST}:{NFS_EXPORT}" if kind == "nfs" else f"//{HOST}/{SMB_SHARE}"
            )
            assert not [each for each in json.loads(left) if "credentials" in each]
            shares[name] = Share(kind, server, machine, found["directory"])
        return shares[name]

    return mounted


@pytest.mark.parametrize("name", KINDS)
def test_the_suite_passes(share_of, name):
    """Every test of every remote that is a file system, on the share."""
    share = share_of(name)
    said = list(
        share.machine.python(
            *("-m", "pytest", "-v", "-p", "no:cacheprovider", "--basetemp=/run/pytest", *SUITE),
            env={"RECONCILER_REMOTE_PATH": share.directory},
        )
    )
    print("\n".join(said))
    found = re.findall(r"(\d+) (passed|skipped)", said[-1])
    counts = {word: int(number) for number, word in found}
    # What may be skipped is a clone of whole files: neither server here shares extents so.
    assert counts["passed"] > 50, said[-1]
    assert counts.get("skipped", 0) <= 1, said[-1]


@pytest.mark.parametrize("name", KINDS)
def test_what_a_share_cannot_do_is_known(share_of, name):
    share = share_of(name)
    said = list(share.machine.python("tests/servers/guest_findings.py", share.directory))
    known = {"known: files cannot share extents"}
    if share.kind == "smb":
        known |= {
            "known: a file that somebody reads cannot be replaced",
            "known: names have no case",
            "known: names cannot have \\ in them",
        }
    assert set(said) == known


def written(share: Share, name: str, interfere: Callable[[], None], patience_s: float = 120.0):
    """Write a disk, interfered with in the middle; return what was said, and prove the disk."""
    published = share.server.directory / "disks" / name
    said: list[str] = []
    interfered = False
    words = ("tests/servers/guest_write.py", *share.source, share.directory, name)
    for line in share.machine.python(*words, str(DISK_MIB), str(patience_s)):
        said.append(line)
        if line == f"wrote {DISK_MIB // 8}" and not interfered:
            interfered = True
            interfere()
            assert not published.exists(), "nothing half is seen"
        if line.startswith("failed"):
            assert not published.exists(), "nothing half is seen"
            share.server.go_on()
    assert said[-1].startswith("done "), said[-5:]
    digest = said[-1].split()[1]
    assert hashlib.sha256(published.read_bytes()).hexdigest() == digest
    identities = json.loads((share.server.directory / ".reconciler/remote.json").read_text())
    assert f"identity {identities['id']}" in said
    names = {each.name for each in published.parent.iterdir()}
    assert {each for each in names if not each.endswith(".partial")} >= {name}
    published.unlink()
    for left in published.parent.glob(".*.partial"):
        left.unlink()
    return said


@pytest.mark.parametrize("name", KINDS)
def test_a_server_that_stands_still_for_a_while_is_waited_for(share_of, name):
    share = share_of(name)

    def stand_still() -> None:
        share.server.stop()
        time.sleep(STOPPED_S)
        share.server.go_on()

    said = written(share, "stopped", stand_still)
    assert not [line for line in said if line.startswith("failed")]


def test_a_server_that_forgot_us_meanwhile_does_no_harm(share_of):
    """The lease ran out: what was under way goes on, or it fails and the next try succeeds.

    A hard mount does not help here: what nfs-ganesha answers then becomes an I/O error. It must
    not be tried again below the action, where nobody knows what of it had happened.
    """
    share = share_of(FORGETFUL)

    def be_forgotten() -> None:
        share.server.stop()
        time.sleep(STOPPED_S)
        share.server.go_on()

    said = written(share, "forgotten", be_forgotten)
    failed = [line for line in said if line.startswith("failed")]
    assert all("Input/output error" in line or "hanging for" in line for line in failed), failed


@pytest.mark.parametrize("name", KINDS)
def test_a_server_killed_in_the_middle_of_a_write_heals(share_of, name):
    """The write goes on with the next server, or it fails and the next one succeeds."""
    share = share_of(name)

    def die() -> None:
        share.server.kill()
        share.server.start()

    written(share, "killed", die)


@pytest.mark.parametrize("name", KINDS)
def test_a_server_that_hangs_is_not_waited_for_for_ever(share_of, name):
    """It is let go on only when the first try has failed."""
    share = share_of(name)
    said = written(share, "hung", share.server.stop, patience_s=4.0)
    failed = [line for line in said if line.startswith("failed")]
    assert "hanging for" in failed[0], failed


@pytest.mark.parametrize("name", KINDS)
def test_cancelling_takes_effect_though_the_server_hangs(share_of, name, tmp_path):
    """It hangs until the cancelled work has ended, and would not be given up for ten minutes."""
    share = share_of(name)
    said = []
    stopped = tmp_path / "stopped"
    words = ("tests/servers/guest_cancel.py", *share.source, share.directory, str(stopped))
    for line in share.machine.python(*words):
        said.append(line)
        if line == "put 5":
            share.server.stop()
            stopped.touch()
        if line.startswith(("refused", "looked at")):
            share.server.go_on()
    assert "cancelled" in said, said[-10:]
    assert any(line.startswith("refused") for line in said), said[-10:]
    assert said[-1] == "healed", said[-10:]
    vm = Path(share.server.directory) / "xo-vm-backups/11111111-2222-3333-4444-555555555555"
    assert (vm / "after.json").read_bytes() == b"{}"
