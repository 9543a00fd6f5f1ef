"""A lab in a process of its own, and the command line to try on it, in this process or another."""

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.main import execute

HERE = Path(__file__).parent
MIB = 1024 * 1024
HOSTILE = "web\x1b[2J[red]"

JOB = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata: {name: nightly}
spec:
  poolRefs: [{name: lab}]
  selector: {matchTags: [prod]}
  targets: [{remoteRef: {name: cellar}}]
  schedules: [{name: night, cron: "0 2 * * *", retention: {last: 3}}]
"""


PLACES = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: XenPool
metadata: {{name: lab}}
spec:
  urls: ["{url}"]
  username: {user}
  passwordFrom: {{env: LAB_PASSWORD}}
---
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRemote
metadata: {{name: cellar}}
spec:
  local: {{path: "{remote}"}}
"""


def content(seed: int) -> bytes:
    """Three MiB of which the middle one is empty."""
    block = bytes((seed + index) % 251 + 1 for index in range(4096)) * (MIB // 4096)
    return block + bytes(MIB) + block


@dataclass(frozen=True)
class Ran:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass
class Running:
    """A command at work. What it writes goes to a file, so that nothing ever waits for a reader."""

    process: subprocess.Popen[bytes]
    path: Path

    def log(self) -> str:
        return self.path.read_text()

    def until(self, condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
        """Wait for something to be so; the only clock that a process of its own has is the real."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def says(self, words: str, timeout_s: float = 120.0) -> None:
        self.until(lambda: words in self.log(), timeout_s)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(120)


@dataclass
class World:
    """A lab in a process of its own, its manifests and a remote, and the program to try on them."""

    root: Path
    job = JOB
    hostile = HOSTILE
    content = staticmethod(content)
    lab: subprocess.Popen[bytes] | None = None
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def manifests(self) -> Path:
        return self.root / "manifests"

    @property
    def remote(self) -> Path:
        return self.root / "remote"

    def start(self, disks: dict[str, list[bytes]]) -> None:
        self.root.mkdir(exist_ok=True)
        (self.root / "lab").mkdir()
        for name, contents in disks.items():
            self.import_vm(name, *contents)
        self.lab = subprocess.Popen(
            [sys.executable, "-m", "reconciler", "lab", "up", "--dir", str(self.root / "lab")],
            stdout=subprocess.PIPE,
        )
        assert self.lab.stdout is not None
        self.facts = json.loads(self.lab.stdout.readline())
        self.remote.mkdir()
        self.manifests.mkdir()
        (self.manifests / "places.yaml").write_text(self.places())
        (self.manifests / "job.yaml").write_text(JOB)

    def import_vm(self, name: str, *contents: bytes) -> None:
        images = []
        for number, disk in enumerate(contents):
            images.append(self.root / f"image-{number}")
            images[-1].write_bytes(disk)
        self._lab("import", name, *images, "--tag", "prod")

    def stop(self) -> None:
        if self.lab is not None:
            self.lab.send_signal(signal.SIGTERM)
            self.lab.wait(120)
            assert self.lab.stdout is not None
            self.lab.stdout.close()

    def run(self, *words: object) -> Ran:
        """Run the command line in this process: importing everything anew takes a second."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), self._environment():
            code = execute([str(word) for word in words])
        return Ran(code, out.getvalue(), err.getvalue())

    @contextmanager
    def _environment(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LAB_PASSWORD", self.facts["password"])
            patch.setenv("RECONCILER_STATE", str(self.root / "state"))
            yield

    @contextmanager
    def running(self, *words: object, ends: tuple[int, ...] = (0,)) -> Iterator["Running"]:
        """Run the command line in a process of its own; end it by SIGTERM if nobody did."""
        with self._environment(), (self.root / "log").open("w+") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "reconciler", *map(str, words)],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        running = Running(process, self.root / "log")
        try:
            yield running
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(120)
            finally:
                process.kill()
        assert code in ends, running.log()

    def places(self, *, url: str = "", remote: Path | None = None) -> str:
        """Manifests of the pool and the remote."""
        return PLACES.format(
            url=url or self.facts["url"],
            user=self.facts["user"],
            remote=remote or self.remote,
        )

    def points(self) -> int:
        return len(list(self.remote.glob("xo-vm-backups/*/*.json")))

    def snapshot_of_files(self) -> dict[str, int]:
        """Every file of the remote and of the state directory, with when it last changed."""
        roots = (self.remote, self.root / "state")
        paths = [path for root in roots for path in (root, *root.rglob("*"))]
        return {str(path): path.stat().st_mtime_ns for path in paths}

    def _lab(self, verb: str, *words: object) -> None:
        command = [sys.executable, "-m", "reconciler", "lab", verb, *map(str, words)]
        directory = ["--dir", str(self.root / "lab")]
        subprocess.run([*command, *directory], check=True, stdout=subprocess.DEVNULL, timeout=120)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever shares the world is run by one worker, or there would be two of it."""
    for item in items:
        if "world" in getattr(item, "fixturenames", ()) and item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.xdist_group("world"))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A lab with two VMs, each backed up once by `reconciler backup`; for tests that add little."""
    world = World(tmp_path_factory.mktemp("cli") / "world")
    try:
        world.start({HOSTILE: [content(1), content(2)], "db": [content(3)]})
        ran = world.run("backup", "nightly", world.manifests)
        assert ran.code == 0, ran.stderr
        assert len(ran.stdout.splitlines()) == 2
        yield world
    finally:
        world.stop()


@pytest.fixture
def new_world(tmp_path: Path) -> Iterator[World]:
    """A lab with one VM, never backed up, for this test alone."""
    world = World(tmp_path / "world")
    try:
        world.start({"db": [content(3)]})
        yield world
    finally:
        world.stop()
