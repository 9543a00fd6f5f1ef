"""Stands in for scheduler and kubelet: pods of Jobs run as processes of this machine.

Everything else about a Job is real: the Job controller makes the pods, counts how they end and says
so in the Job's status; the garbage collector takes them away. A pod's process gets the identity of
the pod's service account and nothing of the test's. What a kubelet does beside, `test_runners.py`
asks of both. It is no container: volumes lie where the pod mounts them, in directories of the test.
"""

import base64
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from clusters import Namespace

_LOOK_S = 0.3
_SIGNALLED = 128
_PROGRAM = (sys.executable, "-m", "reconciler")
"""What the operator's image runs, whatever image a pod names."""


@dataclass
class _Asked:
    """A process that was asked to end, and when it is killed."""

    process: "subprocess.Popen[bytes]"
    until_s: float


@dataclass
class PodRunner:
    """pods: the processes of all pods that were seen, by name."""

    namespace: Namespace
    client: httpx.Client
    area: Path
    pods: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    image: str = "any:1"
    _asked: dict[str, _Asked] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def node(self) -> str:
        return f"node-of-{self.namespace.name}"

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
            if name not in self._ended:
                self._look_at(name, process, listed.get(name))

    def log(self, name: str) -> str:
        return (self.area / f"{name}.log").read_text()

    def kill(self, name: str) -> None:
        """As the kernel does when memory runs out."""
        self.pods[name].kill()

    def stop(self) -> None:
        self._over.set()
        for process in self.pods.values():
            _end_at_once(process)

    def _look_at(
        self, name: str, process: "subprocess.Popen[bytes]", pod: dict[str, Any] | None
    ) -> None:
        if pod is None:  # deleted by force, or its node was
            _end_at_once(process)
            self._ended.add(name)
        elif (code := process.poll()) is not None:
            _end_at_once(process)
            self._say(name, "Failed" if code else "Succeeded", _terminated(code))
            if pod["metadata"].get("deletionTimestamp"):
                self._delete(name, pod)
            self._ended.add(name)
        elif pod["metadata"].get("deletionTimestamp"):
            self._ask_to_end(name, process, pod["metadata"]["deletionGracePeriodSeconds"])

    def _ask_to_end(self, name: str, process: "subprocess.Popen[bytes]", grace_s: float) -> None:
        if name not in self._asked:
            process.send_signal(signal.SIGTERM)
            self._asked[name] = _Asked(process, time.monotonic() + grace_s)
        elif time.monotonic() > self._asked[name].until_s:
            process.kill()

    def _start(self, name: str, pod: dict[str, Any]) -> None:
        (container,) = pod["spec"]["containers"]
        account = self.namespace.as_account(pod["spec"].get("serviceAccountName", "default"))
        self._bind(name)
        self._lay(pod["spec"].get("volumes", ()), container.get("volumeMounts", ()))
        given = self._environment(container, pod)
        with (self.area / f"{name}.log").open("wb") as log:
            self.pods[name] = subprocess.Popen(
                [*container.get("command", _PROGRAM), *container.get("args", ())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.area,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
                | account.environment
                | given,
                start_new_session=True,
            )
        self._say(name, "Running", {"running": {}})

    def _environment(self, container: dict[str, Any], pod: dict[str, Any]) -> dict[str, str]:
        given: dict[str, str] = {}
        for each in container.get("envFrom", ()):
            given |= self._secret(each["secretRef"]["name"])
        for each in container.get("env", ()):
            match each:
                case {"value": text}:
                    given[each["name"]] = text
                case {"valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}:
                    given[each["name"]] = self._secret(secret)[key]
                case {"valueFrom": {"fieldRef": {"fieldPath": path}}}:
                    given[each["name"]] = pod["metadata"][path.removeprefix("metadata.")]
        return given

    def _lay(self, volumes: Any, mounts: Any) -> None:
        places = {each["name"]: Path(each["mountPath"]) for each in mounts}
        for volume in volumes:
            place = places[volume["name"]]
            match volume:
                case {"hostPath": {"path": path}}:
                    assert path == str(place), f"{place} is no other directory here: {path}"
                case {"emptyDir": _}:
                    place.mkdir(exist_ok=True)
                case {"secret": {"secretName": secret}}:
                    place.mkdir()
                    for key, text in self._secret(secret).items():
                        (place / key).write_text(text)

    def _secret(self, name: str) -> dict[str, str]:
        answer = self.client.get(f"/api/v1/namespaces/{self.namespace.name}/secrets/{name}")
        answer.raise_for_status()
        encoded = answer.json()["data"]
        return {key: base64.b64decode(text).decode() for key, text in encoded.items()}

    def register(self) -> None:
        """Make the node: pods of a node that is not there are taken for lost."""
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.node}}
        self.client.post("/api/v1/nodes", json=body).raise_for_status()

    def leave(self) -> None:
        self.client.delete(f"/api/v1/nodes/{self.node}")

    def _bind(self, name: str) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.node},
        }
        self.client.post(f"{self._path(name)}/binding", json=body).raise_for_status()

    def _delete(self, name: str, pod: dict[str, Any]) -> None:
        """Its end was waited for: nothing holds it any more but who still counts it."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": pod["metadata"]["uid"]},
        }
        self.client.request("DELETE", self._path(name), json=body)

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


def _terminated(code: int) -> dict[str, Any]:
    ending = {"exitCode": code if code >= 0 else _SIGNALLED - code}
    return {"terminated": {**ending, "reason": "Error" if code else "Completed"}}


def _end_at_once(process: "subprocess.Popen[bytes]") -> None:
    """Kill it, and what it started: with a container's first process all others go."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def running_pods(namespace: Namespace, area: Path) -> Iterator[PodRunner]:
    with namespace.cluster.client() as client:
        runner = PodRunner(namespace, client, area)
        runner.register()
        thread = threading.Thread(target=runner.run, name="pods")
        thread.start()
        try:
            yield runner
        finally:
            runner.stop()
            thread.join()
            runner.leave()
