"""The operator as it is run: a process of its own, with a Role and nothing else."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clusters import Kubectl, Namespace
from control_plane import ControlPlane
from kube_estate import JOB, PATIENCE_S, make_estate

ROLE = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: operator}
rules:
- apiGroups: [backup.reconciler.io]
  resources: ["*"]
  verbs: [get, list, watch]
- apiGroups: [backup.reconciler.io]
  resources: [xenpools/status, backupremotes/status, backupjobs/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
"""


def allowed(namespace: Namespace) -> Kubectl:
    """A service account that may do what an operator without others does, here and nowhere else."""
    namespace.kubectl.apply(ROLE)
    account = namespace.as_account("operator")
    binding = f"--serviceaccount={namespace.name}:operator"
    namespace.kubectl("create", "rolebinding", "operator", "--role=operator", binding)
    return account


@contextmanager
def running(
    as_whom: Kubectl, namespace: str, root: Path
) -> Iterator[tuple[subprocess.Popen, Path]]:
    log = root / "operator.log"
    words = ["operator", "-n", namespace, "--no-leader-election", "--state", str(root / "state")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", *words, "--listen", "127.0.0.1:0"],
            stderr=output,
            env={"PATH": "/usr/bin:/bin", **as_whom.environment},
        )
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], object], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def lines(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]


def answers(log: Path, path: str) -> bool:
    (address,) = [line["address"] for line in lines(log) if line["event"] == "listening"]
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=120) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_an_operator_outlives_the_api_server_and_obeys(
    make_plane: Callable[..., ControlPlane], tmp_path: Path
) -> None:
    plane = make_plane()
    namespace = plane.cluster.namespace("backups")
    estate = make_estate(namespace, tmp_path)
    with estate.lab, running(allowed(namespace), namespace.name, tmp_path) as (process, log):
        estate.kubectl.apply(estate.places + JOB)
        protected = "jsonpath={.status.protectedVMs.summary}=1/1"
        estate.wait(protected, "bj/nightly")
        until(lambda: answers(log, "/readyz"), log)
        assert len(estate.points) == 1

        plane.kill_api()
        assert answers(log, "/healthz")
        plane.start_api()
        estate.kubectl.apply(JOB.replace("runOnCreate: true", "suspend: true"))
        estate.wait("jsonpath={.status.protectedVMs.suspended}=1", "bj/nightly")
        estate.wait("jsonpath={.status.observedGeneration}=2", "bj/nightly")
        assert len(estate.points) == 1, "the picture before stayed in force"

        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        events = [line["event"] for line in lines(log)]
        assert events[-1] == "stopped"
        assert "status refused" not in events
        assert estate.served.password not in log.read_text()
