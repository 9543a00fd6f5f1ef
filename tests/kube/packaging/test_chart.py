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
ONE_NAMESPACE = (*CLUSTER_WIDE_OFF, f"watchNamespaces={{{NAMESPACE}}}")
CERTIFIED = ("webhook.enabled=true", "webhook.certManager.enabled=true")


@pytest.mark.parametrize(
    ("base", "components", "values"),
    [
        ("default", (), ()),
        ("default", ("execution-jobs",), ("execution=KubernetesJobs",)),
        ("default", ("mounts",), ("mounts.enabled=true",)),
        ("default", ("monitoring",), MONITORED),
        ("default", ("webhook", "webhook-cert-manager"), CERTIFIED),
        ("namespaced", (), ONE_NAMESPACE),
        (
            "namespaced",
            ("execution-jobs", "execution-jobs-one-namespace"),
            (*ONE_NAMESPACE, "execution=KubernetesJobs"),
        ),
        (
            "namespaced",
            ("webhook", "webhook-one-namespace", "webhook-cert-manager"),
            (*ONE_NAMESPACE, *CERTIFIED),
        ),
    ],
    ids=[
        "default",
        "jobs",
        "mounts",
        "monitoring",
        "webhook",
        "namespaced",
        "jobs of one",
        "webhook of one",
    ],
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
    place = overlay(tmp_path / "overlay", "default", "execution-jobs", "remote-volume", "webhook")
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


def test_a_certificate_by_hand_is_trusted_by_who_made_it() -> None:
    values = ("webhook.enabled=true", "webhook.secretName=by-hand", "webhook.caBundle=TUlJ")
    objects = objects_of(templated(*values, "nameOverride=backups"))
    (webhook,) = objects["ValidatingWebhookConfiguration", "", "backups"]["webhooks"]
    assert webhook["clientConfig"]["caBundle"] == "TUlJ"
    assert webhook["clientConfig"]["service"]["name"] == "backups-webhook"
    assert ("Service", NAMESPACE, "backups-webhook") in objects
    pod = objects["Deployment", NAMESPACE, "backups"]["spec"]["template"]["spec"]
    assert {"secretName": "by-hand", "optional": True} in [
        one.get("secret") for one in pod["volumes"]
    ]
    assert not [one for one in objects if one[0] in {"Issuer", "Certificate"}]


def test_an_issuer_that_is_there_is_asked_for_the_certificate() -> None:
    issuer = (
        "webhook.certManager.issuerRef.kind=ClusterIssuer,webhook.certManager.issuerRef.name=ours"
    )
    objects = objects_of(templated(*CERTIFIED, issuer))
    asked = objects["Certificate", NAMESPACE, "reconciler-webhook"]["spec"]["issuerRef"]
    assert asked == {"kind": "ClusterIssuer", "name": "ours"}
    assert ("Issuer", NAMESPACE, "reconciler-webhook") not in objects


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
        ("webhook.enabled=true", "webhook.caBundle"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value: str, named: str) -> None:
    ended = helm("template", "reconciler", CHART, "--set", value)
    assert ended.returncode != 0
    assert named in ended.stderr
