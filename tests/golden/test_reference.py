"""docs/manifests.md is made from the schemas, so that it says what is accepted and no more."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from reconciler.desired.crd import render_crds

PAGE = Path(__file__).resolve().parents[2] / "docs" / "manifests.md"

HEAD = """\
# Manifests

Every field of every kind, made from the schemas (`make golden`). An unknown field is an error,
and so is a reference to nothing; `reconciler validate DIR` shows all problems at once. Several
documents may stand in one file, and several files in a directory. Names are those of Kubernetes;
the namespace is `default` unless it is given, and references stay within theirs.

Durations are written `90s`, `1h30m`, `30d`; rates `100Mi`, in bytes per second. Deleting a
manifest never deletes a backup. Secrets are never written into a manifest: a field says from which
file or environment variable to read them.

Four annotations of a BackupJob ask for something once: `backup.reconciler.io/run-at` (an instant:
a run is owed since then), `backup.reconciler.io/approve-plan` (the hash of the deletions that a
plan holds, as `reconciler plan` prints it), `backup.reconciler.io/cancel` (names of runs,
separated by commas: what runs of them is stopped, what waits is not begun) and, as also of a
XenPool or BackupRemote, `backup.reconciler.io/reconcile` (any text: whenever it is another, the
pools and remotes are looked at again at once).

A Restore and a BackupRun ask for something once, too: the one for a VM out of a restore point, the
other for a run of a job. Neither is done again because its manifest is still there. ProtectedVM is
written by the operator in a cluster and accepted in no file.
"""


def kinds() -> Iterator[tuple[str, dict[str, Any]]]:
    for _, text in sorted(render_crds().items()):
        definition = YAML(typ="safe").load(text)["spec"]
        version = definition["versions"][0]
        yield definition["names"]["kind"], version["schema"]["openAPIV3Schema"]


def rows(schema: dict[str, Any], path: str) -> Iterator[str]:
    required = set(schema.get("required", []))
    for name, field in schema.get("properties", {}).items():
        inner = field.get("items", field) if field.get("type") == "array" else field
        here = f"{path}.{name}" + ("[]" if field.get("type") == "array" else "")
        kind = str(inner.get("type", "object"))
        if "enum" in inner:
            kind = " or ".join(map(str, inner["enum"]))
        default = field.get("default", "required" if name in required else "")
        default = "" if isinstance(default, dict) else str(default)
        default = default.lower() if kind == "boolean" else default
        text = str(field.get("description") or inner.get("description") or "")
        yield f"| `{here}` | {kind} | {default} | {text} |"
        yield from rows(inner, here)


def told(schema: dict[str, Any], path: str) -> Iterator[str]:
    """The fields of a status, conditions left out: they are the same everywhere."""
    for name, field in schema["properties"].items():
        is_list = field.get("type") == "array"
        inner = field["items"] if is_list else field
        here = f"{path}.{name}" + ("[]" if is_list else "")
        yield f"| `{here}` | {inner['type']} | {field.get('description', '')} |"
        if name != "conditions" and "properties" in inner:
            yield from told(inner, here)


def beyond(schema: dict[str, Any], path: str) -> Iterator[str]:
    """Say what no single field can. Of a text alone, its mistake tells what would be right."""
    for rule in schema.get("x-kubernetes-validations", []):
        if schema["type"] == "object":
            yield f"`{path}{rule.get('fieldPath', '')}`: {rule['message']}"
    for name, field in schema.get("properties", {}).items():
        is_list = field.get("type") == "array"
        inner = field.get("items", {}) if is_list else field
        yield from beyond(inner, f"{path}.{name}" + ("[]" if is_list else ""))


def reference() -> str:
    parts = [HEAD]
    for kind, schema in kinds():
        spec = schema["properties"]["spec"]
        parts.append(f"\n## {kind}\n\n{spec.get('description', '')}\n")
        parts.append("| field | type | default | meaning |\n|---|---|---|---|")
        parts.append("\n".join(rows(spec, "spec")))
        rules = [f"- {text}" for text in beyond(spec, "spec")]
        if rules:
            parts.append("\nRefused, beyond the single fields:\n\n" + "\n".join(rules))
        parts.append("\nIts status, in a cluster:\n\n| field | type | meaning |\n|---|---|---|")
        parts.append("\n".join(told(schema["properties"]["status"], "status")))
    return "\n".join(parts) + "\n"


def test_the_reference_is_fresh(golden: Callable[[Path, str], None]) -> None:
    golden(PAGE, reference())
