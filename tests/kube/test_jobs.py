"""execution: KubernetesJobs on a real API server with its real Job controller."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import Namespace
from kube_estate import JOB, MIB, VERIFIED, Estate, make_estate
from operators import operators, until
from pod_runner import running_pods

from reconciler.lab.transfers import EXPORT

WORKERS = "backup.reconciler.io/worker=true"
TEMPLATE = """\
spec:
  serviceAccountName: worker
  containers:
    - name: worker
      image: registry.example.net/reconciler:1
"""


@pytest.fixture
def slow(namespace: Namespace, tmp_path: Path) -> Iterator[Estate]:
    made = make_estate(namespace, tmp_path, bandwidth_bytes_per_s=MIB // 4)
    yield made
    made.lab.close()


@pytest.fixture
def options(slow: Estate) -> tuple[str, ...]:
    """Of the operator; the worker's account may read secrets, and read and note on Jobs."""
    kubectl = slow.kubectl
    kubectl("create", "serviceaccount", "worker")
    kubectl("create", "role", "secrets", "--verb=get", "--resource=secrets")
    kubectl("create", "role", "jobs", "--verb=get,patch", "--resource=jobs")
    for role in ("secrets", "jobs"):
        account = f"--serviceaccount={slow.namespace.name}:worker"
        kubectl("create", "rolebinding", role, f"--role={role}", account)
    path = slow.root / "worker.yaml"
    path.write_text(TEMPLATE)
    return ("--execution", "KubernetesJobs", "--worker-template", str(path))


def test_a_job_moves_the_bytes_heals_and_outlives_its_operator(
    controllers: None, slow: Estate, options: tuple[str, ...]
) -> None:
    kubectl, namespace = slow.kubectl, slow.namespace
    with running_pods(namespace, slow.root) as pods:
        with operators(kubectl, namespace.name, slow.root, 1, *options) as (operator,):
            kubectl.apply(slow.places + JOB)
            first = until(lambda: next(iter(pods.pods), ""))
            until(lambda: is_moving(slow))
            pods.kill(first)
            # The Job has failed in the cluster's eyes; the plan makes another.
            kubectl("wait", "--for=condition=Failed", "job", "-l", WORKERS, "--timeout=120s")
            second = until(lambda: next((name for name in pods.pods if name != first), ""))
            until(lambda: streams(slow) == 2)
            operator.kill()
        with operators(kubectl, namespace.name, slow.root, 1, *options):
            slow.wait("jsonpath={.status.protectedVMs.summary}=1/1", "bj/nightly")
            kubectl.apply(VERIFIED)
            slow.wait("jsonpath={.status.proofs.summary}=1/1", "bj/nightly")
            slow.wait("condition=ProofFresh", "bj/nightly")
            slow.wait("condition=ProofFresh", "pvm", "--all")
    jobs = kubectl.json("get", "jobs", "-l", WORKERS)["items"]
    ended = [(verb_of(job), job["status"].get("succeeded", 0)) for job in jobs]
    exports, proofs = sorted(ended)[:-1], sorted(ended)[-1:]
    assert exports == [("export", 0), ("export", 1)], (
        "the new operator waited for the old one's Job"
    )
    assert proofs == [("verify", 1)]
    assert slow.proven == slow.points
    assert slow.served.password not in str(jobs)
    assert '"event": "action started"' in pods.log(second)
    assert len(slow.points) == 1
    assert slow.is_restored_from(slow.points[-1])


def verb_of(job: dict[str, Any]) -> str:
    return str(job["metadata"]["name"].split("-")[1])


def is_moving(estate: Estate) -> bool:
    return any(one.kind == EXPORT and one.blocks for one in estate.lab.transfers.all)


def streams(estate: Estate) -> int:
    return sum(one.kind == EXPORT for one in estate.lab.transfers.all)
