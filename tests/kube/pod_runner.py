"""Stands in for scheduler and kubelet: pods of Jobs run as processes of this machine.

Everything else about a Job is real: the Job controller makes the pods, counts how they end and says
so in the Job's status; the garbage collector takes them away. A pod's process gets the identity of
the pod's service account and nothing of the test's; it is asked to end when its pod is deleted.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from clusters import Namespace

_LOOK_S = 0.3
_GRACE_S = 20.0


@dataclass
class PodRunner:
    """pods: the processes of all pods that were seen, by name."""

    namespace: Namespace
    client: httpx.Client
    area: Path
    pods: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._over.wait(_LOOK_S):
            with suppress(httpx.HTTPError):
                self.look()

    def look(self) -> None:
        answer = self.client.get(self._path(), params={"labelSelector": "job-name"})
        answer.raise_for_status()
        listed = {each["metadata"]["name"]: each for each in answer.json()["items"]}
        for name, pod in listed.items():
            if name not in self.pods and not pod["metadata"].get("deletionTimestamp"):
                self._start(name, pod)
        for name, process in self.pods.items():
            if name in self._ended:
                continue
            if name not in listed or listed[name]["metadata"].get("deletionTimestamp"):
                self._end(process)
                self._ended.add(name)
            elif (code := process.poll()) is not None:
                state = {"terminated": {"exitCode": code if code >= 0 else 128 - code}}
                self._say(name, "Failed" if code else "Succeeded", state)
                self._ended.add(name)

    def log(self, name: str) -> str:
        return (self.area / f"{name}.log").read_text()

    def kill(self, name: str) -> None:
        """As the kernel does when memory runs out."""
        self.pods[name].kill()

    def stop(self) -> None:
        self._over.set()
        for process in self.pods.values():
            process.kill()
            process.wait()

    def _start(self, name: str, pod: dict[str, Any]) -> None:
        (container,) = pod["spec"]["containers"]
        account = self.namespace.as_account(pod["spec"]["serviceAccountName"])
        given = {each["name"]: each["value"] for each in container.get("env", ())}
        with (self.area / f"{name}.log").open("wb") as log:
            self.pods[name] = subprocess.Popen(
                [sys.executable, "-m", "reconciler", *container["args"]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.area,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
                | account.environment
                | given,
            )
        self._say(name, "Running", {"running": {}})

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()

    def _say(self, name: str, phase: str, state: dict[str, Any]) -> None:
        statuses = [
            {"name": "worker", "ready": False, "restartCount": 0, "image": "", "imageID": ""}
        ]
        statuses[0]["state"] = state
        body = {"status": {"phase": phase, "containerStatuses": statuses}}
        headers = {"Content-Type": "application/merge-patch+json"}
        self.client.patch(f"{self._path(name)}/status", json=body, headers=headers)

    def _path(self, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.namespace.name}/pods" + (f"/{name}" if name else "")


@contextmanager
def running_pods(namespace: Namespace, area: Path) -> Iterator[PodRunner]:
    with namespace.cluster.client() as client:
        runner = PodRunner(namespace, client, area)
        thread = threading.Thread(target=runner.run, name="pods")
        thread.start()
        try:
            yield runner
        finally:
            runner.stop()
            thread.join()
