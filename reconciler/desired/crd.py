"""The kinds as CustomResourceDefinitions: crds/*.yaml, made from the classes that read manifests.

Structural schemas: no references, no unions, unknown fields left to the server's strict
validation. `make golden` writes the files; a test compares.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from reconciler.desired.document import Plain
from reconciler.desired.envelope import GROUP, VERSION, Fields
from reconciler.desired.job import JobSpec
from reconciler.desired.pool import PoolSpec
from reconciler.desired.protected_vm import ProtectedVmSpec
from reconciler.desired.remote import RemoteSpec
from reconciler.desired.restore import RestoreSpec
from reconciler.desired.run import RunSpec
from reconciler.desired.statuses import (
    JobStatus,
    PoolStatus,
    ProtectedVmStatus,
    RemoteStatus,
    RestoreStatus,
    RunStatus,
)
from reconciler.desired.yaml_text import render_yaml

Schema: TypeAlias = Plain  # what a schema is written as

_KEYS = ("uuid", "type", "name")  # where items of a list have one, the list is a map by it


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of `kubectl get`. wide: with -o wide alone. A date is shown as an age."""

    name: str
    path: str
    type: Literal["string", "integer", "boolean", "date"] = "string"
    wide: bool = False

    def schema(self) -> dict[str, Schema]:
        said: dict[str, Schema] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return {**said, "priority": 1} if self.wide else said


@dataclass(frozen=True, slots=True)
class _Kind:
    """columns: beside READY, STATUS and AGE."""

    name: str
    short: str
    spec: type[Fields]
    status: type[Fields]
    columns: tuple[_Column, ...]

    @property
    def plural(self) -> str:
        return f"{self.name.lower()}s"


def _condition(type_: str, field: str = "status") -> str:
    return f".status.conditions[?(@.type=='{type_}')].{field}"


_READY = (_Column("Ready", _condition("Ready")), _Column("Status", _condition("Ready", "message")))
_AGE = _Column("Age", ".metadata.creationTimestamp", "date")
_SUSPENDED = _Column("Suspended", ".spec.suspend", "boolean", wide=True)
_LAST_SUCCESS = _Column("Last success", ".status.lastSuccessTime", "date")
_OF_JOB = _Column("Job", ".spec.jobRef.name")

_KINDS = (
    _Kind(
        "XenPool",
        "xpool",
        PoolSpec,
        PoolStatus,
        (
            _Column("Master", ".status.master"),
            _Column("VMs", ".status.vmCount", "integer"),
            _Column("Version", ".status.version", wide=True),
            _Column("Hosts", ".status.hostCount", "integer", wide=True),
        ),
    ),
    _Kind(
        "BackupRemote",
        "bremote",
        RemoteSpec,
        RemoteStatus,
        (
            _Column("Access", ".spec.accessMode"),
            _Column("Free", ".status.free"),
            _Column("Points", ".status.pointCount", "integer"),
            _Column("Capacity", ".status.capacity", wide=True),
            _Column("VMs", ".status.vmCount", "integer", wide=True),
            _Column("Identity", ".status.identity", wide=True),
            _SUSPENDED,
        ),
    ),
    _Kind(
        "BackupJob",
        "bj",
        JobSpec,
        JobStatus,
        (
            _Column("VMs", ".status.protectedVMs.summary"),
            _LAST_SUCCESS,
            _Column("Next", ".status.nextRunTime"),  # in the future, where no age is shown
            _Column("RPO", ".status.exposedSince", "date"),
            _Column("Mode", ".spec.mode", wide=True),
            _Column("Targets", ".status.targets.summary", wide=True),
            _Column("RPO met", _condition("RPOMet"), wide=True),
            _Column("Chains", _condition("ChainsHealthy"), wide=True),
            _Column("Proofs", ".status.proofs.summary", wide=True),
            _Column("Plan", ".status.plan.summary", wide=True),
            _SUSPENDED,
        ),
    ),
    _Kind(
        "Restore",
        "rst",
        RestoreSpec,
        RestoreStatus,
        (
            _Column("Pool", ".spec.target.poolRef.name"),
            _Column("Point", ".status.resolvedPoint.name"),
            _Column("VM", ".status.restoredVM.uuid"),
        ),
    ),
    _Kind(
        "BackupRun",
        "br",
        RunSpec,
        RunStatus,
        (
            _OF_JOB,
            _Column("State", ".status.state"),
            _Column("VMs", ".status.vms.summary"),
            _Column("Started", ".status.startTime", "date"),
            _Column("Completed", ".status.completionTime", "date"),
            _Column("Trigger", ".spec.trigger", wide=True),
        ),
    ),
    _Kind(
        "ProtectedVM",
        "pvm",
        ProtectedVmSpec,
        ProtectedVmStatus,
        (
            _Column("VM", ".status.vmName"),
            _OF_JOB,
            _Column("State", ".status.state"),
            _LAST_SUCCESS,
            _Column("Behind since", ".status.behindSince", "date"),
            _Column("Proven", ".status.lastProof.time", "date"),
            _Column("Blocked", ".status.blockedBy[0].reason"),
        ),
    ),
)


def render_crds() -> dict[str, str]:
    """Return the text of each file of crds/, by its name."""
    return {f"{GROUP}_{kind.plural}.yaml": render_yaml(_definition(kind)) for kind in _KINDS}


def spec_schemas() -> dict[str, dict[str, Schema]]:
    """Return the schema of each kind's spec, by the kind's name."""
    return {kind.name: _schema(kind.spec) for kind in _KINDS}


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
                    "additionalPrinterColumns": [one.schema() for one in _columns(kind)],
                    "schema": {"openAPIV3Schema": _object(kind)},
                }
            ],
        },
    }


def _columns(kind: _Kind) -> tuple[_Column, ...]:
    """Return all of a kind's columns: the age behind what is shown with it, as kubectl's own."""
    wide = tuple(one for one in kind.columns if one.wide)
    return (*_READY, *(one for one in kind.columns if not one.wide), _AGE, *wide)


def _object(kind: _Kind) -> dict[str, Schema]:
    status = _schema(kind.status)
    return {
        "type": "object",
        "description": " ".join((kind.spec.__doc__ or "").split()),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _schema(kind.spec),
            "status": {**status, "x-kubernetes-preserve-unknown-fields": True},
        },
    }


def _schema(fields: type[Fields]) -> dict[str, Schema]:
    schema = fields.model_json_schema(by_alias=True)
    return _structural(schema, schema.get("$defs", {}))


def _structural(schema: dict[str, Schema], defs: dict[str, Schema]) -> dict[str, Schema]:
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
            case ("title" | "$defs", _) | ("default", None | [] | dict()):
                pass
            case "additionalProperties", False:
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
    if isinstance(items, dict):
        result |= _as_list(items, result)
    return result


def _as_list(items: dict[str, Schema], result: dict[str, Schema]) -> dict[str, Schema]:
    """Return what a list is of, and which field tells its items apart."""
    said: dict[str, Schema] = {
        "description": result.get("description") or items.get("description", "")
    }
    required = items.get("required")
    for key in _KEYS:
        if isinstance(required, list) and key in required:
            by: list[Schema] = [key]
            return {**said, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": by}
    return said


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
