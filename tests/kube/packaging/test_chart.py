"""The chart says what manifests/ say, in every variant that both have."""

from pathlib import Path

import pytest
from rendering import (
    CHART,
    NAMESPACE,
    helm,
    kustomized,
    objects_of,
    overlay,
    templated,
    with_plain_names,
    without,
)
from ruamel.yaml import YAML

SAFE = YAML(typ="safe")

OF_HELM = ("helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance")
MONITORED = tuple(
    f"{one}.enabled=true" for one in ("serviceMonitor", "prometheusRule", "dashboard")
)
CLUSTER_WIDE_OFF = (
    "crds.install=false",
    "peopleRoles.create=false",
    "approvalPolicy.create=false",
    "priorityClass.name=",
)


@pytest.mark.parametrize(
    ("base", "components", "values"),
    [
        ("default", (), ()),
        ("default", ("execution-jobs",), ("execution=KubernetesJobs",)),
        ("default", ("mounts",), ("mounts.enabled=true",)),
        ("default", ("monitoring",), MONITORED),
        ("namespaced", (), (*CLUSTER_WIDE_OFF, f"watchNamespaces={{{NAMESPACE}}}")),
    ],
    ids=["default", "jobs", "mounts", "monitoring", "namespaced"],
)
def test_both_ways_to_install_say_the_same(
    base: str, components: tuple[str, ...], values: tuple[str, ...], tmp_path: Path
) -> None:
    place = overlay(tmp_path / "overlay", base, *components)
    kustomize = objects_of(with_plain_names(kustomized(place)))
    kustomize.pop(("Namespace", "", NAMESPACE), None)  # `helm --create-namespace` makes it
    rendered = objects_of(with_plain_names(templated(*values)))
    chart = without(rendered, OF_HELM, ("helm.sh/resource-policy",))
    told = chart["Deployment", NAMESPACE, "reconciler"]["spec"]["template"]["spec"]["containers"]
    told[0]["args"] = [
        # The namespace is known to Helm, and to the pod alone otherwise.
        one.replace(f"--namespace={NAMESPACE}", "--namespace=$(POD_NAMESPACE)")
        for one in told[0]["args"]
    ]
    for objects in (chart, kustomize):
        for one in objects.values():
            if one["kind"] == "ConfigMap":  # texts of YAML: what they say is compared
                one["data"] = {name: SAFE.load(text) for name, text in one["data"].items()}
    assert chart.keys() == kustomize.keys()
    for key, one in kustomize.items():
        assert chart[key] == one


def test_another_namespace_is_followed_by_all_that_names_it(tmp_path: Path) -> None:
    place = overlay(tmp_path / "overlay", "default", "execution-jobs", "remote-volume")
    with (place / "kustomization.yaml").open("a", encoding="utf-8") as file:
        file.write("namespace: elsewhere\n")
    assert NAMESPACE not in kustomized(place)


def test_the_kinds_outlive_the_release() -> None:
    kept = [
        one["metadata"]["annotations"].get("helm.sh/resource-policy")
        for (kind, _, _), one in objects_of(templated()).items()
        if kind == "CustomResourceDefinition"
    ]
    assert len(kept) == len(list((CHART / "files" / "crds").iterdir()))
    assert set(kept) == {"keep"}


def test_each_followed_namespace_has_a_role_and_no_other_has() -> None:
    objects = objects_of(templated("watchNamespaces={east,west}"))
    roles = {
        (kind, namespace) for kind, namespace, name in objects if name == "reconciler-operator"
    }
    assert roles == {(kind, at) for kind in ("Role", "RoleBinding") for at in ("east", "west")}
    deployment = objects["Deployment", NAMESPACE, "reconciler"]
    args = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[:3] == ["operator", "--namespace=east", "--namespace=west"]
    assert "--all-namespaces" not in args


def test_helm_finds_nothing_to_complain_of() -> None:
    ended = helm("lint", "--strict", CHART)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("replica=3", "replica"),
        ("execution=Jobs", "execution"),
        ("image.digest=latest", "digest"),
        ("watchNamespaces={East}", "watchNamespaces"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value: str, named: str) -> None:
    ended = helm("template", "reconciler", CHART, "--set", value)
    assert ended.returncode != 0
    assert named in ended.stderr
