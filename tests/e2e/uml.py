"""A machine in user-mode Linux, for what this kernel may not have: NFS and SMB clients.

It starts in seconds, needs no virtualisation, and sees this machine's files as its own root. Its
only network is a tap device in a network namespace of the test's.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HOST, GUEST, PREFIX = "10.77.0.1", "10.77.0.2", 24
MEMORY = "768M"
ROOT = Path(__file__).resolve().parents[2]
INIT = ROOT / "tests" / "servers" / "guest_init.py"


class NotHere(Exception):
    """What the tests of real servers need is not here; the message says what to do."""


def require(*programs: str) -> None:
    """Raises NotHere unless we are root and the programs are there."""
    if os.geteuid() != 0:
        raise NotHere("real servers need root; run as root, or deselect with -m 'not servers'")
    for device in ("/dev/net/tun", "/dev/fuse"):
        if not Path(device).exists():
            raise NotHere(f"there is no {device} here; deselect with -m 'not servers'")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise NotHere(f"missing: {', '.join(missing)}; `make tools` installs them")


@contextlib.contextmanager
def namespace(name: str) -> Iterator[str]:
    """A network namespace with a tap device; programs in it are reached at HOST."""
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in (
            "link set lo up",
            "tuntap add dev tap0 mode tap",
            f"address add {HOST}/{PREFIX} dev tap0",
            "link set tap0 up",
        ):
            subprocess.run(["ip", "-n", name, *words.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@dataclass
class Guest:
    """asks, answers: the serial line. is_spoiled: a program is at work in it, or ended badly; then
    nobody knows how its kernel is.
    """

    release: str
    asks: IO[str]
    answers: IO[str]
    is_spoiled: bool = False

    def lines(self, *command: str, env: dict[str, str] | None = None) -> Iterator[str]:
        """Run a program; give its lines as they come. Raises AssertionError if it fails."""
        request = {"run": command, "env": env or {}, "cwd": str(ROOT)}
        self.asks.write(json.dumps(request) + "\n")
        self.asks.flush()
        self.is_spoiled = True
        said: list[str] = []
        for answer in map(json.loads, self.answers):
            if "said" in answer:
                said.append(answer["said"])
                yield answer["said"]
            else:
                shown = "\n".join(said)
                assert answer["status"] == 0, f"{command} ended with {answer}:\n{shown}"
                self.is_spoiled = False
                return
        raise AssertionError(f"the machine ended during {command}:\n" + "\n".join(said))

    def run(self, *command: str, env: dict[str, str] | None = None) -> list[str]:
        return list(self.lines(*command, env=env))

    def python(self, *arguments: str, env: dict[str, str] | None = None) -> Iterator[str]:
        own = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
        return self.lines(sys.executable, *arguments, env={**own, **(env or {})})


@contextlib.contextmanager
def guest(network: str, area: Path) -> Iterator[Guest]:
    """Boot a machine. area: a directory for its memory and console."""
    init = area / "init"
    address = f"{GUEST}/{PREFIX}"
    words = ["exec", sys.executable, str(INIT), address]
    init.write_text(f"#!/bin/sh\nexport PYTHONDONTWRITEBYTECODE=1\n{' '.join(words)}\n")
    init.chmod(0o755)
    asked, asks = os.pipe()
    answers, answered = os.pipe()
    command: Sequence[str] = [
        *("ip", "netns", "exec", network, "linux.uml"),
        *(f"mem={MEMORY}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet"),
        *(f"init={init}", "con0=null,fd:1", "con=null", f"ssl0=fd:{asked},fd:{answered}"),
        "vec0:transport=tap,ifname=tap0,depth=128,gro=1",
    ]
    console = area / "console"
    with console.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(asked, answered),
            env={"PATH": os.environ["PATH"], "TMPDIR": str(area), "HOME": str(area)},
            start_new_session=True,
        )
    os.close(asked)
    os.close(answered)
    with os.fdopen(asks, "w") as to_guest, os.fdopen(answers, "r") as from_guest:
        try:
            first = from_guest.readline()
            if not first or "ready" not in json.loads(first):
                said = console.read_text(errors="replace")[-4000:]
                raise AssertionError(f"the machine did not start: {first}\n{said}")
            yield Guest(json.loads(first)["ready"], to_guest, from_guest)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own processes are ours to see, too
            process.wait()
