"""The operator as it is shipped: its own arguments, its own account, its own role, and no more."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from clusters import Namespace
from kube_estate import JOB, Estate, make_estate, until
from rendering import Object, kustomized, objects_of, overlay

ACCOUNT = "reconciler"


@pytest.fixture
def estate(namespace: Namespace, tmp_path: Path) -> Iterator[Estate]:
    made = make_estate(namespace, tmp_path)
    yield made
    made.lab.close()


@pytest.fixture
def deployment(namespace: Namespace, tmp_path: Path) -> Object:
    """Apply `manifests/namespaced` to the namespace; return the operator's Deployment."""
    place = overlay(tmp_path / "overlay", "namespaced")
    with (place / "kustomization.yaml").open("a", encoding="utf-8") as file:
        file.write(f"namespace: {namespace.name}\n")
    namespace.kubectl("apply", "--validate=strict", "-k", str(place))
    return objects_of(kustomized(place))["Deployment", namespace.name, "reconciler"]


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@dataclass
class Shipped:
    """The operator as a process. log: what it says. port: where it listens."""

    process: "subprocess.Popen[bytes]"
    log: Path
    port: int

    def answers(self, path: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@contextmanager
def started(container: Object, namespace: Namespace, directory: Path) -> Iterator[Shipped]:
    """Run the container's arguments, with what a pod would have replaced by what is here."""
    port, log = free_port(), directory / "operator.log"
    args = container["args"]
    for shipped, ours in {
        "$(POD_NAMESPACE)": namespace.name,
        "/var/lib/reconciler": str(directory / "state"),
        "0.0.0.0:8080": f"127.0.0.1:{port}",
    }.items():
        assert any(shipped in one for one in args), shipped
        args = [one.replace(shipped, ours) for one in args]
    environment = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(namespace.as_account(ACCOUNT).kubeconfig),
        "POD_NAMESPACE": namespace.name,
        "POD_NAME": "reconciler-0",
    }
    command = [sys.executable, "-m", "reconciler", *args]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield Shipped(process, log, port)
        finally:
            process.send_signal(signal.SIGTERM)


async def test_a_whole_backup_with_what_is_shipped_and_nothing_else(
    estate: Estate, deployment: Object, tmp_path: Path
) -> None:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    with started(container, estate.namespace, tmp_path) as shipped:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            path = container[probe]["httpGet"]["path"]
            await until(lambda path=path: shipped.answers(path))
        estate.kubectl.apply(estate.places + JOB)
        estate.wait("condition=Ready", "bj/nightly")
        estate.wait("jsonpath={.status.protectedVMs.summary}=1/1", "bj/nightly")
        assert len(estate.points) == 1
        lease = estate.kubectl.json("get", "lease", "reconciler")
        assert lease["spec"]["holderIdentity"]
        reasons = {one["reason"] for one in estate.kubectl.json("get", "events")["items"]}
        assert "InSync" in reasons
    said = shipped.log.read_text()
    assert shipped.process.returncode == 0, said
    assert "forbidden" not in said.lower(), said
