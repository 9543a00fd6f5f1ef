"""`reconciler operator` as processes of their own, which can be stopped, continued and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clusters import Kubectl

T = TypeVar("T")

PATIENCE_S = 180.0


def until(condition: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Wait until something is so; return what it is."""
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


@dataclass
class OperatorProcess:
    """log: what it says, JSON lines."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def stand_still(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """As the kubelet does."""
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def said(self, event: str, field: str) -> str:
        """A field of the newest line of its log that says this; "" before that."""
        for line in reversed(self.log.read_text().splitlines()):
            if f'"event": "{event}"' in line and line.endswith("}"):
                return str(json.loads(line)[field])
        return ""

    def has_said(self, event: str) -> bool:
        return f'"event": "{event}"' in self.log.read_text()


@contextmanager
def operators(
    kubectl: Kubectl, namespace: str, root: Path, count: int = 1, *options: str
) -> Iterator[list[OperatorProcess]]:
    """Replicas in one namespace, which is theirs as well. They die with the test."""
    started = []
    try:
        for number in range(count):
            log = root / f"operator-{number}.log"
            words = ("operator", "-n", namespace, "--home", namespace)
            state = ("--state", str(root / f"state-{number}"))
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "reconciler", *words, *state, *options],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=os.environ | kubectl.environment,
                )
            started.append(OperatorProcess(process, log))
        yield started
    finally:
        for each in started:
            with suppress(ProcessLookupError):
                each.go_on()
                each.kill()


def holder(kubectl: Kubectl) -> int:
    """The process id of the one that leads; 0 for nobody."""
    path = "jsonpath={.spec.holderIdentity}"
    text = kubectl("get", "lease", "reconciler", "-o", path, "--ignore-not-found")
    return int(text.split("/")[1]) if text else 0


def leader_among(replicas: list[OperatorProcess], kubectl: Kubectl) -> OperatorProcess:
    """Wait until one of them leads."""
    pids = {each.pid: each for each in replicas}
    return pids[until(lambda: (pid := holder(kubectl)) in pids and pid)]
