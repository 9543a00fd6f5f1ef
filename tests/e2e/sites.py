"""What the end-to-end tests run: labs, file systems, operators, manifests."""

import contextlib
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import XenAPI

from reconciler.lab.remote import RunningLab

MIB = 1024 * 1024


@dataclass
class LabProcess:
    """`reconciler lab up` as a user runs it. A killed one is started again by `start`.

    settings: such as call_latency_s=0.1.
    """

    directory: Path
    settings: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None
    facts: dict[str, str] = field(default_factory=dict)
    port: int = 0

    def start(self) -> None:
        settings = [word for each in self.settings for word in ("--set", each)]
        command = [*self._command("up"), "--port", str(self.port), *settings]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the lab ended before it served"
        self.facts = json.loads(line)
        self.port = int(self.facts["url"].rsplit(":", 1)[1].strip("/"))

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(120)
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    @contextlib.contextmanager
    def xenapi(self) -> Iterator[Any]:
        """Log in with the pool's own client: `xenapi.VM.get_all_records()`."""
        session = XenAPI.Session(self.facts["url"])
        session.xenapi.login_with_password(
            self.facts["user"], self.facts["password"], "1.0", "test"
        )
        try:
            yield session.xenapi
        finally:
            session.xenapi.session.logout()
            session("close")()

    def import_vm(self, name: str, *images: Path, tags: Sequence[str] = ()) -> None:
        tagging = [word for tag in tags for word in ("--tag", tag)]
        self._run("import", name, *map(str, images), *tagging)

    def write(self, vm: str, disk: int, changes: Iterable[tuple[int, bytes]]) -> None:
        """What a guest writes: (offset, bytes). By the lab's own entrance: a process for each
        of a thousand writes would take longer than everything else."""
        running = RunningLab(str(self.directory))
        for offset, content in changes:
            place: dict[str, str | int] = {"vm": vm, "disk": disk, "offset": offset}
            running.ask("PUT", "/lab/write", place, content)

    def _run(self, *words: str) -> None:
        command = self._command(words[0])
        subprocess.run([*command, *words[1:]], check=True, stdout=subprocess.DEVNULL, timeout=300)

    def _command(self, verb: str) -> list[str]:
        return [sys.executable, "-m", "reconciler", "lab", verb, "--dir", str(self.directory)]


@dataclass
class Ext4Disk:
    """A real file system on a raw image, changed through a real mount."""

    path: Path

    @classmethod
    def make(cls, path: Path, size_mib: int, contents: Path) -> "Ext4Disk":
        command = ["mke2fs", "-q", "-t", "ext4", "-F", "-d", str(contents), str(path)]
        subprocess.run([*command, f"{size_mib}M"], check=True, timeout=300)
        return cls(path)

    @contextlib.contextmanager
    def mounted(self, *options: str) -> Iterator[Path]:
        point = self.path.with_suffix(".mounted")
        point.mkdir(exist_ok=True)
        choices = ",".join(["loop", *options])
        subprocess.run(["mount", "-o", choices, str(self.path), str(point)], check=True)
        try:
            yield point
        finally:
            subprocess.run(["umount", str(point)], check=True)

    def check(self) -> None:
        """Fail unless the file system is clean without replaying anything."""
        subprocess.run(["e2fsck", "-fn", str(self.path)], check=True, stdout=subprocess.DEVNULL)

    def tree(self) -> dict[str, str]:
        """Every path with its kind, mode and content."""
        with self.mounted("ro") as point:
            return {
                str(path.relative_to(point)): _describe(path) for path in sorted(point.rglob("*"))
            }

    def copy(self, path: Path) -> "Ext4Disk":
        subprocess.run(["cp", "--sparse=always", str(self.path), str(path)], check=True)
        return Ext4Disk(path)

    def changes_since(self, other: "Ext4Disk", step: int = MIB // 16) -> list[tuple[int, bytes]]:
        """Where this image differs from another of its size: (offset, bytes), runs joined."""
        runs: list[tuple[int, bytearray]] = []
        with self.path.open("rb") as new, other.path.open("rb") as old:
            offset = 0
            while piece := new.read(step):
                if piece != old.read(step):
                    if runs and runs[-1][0] + len(runs[-1][1]) == offset:
                        runs[-1][1].extend(piece)
                    else:
                        runs.append((offset, bytearray(piece)))
                offset += len(piece)
        return [(start, bytes(content)) for start, content in runs]


def _describe(path: Path) -> str:
    facts = path.lstat()
    mode = f"{stat.filemode(facts.st_mode)} {facts.st_uid}:{facts.st_gid}"
    if path.is_symlink():
        return f"{mode} -> {os.readlink(path)}"
    if stat.S_ISREG(facts.st_mode):
        return f"{mode} {hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()}"
    return mode


def file_tree_size(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        return sum(inner.lstat().st_size for inner in path.rglob("*"))
    return path.lstat().st_size


def manifests(directory: Path, facts: dict[str, str], remote: Path, job: str) -> Path:
    """Write the manifests of one pool, one remote and one job; return their directory."""
    directory.mkdir(parents=True, exist_ok=True)
    remote.mkdir(parents=True, exist_ok=True)
    (directory / "password").write_text(facts["password"], encoding="utf-8")
    (directory / "world.yaml").write_text(
        textwrap.dedent(f"""\
        apiVersion: backup.reconciler.io/v1alpha1
        kind: XenPool
        metadata: {{name: lab}}
        spec:
          urls: ["{facts["url"]}"]
          username: {facts["user"]}
          passwordFrom: {{file: "{directory / "password"}"}}
        ---
        apiVersion: backup.reconciler.io/v1alpha1
        kind: BackupRemote
        metadata: {{name: cellar}}
        spec:
          local: {{path: "{remote}"}}
        """),
        encoding="utf-8",
    )
    (directory / "job.yaml").write_text(textwrap.dedent(job), encoding="utf-8")
    return directory


@dataclass
class Operator:
    """The operator as a process, with a stepped clock; see operate.py."""

    manifests: Path
    log: Path
    last_instant: str = ""

    def run(self, *instants: str) -> list[dict[str, Any]]:
        """Run to the end; return what it said after each instant."""
        self.last_instant = instants[-1]
        process = self.start(*instants)
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0, self.log.read_text(encoding="utf-8")[-4000:]
        return [json.loads(line) for line in output.splitlines()]

    def start(self, *instants: str) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("operate.py")
        command = [sys.executable, str(script), str(self.manifests), *instants]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)


@dataclass
class Site:
    """Manifests, a remote and an operator for one lab."""

    lab: LabProcess
    manifests: Path
    remote: Path
    operator: Operator

    def fingerprint(self) -> dict[str, object]:
        """All that a reconciler could change: files on the remote, records of the pool."""
        files: dict[str, object] = {
            str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns, path.lstat().st_size)
            for path in sorted(self.remote.rglob("*"))
            if ".reconciler" not in path.parts  # where a start finds out what the remote can do
        }
        kinds = ("VM", "VDI", "VBD", "VIF", "SR", "pool")
        with self.lab.xenapi() as xenapi:
            records = {kind: getattr(xenapi, kind).get_all_records() for kind in kinds}
        return {**files, **records}

    def check_at_rest(self) -> None:
        """Fail if an operator that starts with nothing to do changes anything."""
        if self.operator.last_instant:
            before = self.fingerprint()
            self.operator.run(self.operator.last_instant)
            assert self.fingerprint() == before

    def restore(self, point: dict[str, Any], disk: str, output: Path) -> None:
        """Restore a disk by the command line, to a raw file."""
        command = [sys.executable, "-m", "reconciler", "restore"]
        name = f"{point['vm']}/{point['stamp']}@{point['remote']}"
        words = [name, str(self.manifests), "--disk", disk, "--to-file", str(output)]
        subprocess.run([*command, *words], check=True, capture_output=True, timeout=300)


def nightly(last: int) -> str:
    """The manifest of a job that runs at two every night and keeps so many points."""
    return f"""\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata: {{name: nightly}}
spec:
  poolRefs: [{{name: lab}}]
  selector: {{matchTags: [prod]}}
  targets: [{{remoteRef: {{name: cellar}}}}]
  schedules: [{{name: night, cron: "0 2 * * *", timeZone: UTC, retention: {{last: {last}}}}}]
"""
