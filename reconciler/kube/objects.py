"""Raw objects of the API server, and which part of them their author said. Pure.

What the server and others add (status, managed fields, uids, annotations that are not ours) is left
out, so that two versions of an object that mean the same are the same document. An object has no
lines: every mark is at line 0, and problems name the object and the field instead.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from reconciler.desired.document import (
    Document,
    Entry,
    Identity,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
)
from reconciler.desired.envelope import GROUP
from reconciler.desired.manifest import RESTORE, RUN

Raw = Mapping[str, Any]

_OURS = f"{GROUP}/"
_SET_BY = "managedFields"


def identity_of(raw: Raw) -> Identity:
    """Say which object it is. The server gives every object of ours a kind, namespace and name."""
    metadata = raw["metadata"]
    return Identity(str(raw["kind"]), str(metadata["namespace"]), str(metadata["name"]))


def lean(raw: Raw) -> Raw:
    """Return an object as it is held: without who set which field, which nobody here asks for.

    Words that many objects share are held once. Both together take four fifths of the memory away
    (measured with ProtectedVMs, of which there are ten thousand).
    """
    if _SET_BY not in raw["metadata"]:
        return raw
    metadata = {key: value for key, value in raw["metadata"].items() if key != _SET_BY}
    return {sys.intern(key): _shared(value) for key, value in {**raw, "metadata": metadata}.items()}


def _shared(value: object) -> object:
    match value:
        case dict():
            return {sys.intern(key): _shared(item) for key, item in value.items()}
        case list():
            return [_shared(item) for item in value]
        case str():
            return sys.intern(value)
        case _:
            return value


def version_of(raw: Raw) -> int:
    """Return what grows with each change of an object, and from one object to the next."""
    text = str(raw["metadata"].get("resourceVersion", ""))
    return int(text) if text.isascii() and text.isdigit() else 0


def generation_of(raw: Raw) -> int:
    """Return what grows with each change of the spec."""
    generation = raw["metadata"].get("generation")
    return generation if isinstance(generation, int) else 0


def annotations_of(raw: Raw) -> dict[str, str]:
    """Return the annotations that are meant for us."""
    found = raw["metadata"].get("annotations") or {}
    return {key: value for key, value in found.items() if key.startswith(_OURS)}


def conditions_in(raw: Raw) -> list[Mapping[str, Any]]:
    """Return the conditions of an object's status, whoever wrote them."""
    found = (raw.get("status") or {}).get("conditions") or ()
    return [each for each in found if isinstance(each, Mapping)]


def is_leaving(raw: Raw) -> bool:
    """Say whether it is deleted, and only there until somebody's finalizer is gone."""
    return bool(raw["metadata"].get("deletionTimestamp"))


def is_over(raw: Raw) -> bool:
    """Say whether it asks for something once, and has it: then it asks for nothing any more.

    This much of a status is read, and no more. A pool that was set up anew remembers no restore,
    and a VM that a job chooses since owes nothing to a run of last month.
    """
    if raw["kind"] not in (RESTORE, RUN):
        return False
    found = (raw.get("status") or {}).get("conditions") or ()
    over = ("Complete",) if raw["kind"] == RESTORE else ("Complete", "Failed")
    return any(each.get("type") in over and each.get("status") == "True" for each in found)


def is_recorded(raw: Raw) -> bool:
    """Say whether it is a run whose state is told: from then on, only that says how it stands."""
    return raw["kind"] == RUN and bool((raw.get("status") or {}).get("state"))


def manifest_of(raw: Raw) -> dict[str, Any]:
    """Return what a file of the same object would say."""
    metadata = raw["metadata"]
    said: dict[str, Any] = {"name": metadata["name"], "namespace": metadata["namespace"]}
    if labels := metadata.get("labels"):
        said["labels"] = labels
    if annotations := annotations_of(raw):
        said["annotations"] = annotations
    manifest = {"apiVersion": raw["apiVersion"], "kind": raw["kind"], "metadata": said}
    return {**manifest, "spec": raw["spec"]} if "spec" in raw else manifest


def digest_of(raw: Raw) -> bytes:
    """Name what an object's document says: equal digests, equal documents."""
    said = [raw["metadata"]["uid"], manifest_of(raw)]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def document_of(raw: Raw, path: str) -> Document:
    """Turn an object into what `desired` reads. path: how problems call the place it stood in."""
    root = _node(manifest_of(raw))
    assert isinstance(root, MappingNode)
    metadata = raw["metadata"]
    created_at = datetime.fromisoformat(metadata["creationTimestamp"])
    return Document(path, root, uid=str(metadata["uid"]), created_at=created_at)


def _node(value: object) -> Node:
    match value:
        case Mapping():
            return MappingNode(tuple(Entry(str(key), _node(item)) for key, item in value.items()))
        case list() | tuple():
            return SequenceNode(tuple(_node(item) for item in value))
        case None | bool() | int() | float() | str():
            return ScalarNode(value)
        case _:
            raise AssertionError(f"JSON holds no {type(value).__name__}")
