"""The kinds as CustomResourceDefinitions: crds/*.yaml, made from the classes that read manifests.

Structural schemas: no references, no unions, unknown fields left to the server's strict
validation. `make golden` writes the files; a test compares.
"""

from dataclasses import dataclass
from typing import TypeAlias

from reconciler.desired.document import Plain
from reconciler.desired.envelope import GROUP, VERSION, Fields
from reconciler.desired.job import JobSpec
from reconciler.desired.pool import PoolSpec
from reconciler.desired.protected_vm import ProtectedVmSpec
from reconciler.desired.remote import RemoteSpec
from reconciler.desired.restore import RestoreSpec
from reconciler.desired.run import RunSpec
from reconciler.desired.yaml_text import render_yaml

Schema: TypeAlias = Plain  # what a schema is written as


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    plural: str
    short: str
    spec: type[Fields]
    columns: tuple[tuple[str, str, str], ...]
    wide: tuple[tuple[str, str, str], ...] = ()  # with `-o wide`


_READY = (
    ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status"),
    ("Status", "string", ".status.conditions[?(@.type=='Ready')].message"),
)
_AGE = (("Age", "date", ".metadata.creationTimestamp"),)

_KINDS = (
    _Kind(
        "XenPool",
        "xenpools",
        "xpool",
        PoolSpec,
        (*_READY, ("Master", "string", ".status.master"), *_AGE),
        (
            ("Version", "string", ".status.version"),
            ("Hosts", "integer", ".status.hostCount"),
            ("VMs", "integer", ".status.vmCount"),
        ),
    ),
    _Kind(
        "BackupRemote",
        "backupremotes",
        "bremote",
        RemoteSpec,
        (
            *_READY,
            ("Access", "string", ".spec.accessMode"),
            ("Free", "string", ".status.free"),
            ("Points", "integer", ".status.pointCount"),
            *_AGE,
        ),
        (
            ("Capacity", "string", ".status.capacity"),
            ("VMs", "integer", ".status.vmCount"),
            ("Identity", "string", ".status.identity"),
        ),
    ),
    _Kind(
        "BackupJob",
        "backupjobs",
        "bj",
        JobSpec,
        (
            *_READY,
            ("Mode", "string", ".spec.mode"),
            ("VMs", "string", ".status.protectedVMs.summary"),
            ("Last success", "date", ".status.lastSuccessTime"),
            ("Next", "string", ".status.nextRunTime"),
            ("RPO", "date", ".status.exposedSince"),
            *_AGE,
        ),
        (
            ("RPO met", "string", ".status.conditions[?(@.type=='RPOMet')].status"),
            ("Chains", "string", ".status.conditions[?(@.type=='ChainsHealthy')].status"),
            ("Plan", "string", ".status.plan.summary"),
            ("Suspended", "boolean", ".spec.suspend"),
        ),
    ),
    _Kind(
        "Restore",
        "restores",
        "rst",
        RestoreSpec,
        (
            *_READY,
            ("Pool", "string", ".spec.target.poolRef.name"),
            ("Point", "string", ".status.resolvedPoint.name"),
            ("VM", "string", ".status.restoredVM.uuid"),
            *_AGE,
        ),
    ),
    _Kind(
        "BackupRun",
        "backupruns",
        "br",
        RunSpec,
        (
            *_READY,
            ("Job", "string", ".spec.jobRef.name"),
            ("State", "string", ".status.state"),
            ("Trigger", "string", ".spec.trigger"),
            ("VMs", "string", ".status.vms.summary"),
            ("Started", "date", ".status.startTime"),
            ("Completed", "date", ".status.completionTime"),
            *_AGE,
        ),
    ),
    _Kind(
        "ProtectedVM",
        "protectedvms",
        "pvm",
        ProtectedVmSpec,
        (
            *_READY,
            ("VM", "string", ".status.vmName"),
            ("Job", "string", ".spec.jobRef.name"),
            ("State", "string", ".status.state"),
            ("Last success", "date", ".status.lastSuccessTime"),
            ("Behind since", "date", ".status.behindSince"),
            ("Blocked", "string", ".status.blockedBy[0].reason"),
            *_AGE,
        ),
    ),
)


def render_crds() -> dict[str, str]:
    """Return the text of each file of crds/, by its name."""
    return {f"{GROUP}_{kind.plural}.yaml": render_yaml(_definition(kind)) for kind in _KINDS}


def _definition(kind: _Kind) -> dict[str, Schema]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": ["backup"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        *(_column(*each) for each in kind.columns),
                        *(_column(*each) | {"priority": 1} for each in kind.wide),
                    ],
                    "schema": {"openAPIV3Schema": _object(kind)},
                }
            ],
        },
    }


def _column(name: str, type_: str, path: str) -> dict[str, Schema]:
    return {"name": name, "type": type_, "jsonPath": path}


def _object(kind: _Kind) -> dict[str, Schema]:
    schema = kind.spec.model_json_schema(by_alias=True)
    return {
        "type": "object",
        "description": " ".join((kind.spec.__doc__ or "").split()),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _structural(schema, schema.get("$defs", {})),
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }


def _structural(schema: dict[str, Schema], defs: dict[str, Schema]) -> Schema:
    """Rewrite pydantic's JSON schema into what the API server accepts."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        target = defs[name]
        assert isinstance(target, dict)
        return _structural({**target, **_without(schema, "$ref")}, defs)
    choices = schema.get("anyOf")
    if isinstance(choices, list):  # `X | None`: absent is how nothing is said
        (choice,) = (one for one in choices if one != {"type": "null"})
        assert isinstance(choice, dict)
        return _structural({**choice, **_without(schema, "anyOf", "default")}, defs)
    result: dict[str, Schema] = {}
    for key, value in schema.items():
        match key, value:
            case ("title" | "$defs" | "additionalProperties", _) | ("default", None | [] | dict()):
                pass
            case "const", _:
                result["enum"] = [value]
            case "items", dict():
                result["items"] = _structural(value, defs)
            case "description", str():
                result["description"] = " ".join(value.split())
            case "properties", dict():
                result["properties"] = {
                    name: _structural(inner, defs)
                    for name, inner in value.items()
                    if isinstance(inner, dict)
                }
            case _:
                result[key] = value
    if isinstance(schema.get("default"), dict):
        result["default"] = _defaults(result)
    items = result.get("items")
    required = items.get("required") if isinstance(items, dict) else None
    if isinstance(required, list) and "name" in required:  # keys of a map are there
        result["x-kubernetes-list-type"] = "map"
        result["x-kubernetes-list-map-keys"] = ["name"]
    return result


def _defaults(mapping: dict[str, Schema]) -> Schema:
    """Return what a mapping is when nothing of it is given; the server checks it unfilled."""
    fields = mapping["properties"]
    assert isinstance(fields, dict)
    return {
        name: field["default"]
        for name, field in fields.items()
        if isinstance(field, dict) and "default" in field
    }


def _without(schema: dict[str, Schema], *keys: str) -> dict[str, Schema]:
    return {key: value for key, value in schema.items() if key not in keys}
