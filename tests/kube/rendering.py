"""What kustomize and Helm make of manifests/ and of the chart: objects, to be compared."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from kube_programs import programs
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
CHART = ROOT / "charts" / "reconciler"
NAMESPACE = "backup-system"

Object: TypeAlias = dict[str, Any]
Objects: TypeAlias = dict[tuple[str, str, str], Object]
"""By kind, namespace and name."""


def run(*command: "str | Path", stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=240, check=False
    )


def output_of(*command: "str | Path") -> str:
    ended = run(*command)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def kustomized(directory: Path) -> str:
    return output_of(programs("control-plane") / "kubectl", "kustomize", directory)


def overlay(place: Path, base: str, *components: str) -> Path:
    """Write what a user writes who wants a base of manifests/ and more. place: an empty directory.

    Kustomize wants paths that lead from one to the other, so they are written relative.
    """
    place.mkdir(parents=True)

    def path_to(name: str) -> str:
        return str(Path(*[".."] * len(place.resolve().parts[1:])) / str(MANIFESTS / name)[1:])

    lines = [
        "apiVersion: kustomize.config.k8s.io/v1beta1",
        "kind: Kustomization",
        f"resources: [{path_to(base)}]",
        f"components: [{', '.join(path_to(f'components/{one}') for one in components)}]",
    ]
    (place / "kustomization.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def helm(*words: "str | Path") -> "subprocess.CompletedProcess[str]":
    return run(programs("helm") / "helm", *words)


def templated(*settings: str, by: str = "--set") -> str:
    """The chart's objects with these values, each as `name=value`. by: how Helm reads them."""
    wanted = [word for one in settings for word in (by, one)]
    program = programs("helm") / "helm"
    return output_of(program, "template", "reconciler", CHART, "--namespace", NAMESPACE, *wanted)


def objects_of(text: str) -> Objects:
    found = {}
    for one in YAML(typ="safe").load_all(text):
        if one is not None:
            metadata = one["metadata"]
            found[one["kind"], metadata.get("namespace", ""), metadata["name"]] = one
    return found


def with_plain_names(text: str) -> str:
    """Take the hashes off the names of ConfigMaps: each tool has its own way to make them."""
    return re.sub(r"\b(reconciler-worker)-[0-9a-z]{10}\b", r"\1", text)


def without(objects: Objects, labels: Sequence[str], annotations: Sequence[str]) -> Objects:
    """Leave out what Helm says about itself."""
    for one in objects.values():
        metadata = one["metadata"]
        for field, names in (("labels", labels), ("annotations", annotations)):
            kept = {key: text for key, text in metadata.pop(field, {}).items() if key not in names}
            if kept:
                metadata[field] = kept
    return objects
