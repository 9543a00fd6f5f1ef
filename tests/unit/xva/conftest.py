"""Archives made by Python's own tarfile: never by the code that reads them."""

import gzip
import hashlib
import os
import tarfile
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

import pytest
from backports import zstd

MIB = 1 << 20


def value(content) -> str:
    match content:
        case dict():
            inside = "".join(
                f"<member><name>{escape(name)}</name>{value(each)}</member>"
                for name, each in content.items()
            )
            return f"<value><struct>{inside}</struct></value>"
        case list():
            return f"<value><array><data>{''.join(map(value, content))}</data></array></value>"
        case bool():
            return f"<value><boolean>{int(content)}</boolean></value>"
        case _:
            return f"<value>{escape(str(content))}</value>"


def described(disks: dict[str, int], extra: list | None = None) -> bytes:
    """`ova.xml` of a VM with these disks: reference to bytes."""
    objects = [
        {"class": "VM", "id": "Ref:0", "snapshot": {"uuid": "vm-uuid", "name_label": "web & co"}},
        {"class": "SR", "id": "Ref:1", "snapshot": {"content_type": "user"}},
        {"class": "SR", "id": "Ref:2", "snapshot": {"content_type": "iso"}},
        {"class": "VDI", "id": "Ref:3", "snapshot": {"SR": "Ref:2", "virtual_size": "4096"}},
        {"class": "VBD", "id": "Ref:90", "snapshot": {"VDI": "Ref:3", "type": "CD"}},
        {"class": "VBD", "id": "Ref:91", "snapshot": {"VDI": "OpaqueRef:NULL", "type": "CD"}},
    ]
    for number, (ref, size) in enumerate(disks.items()):
        vdi = {"uuid": f"uuid-{ref}", "name_label": f"disk {number}", "SR": "Ref:1"}
        vbd = {"VDI": ref, "type": "Disk", "userdevice": str(number)}
        objects.append({"class": "VDI", "id": ref, "snapshot": {**vdi, "virtual_size": str(size)}})
        objects.append({"class": "VBD", "id": f"Ref:{80 + number}", "snapshot": vbd})
    document = {"version": {"export_vsn": 2}, "objects": objects + (extra or [])}
    return f"<?xml version='1.0'?>{value(document)}".encode()


@dataclass
class Archive:
    """Members in order; edit, then `render`. form: of the tar's heads."""

    members: list[tuple[str, bytes]] = field(default_factory=list)
    form: int = tarfile.USTAR_FORMAT
    end: bytes = bytes(1024)

    def add(self, name: str, content: bytes, checksum: str | None = None) -> None:
        """Add a chunk and its checksum."""
        said = hashlib.sha1(content).hexdigest() if checksum is None else checksum
        self.members += [(name, content), (f"{name}.checksum", said.encode())]

    def index(self, name: str) -> int:
        return [member for member, _ in self.members].index(name)

    def render(self) -> bytes:
        parts = []
        for name, content in self.members:
            head = tarfile.TarInfo(name)
            head.size = len(content)
            parts += [head.tobuf(self.form), content, bytes(-len(content) % 512)]
        return b"".join(parts) + self.end


@pytest.fixture
def archive() -> Archive:
    """Two disks: 5 MiB and a half with a hole, and one of a sector less than a MiB."""
    made = Archive()
    sizes = {"Ref:10": 5 * MIB + 512, "Ref:7": MIB - 512}
    made.members.append(("ova.xml", described(sizes)))
    for number in (0, 3):
        made.add(f"Ref:10/{number:08d}", os.urandom(MIB))
    made.add("Ref:10/00000005", os.urandom(512))
    made.add("Ref:7/00000000", os.urandom(MIB - 512))
    return made


@pytest.fixture
def describe():
    """Makes `ova.xml`: reference of a disk to its size."""
    return described


@pytest.fixture
def pack():
    """Compresses a stream as a pool would."""

    def pack(content: bytes, compression: str) -> bytes:
        match compression:
            case "Gzip":
                return gzip.compress(content, 1)
            case "Zstd":
                return zstd.compress(content)
            case _:
                return content

    return pack
