"""As in production: a kubelet runs the image that was built, as operator and as worker."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from image_builder import builder
from kube_estate import JOB, Estate, make_estate
from node import Node
from operators import until
from rendering import NAMESPACE, Objects, objects_of, templated
from ruamel.yaml import YAML

pytestmark = pytest.mark.xdist_group("kubelet")

TEAM = "team"
USER = 65532
SUMMARY = "jsonpath={.status.protectedVMs.summary}=1/1"
WORKERS = "backup.reconciler.io/worker=true"
MADE_FOR = "8080"  # the operator's port, which may be taken on this machine
IN_YAML = YAML(typ="safe")


@pytest.fixture
def estate(node: Node, tmp_path: Path) -> Iterator[Estate]:
    made = make_estate(node.cluster.namespace(TEAM), tmp_path)
    os.chown(made.remote, USER, USER)
    yield made
    made.lab.close()


@pytest.fixture
def image(node: Node, tmp_path: Path) -> str:
    """The operator's image, on the node."""
    archive = tmp_path / "image.tar"
    with builder() as build:
        built = build.build()
        build.save(built, archive)
    node.take(archive)
    archive.unlink()
    return built


def chart(image: str, remote: Path, node: Node) -> Objects:
    """What the chart installs with these values, with the machine's network instead of a node's.

    On that, the API server is at its own address: nobody makes services here.
    """
    repository, _, tag = image.rpartition(":")
    host, _, port = node.url.removeprefix("https://").partition(":")
    environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    values: dict[str, Any] = {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "execution": "KubernetesJobs",
        "replicas": 1,
        "crds": {"install": False},
        "env": [{"name": name, "value": text} for name, text in environment.items()],
        "volumes": [{"name": "cellar", "hostPath": {"path": str(remote)}}],
        "volumeMounts": [{"name": "cellar", "mountPath": str(remote)}],
    }
    settings = [f"{name}={json.dumps(value)}" for name, value in values.items()]
    return with_network_of_the_machine(objects_of(templated(*settings, by="--set-json")))


def with_network_of_the_machine(objects: Objects) -> Objects:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        free = str(asked.getsockname()[1])
    for key, one in objects.items():
        if one["kind"] == "Deployment":
            one["spec"]["template"]["spec"]["hostNetwork"] = True
            objects[key] = json.loads(json.dumps(one).replace(MADE_FOR, free))
        elif one["kind"] == "ConfigMap":
            for name, text in one["data"].items():
                template = IN_YAML.load(text)
                template["spec"]["hostNetwork"] = True
                template["spec"]["containers"][0]["imagePullPolicy"] = "Never"
                one["data"][name] = json.dumps(template)
    return objects


def test_an_operator_has_a_worker_make_a_backup_and_both_are_pods(
    node: Node, estate: Estate, image: str
) -> None:
    home = node.cluster.namespace(NAMESPACE).kubectl
    objects = list(chart(image, estate.remote, node).values())
    home.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    home("rollout", "status", "deployment/reconciler", "--timeout=240s")

    estate.kubectl.apply(estate.places + JOB)
    estate.wait("condition=Ready", "bj/nightly")
    estate.wait(SUMMARY, "bj/nightly")
    home("wait", "--for=condition=Complete", "job", "-l", WORKERS, "--timeout=120s")
    (worker,) = home.json("get", "pods", "-l", WORKERS)["items"]
    (container,) = worker["status"]["containerStatuses"]
    assert container["image"] == image
    assert container["state"]["terminated"]["exitCode"] == 0
    assert container["user"]["linux"]["uid"] == USER
    assert len(estate.points) == 1
    assert estate.is_restored_from(estate.points[0])

    # It ends when it is asked to, long before it would be killed.
    home("delete", "deployment", "reconciler", "--cascade=foreground", "--timeout=25s")
    until(lambda: not home.json("get", "lease", "reconciler")["spec"].get("holderIdentity"))
