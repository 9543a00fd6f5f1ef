"""What a kubelet does with the pod of a Job, asked of a real one and of what stands in for it.

The stand-in's half always runs, so that the tests which use it can rely on each of these; the
kubelet's half says that they are true (RECONCILER_TESTS_KUBELET=1).
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from clusters import Kubectl, Namespace
from node import Node, NodeRunner
from operators import until
from pod_runner import running_pods

from reconciler.kube.job_body import has_ended

pytestmark = pytest.mark.xdist_group("kubelet")

NAME = "work"
SUCCEEDED = "Reached expected number of succeeded pods"
FAILED = "Job has reached the specified backoff limit"
HOLD = "exec 9<> {data}/held; echo begun > {data}/begun; "
WAIT = "while :; do sleep 0.1; done"


class Runner(Protocol):
    """image: one that has a shell, wherever the runner takes it from."""

    image: str
    namespace: Namespace

    def log(self, name: str, /) -> str: ...
    def kill(self, name: str, /) -> None: ...


@pytest.fixture(params=["stand-in", "kubelet"])
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runner]:
    if request.param == "kubelet":
        node: Node = request.getfixturevalue("node")
        yield NodeRunner(node, node.cluster.namespace())
    else:
        request.getfixturevalue("controllers")
        with running_pods(request.getfixturevalue("namespace"), tmp_path) as pods:
            yield pods


@pytest.fixture
def kubectl(runner: Runner) -> Kubectl:
    return runner.namespace.kubectl


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory that is a volume of the pod, under the same path, with a pipe in it."""
    made = tmp_path / "data"
    made.mkdir()
    os.mkfifo(made / "held")
    return made


def start(runner: Runner, script: str, data: Path, **more: Any) -> None:
    """Make a Job as the operator does: tried once, and one container that is called worker."""
    mounts = [{"name": "data", "mountPath": str(data)}, *more.pop("mounts", ())]
    volumes = [{"name": "data", "hostPath": {"path": str(data)}}, *more.pop("volumes", ())]
    container = {
        "name": "worker",
        "image": runner.image,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script.replace("{data}", str(data))],
        "volumeMounts": mounts,
        **more.pop("container", {}),
    }
    pod = {
        "restartPolicy": "Never",
        "hostNetwork": True,
        "containers": [container],
        "volumes": volumes,
        **more,
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": NAME},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }
    runner.namespace.kubectl.apply(json.dumps(job))


def ended(kubectl: Kubectl, condition: str) -> str:
    """Wait for a Job's end; return what the operator reads of it."""
    kubectl("wait", f"--for=condition={condition}", f"job/{NAME}", "--timeout=120s")
    said = has_ended(kubectl.json("get", "job", NAME))
    assert said is not None
    return said


def pod_of(kubectl: Kubectl) -> dict[str, Any]:
    (pod,) = kubectl.json("get", "pods")["items"]
    return pod


def ending_of(pod: dict[str, Any]) -> tuple[str, int, str]:
    """Its phase, and its container's code and reason."""
    (container,) = pod["status"]["containerStatuses"]
    terminated = container["state"]["terminated"]
    return pod["status"]["phase"], terminated["exitCode"], terminated["reason"]


def begin(runner: Runner, script: str, data: Path, **more: Any) -> str:
    """Start a Job that holds the pipe for as long as it lives, and wait until it does."""
    start(runner, HOLD + script, data, **more)
    until((data / "begun").exists)
    assert is_alive(data)
    kubectl = runner.namespace.kubectl
    until(lambda: pod_of(kubectl)["status"]["phase"] == "Running")
    assert has_ended(kubectl.json("get", "job", NAME)) is None
    return pod_of(kubectl)["metadata"]["name"]


def is_alive(data: Path) -> bool:
    pipe = os.open(data / "held", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return bool(os.read(pipe, 1))  # nobody has it open for writing
    except BlockingIOError:
        return True
    finally:
        os.close(pipe)


def await_gone(kubectl: Kubectl, pod: str) -> None:
    kubectl("wait", "--for=delete", f"pod/{pod}", "--timeout=120s")


def test_what_ends_well_is_a_job_that_is_complete(
    runner: Runner, kubectl: Kubectl, data: Path
) -> None:
    start(runner, "echo moved", data)
    assert ended(kubectl, "Complete") == SUCCEEDED
    pod = pod_of(kubectl)
    assert ending_of(pod) == ("Succeeded", 0, "Completed")
    assert runner.log(pod["metadata"]["name"]).splitlines() == ["moved"]


def test_what_ends_badly_is_a_job_that_failed_and_is_not_tried_again(
    runner: Runner, kubectl: Kubectl, data: Path
) -> None:
    start(runner, "echo no space >&2; exit 3", data)
    assert ended(kubectl, "Failed") == FAILED
    pod = pod_of(kubectl)
    assert ending_of(pod) == ("Failed", 3, "Error")
    assert runner.log(pod["metadata"]["name"]).splitlines() == ["no space"]


def test_what_is_killed_ended_without_a_word(runner: Runner, kubectl: Kubectl, data: Path) -> None:
    runner.kill(begin(runner, WAIT, data))
    assert ended(kubectl, "Failed") == FAILED
    assert ending_of(pod_of(kubectl)) == ("Failed", 137, "Error")
    until(lambda: not is_alive(data))


def test_a_job_that_is_deleted_has_time_to_tidy_up(
    runner: Runner, kubectl: Kubectl, data: Path
) -> None:
    tidy = f"trap 'sleep 1; echo tidied > {data}/tidied; exit 0' TERM; "
    pod = begin(runner, tidy + WAIT, data)
    kubectl("delete", "job", NAME)
    await_gone(kubectl, pod)
    assert (data / "tidied").exists()
    until(lambda: not is_alive(data))


def test_what_does_not_end_when_asked_is_killed(
    runner: Runner, kubectl: Kubectl, data: Path
) -> None:
    stubborn = f"trap 'echo asked > {data}/asked' TERM; "
    pod = begin(runner, stubborn + WAIT, data, terminationGracePeriodSeconds=2)
    kubectl("delete", "job", NAME)
    await_gone(kubectl, pod)
    assert (data / "asked").exists()
    until(lambda: not is_alive(data))


def test_a_pod_that_is_deleted_is_a_job_that_failed(
    runner: Runner, kubectl: Kubectl, data: Path
) -> None:
    pod = begin(runner, "trap 'exit 143' TERM; " + WAIT, data)
    kubectl("delete", "pod", pod, "--wait=false")
    assert ended(kubectl, "Failed") == FAILED
    await_gone(kubectl, pod)
    assert kubectl.json("get", "pods")["items"] == []


def test_it_is_given_what_the_pod_says_and_nothing_of_ours(
    runner: Runner, kubectl: Kubectl, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "ours")
    kubectl("create", "secret", "generic", "keys", "--from-literal=password=s3cret")
    keys, scratch = data.parent / "keys", data.parent / "scratch"
    said = 'echo "$PLAIN $PASSWORD $password $POD $OURS" > {data}/environment; '
    files = f"cat {keys}/password > {scratch}/kept; cat {scratch}/kept > {{data}}/file"
    reference = {"secretKeyRef": {"name": "keys", "key": "password"}}
    environment = [
        {"name": "PLAIN", "value": "plain"},
        {"name": "PASSWORD", "valueFrom": reference},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    start(
        runner,
        said + files,
        data,
        container={"env": environment, "envFrom": [{"secretRef": {"name": "keys"}}]},
        volumes=[
            {"name": "keys", "secret": {"secretName": "keys"}},
            {"name": "scratch", "emptyDir": {}},
        ],
        mounts=[
            {"name": "keys", "mountPath": str(keys), "readOnly": True},
            {"name": "scratch", "mountPath": str(scratch)},
        ],
    )
    ended(kubectl, "Complete")
    pod = pod_of(kubectl)["metadata"]["name"]
    assert (data / "environment").read_text().split() == ["plain", "s3cret", "s3cret", pod]
    assert (data / "file").read_text() == "s3cret"
