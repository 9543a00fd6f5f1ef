"""Applied to a real API server: accepted, and accepted again without a change."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from clusters import Cluster, Namespace
from rendering import MANIFESTS, NAMESPACE, Object, kustomized, objects_of, overlay, templated

from reconciler.sources.files import ManifestFiles


def pod_of(applied: Path) -> Object:
    """The operator's pod, as its Deployment would make it."""
    deployment = objects_of(kustomized(applied))["Deployment", NAMESPACE, "reconciler"]
    template = deployment["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "operator"},
        "spec": template["spec"],
    }


def test_all_of_it_is_accepted_and_says_the_same_the_second_time(
    cluster: Cluster, installed: Path, alone: Callable[[], AbstractContextManager[None]]
) -> None:
    chart = templated()
    with alone():
        cluster.kubectl("diff", "-k", str(installed))
        cluster.kubectl("apply", "--validate=strict", "-f", "-", stdin=chart)
        cluster.kubectl("diff", "-f", "-", stdin=chart)
        cluster.kubectl("apply", "--validate=strict", "-k", str(installed))
        cluster.kubectl("diff", "-k", str(installed))


def test_one_namespace_can_be_served_without_a_right_outside_of_it(
    cluster: Cluster, installed: Path
) -> None:
    said = cluster.kubectl("apply", "--dry-run=server", "-k", str(MANIFESTS / "namespaced"))
    assert "clusterrole" not in said
    assert "role.rbac.authorization.k8s.io/reconciler-operator created" in said


def test_what_can_be_added_is_accepted(cluster: Cluster, installed: Path, tmp_path: Path) -> None:
    wanted = ("execution-jobs", "remote-nfs", "remote-volume", "mounts", "webhook")
    place = overlay(tmp_path / "all", "default", *wanted)
    cluster.kubectl("apply", "--validate=strict", "--dry-run=server", "-k", str(place))


def test_the_pod_needs_no_privilege(cluster: Cluster, installed: Path) -> None:
    pod = pod_of(installed)
    create = ("create", "--namespace", NAMESPACE, "--dry-run=server", "-f", "-")
    cluster.kubectl(*create, stdin=json.dumps(pod))
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    said = cluster.kubectl.refused(*create, stdin=json.dumps(pod))
    assert 'violates PodSecurity "restricted:latest"' in said


def test_a_pod_that_mounts_needs_a_namespace_that_allows_it(
    cluster: Cluster, installed: Path, tmp_path: Path
) -> None:
    applied = overlay(tmp_path / "mounts", "default", "mounts")
    labels = objects_of(kustomized(applied))["Namespace", "", NAMESPACE]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
    pod = json.dumps(pod_of(applied))
    create = ("create", "--dry-run=server", "-f", "-", "--namespace")
    said = cluster.kubectl.refused(*create, NAMESPACE, stdin=pod)
    assert "violates PodSecurity" in said
    allowing = cluster.namespace()
    allowing.kubectl("label", "namespace", allowing.name, f"{PRIVILEGED}=privileged")
    allowing.kubectl("create", "serviceaccount", "reconciler")
    allowing.kubectl(*create, allowing.name, stdin=pod)


PRIVILEGED = "pod-security.kubernetes.io/enforce"


def test_the_samples_are_accepted(namespace: Namespace) -> None:
    """Also by the program itself: nothing in them is a mistake that only shows in status."""
    samples = MANIFESTS / "samples"
    namespace.kubectl("apply", "--validate=strict", "-k", str(samples))
    assert {kind for kind, _, _ in objects_of(kustomized(samples))} == {
        "XenPool",
        "BackupRemote",
        "BackupJob",
    }
    desired = ManifestFiles([str(samples / f"{one}.yaml") for one in ("pool", "remote", "job")])
    assert desired.read().problems == ()
