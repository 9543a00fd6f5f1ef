"""The operator as it is shipped: its own arguments, its own account, its own role, and no more."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from clusters import Namespace
from control_plane import ControlPlane
from kube_estate import JOB, Estate, make_estate, until
from pod_runner import running_pods
from rendering import MANIFESTS, NAMESPACE, Object, Objects, kustomized, objects_of, overlay
from ruamel.yaml import YAML
from shipped import POD, started

SUMMARY = "jsonpath={.status.protectedVMs.summary}=1/1"
WORKER = "reconciler-worker"


def applied(namespace: Namespace, place: Path, *components: str) -> Objects:
    """Apply `manifests/namespaced` to a namespace."""
    overlay(place, "namespaced", *components)
    with (place / "kustomization.yaml").open("a", encoding="utf-8") as file:
        file.write(f"namespace: {namespace.name}\n")
    namespace.kubectl("apply", "--validate=strict", "-k", str(place))
    return objects_of(kustomized(place))


async def test_a_whole_backup_with_what_is_shipped_and_nothing_else(
    estate: Estate, tmp_path: Path
) -> None:
    objects = applied(estate.namespace, tmp_path / "overlay")
    deployment = objects["Deployment", estate.namespace.name, "reconciler"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "--namespace=$(POD_NAMESPACE)" in container["args"]
    with started(deployment, estate.namespace, tmp_path) as shipped:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            path = container[probe]["httpGet"]["path"]
            await until(lambda path=path: shipped.answers(path))
        estate.kubectl.apply(estate.places + JOB)
        estate.wait("condition=Ready", "bj/nightly")
        estate.wait(SUMMARY, "bj/nightly")
        assert len(estate.points) == 1
        lease = estate.kubectl.json("get", "lease", "reconciler")
        assert lease["spec"]["holderIdentity"]
        reasons = {one["reason"] for one in estate.kubectl.json("get", "events")["items"]}
        assert "InSync" in reasons


async def test_a_whole_cluster_is_served_with_the_role_that_is_shipped(
    make_plane: Callable[..., ControlPlane], tmp_path: Path
) -> None:
    """In a cluster of its own: it would work for the other tests as well."""
    cluster = make_plane().cluster
    default = MANIFESTS / "default"
    cluster.kubectl("apply", "--validate=strict", "-k", str(default))
    home = Namespace(cluster, NAMESPACE, cluster.kubeconfig_for(NAMESPACE, namespace=NAMESPACE))
    deployment = objects_of(kustomized(default))["Deployment", NAMESPACE, "reconciler"]
    estates = []
    for name in ("east", "west"):
        (tmp_path / name).mkdir()
        estates.append(make_estate(cluster.namespace(name), tmp_path / name))
    try:
        with started(deployment, home, tmp_path):
            for each in estates:
                each.kubectl.apply(each.places + JOB)
            for each in estates:
                each.wait("condition=Ready", "bj/nightly")
                each.wait(SUMMARY, "bj/nightly")
                for kind, condition in (("pvm", "Ready"), ("br", "Complete")):
                    await until(partial(each.kubectl, "get", kind, "-o", "name"))
                    each.wait(f"condition={condition}", kind, "--all")
                assert len(each.points) == 1
            assert home.kubectl.json("get", "lease", "reconciler")["spec"]["holderIdentity"]
    finally:
        for each in estates:
            each.lab.close()


def started_pod(deployment: Object, namespace: Namespace) -> None:
    """Put the operator's own pod where it looks for its image."""
    template = deployment["spec"]["template"]
    metadata = {**template["metadata"], "name": POD}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    namespace.kubectl("create", "-f", "-", stdin=json.dumps(pod))


async def test_a_worker_moves_the_bytes_with_the_role_that_is_shipped(
    controllers: None, estate: Estate, tmp_path: Path
) -> None:
    namespace = estate.namespace
    objects = applied(
        namespace, tmp_path / "overlay", "execution-jobs", "execution-jobs-one-namespace"
    )
    assert not {kind for kind, _, _ in objects} & {"ClusterRole", "ClusterRoleBinding"}
    deployment = objects["Deployment", namespace.name, "reconciler"]
    (config,) = [one for (kind, _, _), one in objects.items() if kind == "ConfigMap"]
    mounted = tmp_path / "worker"
    mounted.mkdir()
    for name, text in config["data"].items():
        (mounted / name).write_text(text)
    assert "image" not in YAML(typ="safe").load(text)["spec"]["containers"][0]
    started_pod(deployment, namespace)
    with (
        running_pods(namespace, tmp_path) as pods,
        started(deployment, namespace, tmp_path, worker=mounted),
    ):
        estate.kubectl.apply(estate.places + JOB)
        estate.wait(SUMMARY, "bj/nightly")
        (made,) = pods.pods
        job = estate.kubectl.json("get", "pod", made)["spec"]
        assert job["serviceAccountName"] == WORKER
        assert job["containers"][0]["image"] == "reconciler:0.1.0"
        assert "forbidden" not in pods.log(made).lower()
    assert len(estate.points) == 1
    assert estate.is_restored_from(estate.points[0])
    worker = namespace.as_account(WORKER)
    for word in (
        "list secrets",
        "create jobs",
        "get pods",
        "get xenpools",
        "get secrets -n default",
    ):
        assert worker.refused("auth", "can-i", *word.split()) == "", word
