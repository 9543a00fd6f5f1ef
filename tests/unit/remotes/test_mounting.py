"""Mounting with a mount(8) of our own making; tests/servers mounts real shares."""

import os
import stat
import time

import pytest

from reconciler.remotes.errors import Denied, Unavailable, WrongRemote
from reconciler.remotes.mounting import Answer, Mounter, run_program
from reconciler.remotes.mounts import Mount
from reconciler.remotes.shares import NfsPlace, SmbPlace

NFS = NfsPlace("nas", "/export", options=("vers=4.2",))
SECRET = "s3cret, with a comma"
SMB = SmbPlace("nas", "backup", username="svc", password=lambda: SECRET)


class Machine:
    """What is mounted, and what mount and umount do to it."""

    def __init__(self, tmp_path):
        self.state = str(tmp_path / "state")
        self.mounts, self.commands, self.secrets = [], [], []
        self.answer = Answer(0, "")
        self.mounter = Mounter(self.state, run=self.run, mounts=lambda: list(self.mounts))

    def run(self, command, deadline_s):
        assert deadline_s > 0
        self.commands.append(list(command))
        if self.answer.status != 0:
            return self.answer
        if command[0] == "umount":
            self.mounts = [each for each in self.mounts if each.point != command[-1]]
            return self.answer
        _, _, kind, _, options, source, directory = command
        for option in options.split(","):
            if option.startswith("credentials="):
                path = option.partition("=")[2]
                assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
                with open(path, encoding="utf-8") as file:
                    self.secrets.append(file.read())
        read_only = "ro" in options.split(",")
        kind = "nfs4" if kind == "nfs" else kind
        self.mounts.append(Mount(directory, "/", kind, source, read_only))
        return self.answer


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_a_share_is_mounted_once(machine):
    directory = machine.mounter.mount("cellar", NFS)
    assert directory == f"{machine.state}/cellar"
    assert machine.mounter.mount("cellar", NFS) == directory
    options = "rw,nosuid,nodev,noexec,noatime,hard,vers=4.2"
    assert machine.commands == [["mount", "-t", "nfs", "-o", options, "nas:/export", directory]]
    for path in (machine.state, directory):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700


def test_a_password_is_in_a_file_while_mounting_and_nowhere_else(machine):
    machine.mounter.mount("cellar", SMB)
    assert machine.secrets == [f"username=svc\npassword={SECRET}\n"]
    assert SECRET not in str(machine.commands)
    assert not [name for name in os.listdir(machine.state) if "credentials" in name]


def test_nor_is_it_left_by_a_mount_that_fails(machine):
    with open(os.path.join(os.makedirs(machine.state) or machine.state, "cellar.credentials"), "w"):
        pass  # of somebody who was killed
    machine.answer = Answer(32, "mount error(13): Permission denied")
    with pytest.raises(Denied) as raised:
        machine.mounter.mount("cellar", SMB)
    assert SECRET not in str(raised.value)
    assert not [name for name in os.listdir(machine.state) if "credentials" in name]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Answer(32, "mount.nfs: No route to host"), Unavailable, "No route to host"),
        (Answer(1, "mount: only root: must be superuser to use mount"), Denied, "superuser"),
        (Answer(None, ""), Unavailable, "longer than 60 s"),
    ],
)
def test_what_does_not_work_is_said(machine, answer, error, says):
    machine.answer = answer
    with pytest.raises(error, match=says):
        machine.mounter.mount("cellar", NFS)


def test_a_mount_that_says_it_worked_and_did_not(machine):
    machine.mounter = Mounter(machine.state, run=lambda *_: Answer(0, ""), mounts=list)
    with pytest.raises(Unavailable, match="it is not"):
        machine.mounter.mount("cellar", NFS)


def test_another_share_in_our_place_is_left_alone(machine):
    directory = machine.mounter.directory_of("cellar")
    machine.mounts.append(Mount(directory, "/", "nfs4", "nas:/other", read_only=False))
    with pytest.raises(WrongRemote):
        machine.mounter.mount("cellar", NFS)
    assert machine.commands == []


def test_a_stale_mount_is_mounted_anew(machine, monkeypatch):
    directory = machine.mounter.mount("cellar", NFS)
    real = os.statvfs

    def stale(path):
        if path == directory and len(machine.commands) == 1:
            raise OSError(116, "Stale file handle")
        return real(path)

    monkeypatch.setattr(os, "statvfs", stale)
    assert machine.mounter.mount("cellar", NFS) == directory
    assert [command[0] for command in machine.commands] == ["mount", "umount", "mount"]
    assert machine.commands[1] == ["umount", "-l", directory]
    assert len(machine.mounts) == 1


def test_mounted_for_reading_it_is_mounted_anew_for_writing(machine):
    machine.mounter.mount("cellar", NfsPlace("nas", "/export", read_only=True))
    machine.mounter.mount("cellar", NFS)
    assert [command[0] for command in machine.commands] == ["mount", "umount", "mount"]
    assert not machine.mounts[0].read_only


def test_without_mount_it_says_so(machine):
    def absent(command, deadline_s):
        raise FileNotFoundError(command[0])

    machine.mounter = Mounter(machine.state, run=absent, mounts=list)
    with pytest.raises(Unavailable, match="no program mount"):
        machine.mounter.mount("cellar", NFS)


@pytest.mark.parametrize(
    "name", ["", "../x", "/a", "a/", "a/../b", "a/b/c", "-o", ".x", "a b", "a_b"]
)
def test_odd_names_make_no_directories(machine, name):
    with pytest.raises(ValueError, match="name"):
        machine.mounter.directory_of(name)


def test_names_of_two_namespaces_are_two_directories(machine):
    directories = {machine.mounter.directory_of(name) for name in ("cellar", "erp/cellar", "erp")}
    assert directories == {f"{machine.state}/{name}" for name in ("cellar", "erp_cellar", "erp")}


@pytest.mark.parametrize("state", ["relative", "/a,b", "/a b", "/a\n"])
def test_odd_state_directories_are_refused(state):
    with pytest.raises(ValueError, match="path"):
        Mounter(state)


def test_programs_get_nothing_of_our_environment(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    answer = run_program(["sh", "-c", "env >&2; exit 3"], 10)
    assert answer.status == 3
    assert "secret" not in answer.said
    assert "PATH=" in answer.said


def test_a_program_that_hangs_is_ended_with_its_children():
    before = time.monotonic()
    assert run_program(["sh", "-c", "sleep 600 & sleep 600"], 0.2) == Answer(None, "")
    assert time.monotonic() - before < 300
