"""A release of the chart as a user has it: installed, upgraded, uninstalled, installed again."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from clusters import PATIENCE_S, Cluster
from control_plane import ControlPlane
from kube_programs import programs
from rendering import CHART, MANIFESTS, NAMESPACE, Objects, objects_of

IMAGE = "image.repository=registry.example.net/backup/reconciler"
KINDS = "customresourcedefinitions"
OF_ONE_RELEASE = (
    "crds.install=false",
    "peopleRoles.create=false",
    "approvalPolicy.create=false",
    "priorityClass.create=false",
)
TAKING_OVER = ("--take-ownership", "--force-conflicts")
TEAM = "team"


@dataclass(frozen=True)
class Helm:
    """Helm as somebody runs it who administers the cluster. area: for what it remembers."""

    cluster: Cluster
    area: Path

    def __call__(self, *words: "str | Path", at: str = NAMESPACE) -> str:
        """Run it and return what it prints. Raises AssertionError if it fails."""
        ended = self._run(words, at)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def refused(self, *words: "str | Path", at: str = NAMESPACE) -> str:
        ended = self._run(words, at)
        assert ended.returncode != 0, ended.stdout
        return ended.stderr

    def _run(self, words: tuple["str | Path", ...], at: str) -> "subprocess.CompletedProcess[str]":
        homes = {f"HELM_{one}_HOME": str(self.area / one) for one in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [programs("helm") / "helm", *words, "--namespace", at],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 2,
            env=os.environ | homes | self.cluster.kubectl.environment,
            check=False,
        )

    def install(self, *settings: str, chart: Path = CHART, at: str = NAMESPACE) -> str:
        wanted = [word for one in settings for word in ("--set", one)]
        return self("install", "reconciler", chart, "--create-namespace", *wanted, at=at)

    def upgrade(self, *settings: str, chart: Path = CHART) -> str:
        wanted = [word for one in settings for word in ("--set", one)]
        return self("upgrade", "--install", "reconciler", chart, *wanted)

    def objects(self, at: str = NAMESPACE) -> Objects:
        """What the release says that it is made of."""
        return objects_of(self("get", "manifest", "reconciler", at=at))


@pytest.fixture
def cluster(make_plane: Callable[..., ControlPlane]) -> Cluster:
    """One that never heard of us: a release is of the whole cluster, and so are our kinds."""
    return make_plane(knows_us=False).cluster


@pytest.fixture
def helm(cluster: Cluster, tmp_path: Path) -> Helm:
    return Helm(cluster, tmp_path / "helm")


def ids(cluster: Cluster, *what: str) -> set[str]:
    return {one["metadata"]["uid"] for one in cluster.kubectl.json("get", *what)["items"]}


def there(cluster: Cluster, objects: Objects) -> set[tuple[str, str, str]]:
    """Those of the objects that the cluster has."""
    found = set()
    for kind, namespace, name in objects:
        group = objects[kind, namespace, name]["apiVersion"].rpartition("/")[0]
        what = f"{kind}.{group}" if group else kind
        words = ("get", what, name, "--ignore-not-found", "-o", "name")
        if cluster.kubectl(*words, *(("--namespace", namespace) if namespace else ())):
            found.add((kind, namespace, name))
    return found


def apply_samples(cluster: Cluster) -> None:
    """A team backs up its VMs."""
    cluster.kubectl("create", "namespace", TEAM)
    cluster.kubectl("apply", "--validate=strict", "-k", str(MANIFESTS / "samples"), "-n", TEAM)


def theirs(cluster: Cluster) -> set[str]:
    found = ids(cluster, "backup", "--namespace", TEAM)
    assert len(found) == 3, "a pool, a remote and a job"
    return found


@pytest.mark.slow
def test_a_release_comes_changes_goes_and_comes_back_and_no_job_is_lost(
    cluster: Cluster, helm: Helm
) -> None:
    told = helm.install(IMAGE)
    assert "the kinds and all their objects stay" in told
    made = helm.objects()
    assert there(cluster, made) == made.keys()
    cluster.kubectl("diff", "-f", "-", stdin=helm("get", "manifest", "reconciler"))
    kinds = ids(cluster, KINDS)
    apply_samples(cluster)
    jobs = theirs(cluster)

    assert "still in use" in helm.refused("install", "reconciler", CHART)
    helm.upgrade(IMAGE, "replicas=3", "execution=KubernetesJobs")
    with_workers = helm.objects()
    assert there(cluster, with_workers) == with_workers.keys() > made.keys()
    deployment = cluster.kubectl.json("get", "deployment", "reconciler", "-n", NAMESPACE)["spec"]
    assert deployment["replicas"] == 3
    assert "--execution=KubernetesJobs" in str(deployment)
    helm.upgrade(IMAGE)
    assert there(cluster, with_workers) == made.keys()
    assert (ids(cluster, KINDS), theirs(cluster)) == (kinds, jobs)

    assert "These resources were kept" in helm("uninstall", "reconciler")
    assert {kind for kind, _, _ in there(cluster, made)} == {"CustomResourceDefinition"}
    assert (ids(cluster, KINDS), theirs(cluster)) == (kinds, jobs)
    cluster.kubectl("apply", "--validate=strict", "-k", str(MANIFESTS / "samples"), "-n", TEAM)

    helm.install(IMAGE)
    assert there(cluster, made) == made.keys()
    assert (ids(cluster, KINDS), theirs(cluster)) == (kinds, jobs)


@pytest.mark.slow
def test_a_release_upgrades_the_kinds_and_takes_them_along_only_where_that_is_asked_for(
    cluster: Cluster, helm: Helm, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(CHART, older)
    kind = older / "files" / "crds" / "backup.reconciler.io_backupjobs.yaml"
    text = kind.read_text(encoding="utf-8")
    assert "\n    shortNames:" in text
    kind.write_text(text.replace("- bj\n", "- old\n"), encoding="utf-8")
    helm.install(IMAGE, chart=older)
    apply_samples(cluster)
    jobs = theirs(cluster)
    assert names(cluster) == ["old"]

    helm.upgrade(IMAGE)
    assert names(cluster) == ["bj"]
    assert theirs(cluster) == jobs

    assert "WARNING: crds.keep is false" in helm.upgrade(IMAGE, "crds.keep=false")
    helm("uninstall", "reconciler", "--wait")
    assert ids(cluster, KINDS) == set()


def names(cluster: Cluster) -> list[str]:
    kind = cluster.kubectl.json("get", KINDS, "backupjobs.backup.reconciler.io")
    return kind["spec"]["names"]["shortNames"]


@pytest.mark.slow
def test_what_kubectl_applied_can_be_taken_over_by_a_release_and_another_stands_beside_it(
    cluster: Cluster, helm: Helm
) -> None:
    cluster.kubectl("apply", "-k", str(MANIFESTS / "default"))
    apply_samples(cluster)
    jobs, kinds = theirs(cluster), ids(cluster, KINDS)
    assert "exists and cannot be imported" in helm.refused("install", "reconciler", CHART)
    helm("install", "reconciler", CHART, *TAKING_OVER, "--set", IMAGE)
    assert (ids(cluster, KINDS), theirs(cluster)) == (kinds, jobs)

    helm.install(IMAGE, *OF_ONE_RELEASE, "watchNamespaces={east}", at="east")
    beside = helm.objects(at="east")
    assert there(cluster, beside) == beside.keys()
    helm("uninstall", "reconciler", at="east")
    assert there(cluster, beside) == set()
    first = helm.objects()
    assert there(cluster, first) == first.keys()
