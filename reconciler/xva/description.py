"""`ova.xml`, the first member: which VM it is and which disks must follow.

An XML-RPC value: a struct with `objects`, each a class, a name `Ref:N` and XAPI's record of it,
where references are names of other objects. Only what the check and a restore need is taken out.

Input from outside: bounded in size and depth, and no document type, so that no entity can grow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

from reconciler.xva.errors import XvaInvalid

NAME = "ova.xml"
DESCRIPTION_BYTES_MAX = 16 * 1024 * 1024
"""Seen: 30 to 300 KiB; virtual TPMs and firmware variables are the largest part."""

_DEPTH_MAX = 64
_ELEMENTS_MAX = 1_000_000
_DISK_BYTES_MAX = 1 << 50
_SCALARS = frozenset({"string", "int", "i4", "i8", "boolean", "double", "dateTime.iso8601"})


@dataclass(frozen=True, slots=True)
class ArchivedDisk:
    """A disk that the archive holds. ref: `Ref:N`, the directory of its chunks.

    uuid: of the disk that was exported (a snapshot's, where a snapshot was). position: where the
    VM has it (XAPI's userdevice), "" if that is not said.
    """

    ref: str
    uuid: str
    name: str
    virtual_bytes: int
    position: str


@dataclass(frozen=True, slots=True)
class Description:
    """disks: those that must follow, in no particular order."""

    vm_uuid: str
    vm_name: str
    disks: tuple[ArchivedDisk, ...]


def parse_description(content: bytes) -> Description:
    """Raises XvaInvalid."""
    root = _parse(content)
    listed = root.get("objects") if isinstance(root, dict) else None
    objects: dict[str, Mapping[str, Any]] = {}
    kinds: dict[str, list[str]] = {}
    for entry in listed if isinstance(listed, list) else []:
        match entry:
            case {"class": str(kind), "id": str(ref), "snapshot": dict(record)}:
                objects[ref] = record
                kinds.setdefault(kind, []).append(ref)
            case _:
                raise XvaInvalid("an object without class, id or record", NAME)
    if not kinds.get("VM"):
        raise XvaInvalid("describes no VM", NAME)
    vm = objects[kinds["VM"][0]]
    disks: dict[str, ArchivedDisk] = {}
    for ref in kinds.get("VBD", []):
        disk = _disk(objects, objects[ref])
        if disk is not None:
            disks.setdefault(disk.ref, disk)
    return Description(_text(vm, "uuid"), _text(vm, "name_label"), tuple(disks.values()))


def _disk(objects: Mapping[str, Mapping[str, Any]], vbd: Mapping[str, Any]) -> ArchivedDisk | None:
    """The disk that a device is of; None for drives, and for images that are not exported."""
    ref = _text(vbd, "VDI")
    vdi = objects.get(ref)
    if vdi is None or _text(vbd, "type") == "CD":
        return None
    storage = objects.get(_text(vdi, "SR"), {})
    if _text(storage, "content_type") == "iso":
        return None
    size = _text(vdi, "virtual_size")
    if not (size.isascii() and size.isdigit() and 0 < int(size[:20]) <= _DISK_BYTES_MAX):
        raise XvaInvalid(f"disk {ref[:20]} has the size {size[:40]!r}", NAME)
    return ArchivedDisk(
        ref=ref,
        uuid=_text(vdi, "uuid"),
        name=_text(vdi, "name_label"),
        virtual_bytes=int(size),
        position=_text(vbd, "userdevice"),
    )


def _text(record: Mapping[str, Any], field: str) -> str:
    value = record.get(field)
    return value if isinstance(value, str) else ""


def _parse(content: bytes) -> Any:
    parser = expat.ParserCreate()
    builder = _Builder()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text.append
    parser.StartDoctypeDeclHandler = builder.refuse
    parser.buffer_text = True
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise XvaInvalid(f"not XML: {error}", NAME) from None
    except IndexError:  # a name outside a member, a struct outside a value
        raise XvaInvalid("not an XML-RPC value", NAME) from None
    return builder.root


class _Builder:
    """Makes dicts, lists and strings of the elements. What is no value's is passed over."""

    def __init__(self) -> None:
        self.root: Any = None
        self.text: list[str] = []
        self._values: list[Any] = []
        self._containers: list[dict[str, Any] | list[Any]] = []
        self._names: list[str] = []
        self._depth = 0
        self._count = 0

    def refuse(self, *_: object) -> None:
        raise XvaInvalid("has a document type", NAME)

    def start(self, tag: str, _: object) -> None:
        self._depth += 1
        self._count += 1
        if self._depth > _DEPTH_MAX or self._count > _ELEMENTS_MAX:
            raise XvaInvalid("is nested too deeply, or too large", NAME)
        self.text.clear()
        match tag:
            case "value":
                self._values.append(None)
            case "struct":
                self._containers.append({})
            case "array":
                self._containers.append([])
            case "member":
                self._names.append("")

    def end(self, tag: str) -> None:
        self._depth -= 1
        match tag:
            case "name":
                self._names[-1] = "".join(self.text)
            case "struct" | "array":
                self._values[-1] = self._containers.pop()
            case "member":
                self._names.pop()
            case "value":
                value = self._values.pop()
                self._place("".join(self.text) if value is None else value)
            case _ if tag in _SCALARS:
                self._values[-1] = "".join(self.text)

    def _place(self, value: Any) -> None:
        if not self._values:
            self.root = value
            return
        container = self._containers[-1]
        if isinstance(container, list):
            container.append(value)
        else:
            container[self._names[-1]] = value
