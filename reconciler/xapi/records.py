"""Records of a pool as typed views, parsed leniently: unknown fields are fine, nonsense is not.

XAPI grows fields with each release and writes integers as text when it pleases. What decides
something here is checked, and a record whose deciding field cannot be what it says raises
BadRecord, for that object alone. `raw` holds the whole record for those who store it, unless they
said that they do not.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from reconciler.xapi.errors import BadRecord
from reconciler.xapi.wire import Json

Record = Mapping[str, Json]

_NO_RAW: Record = {}
NULL = "OpaqueRef:NULL"
TEXT_MAX = 1024
"""Characters kept of a label; XAPI has no limit of its own."""
_SET_MAX = 4096
_SIZE_MAX = 1 << 63
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_WHEN = re.compile(r"[0-9]{8}T([0-9]{6}|[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

HINDERS_SNAPSHOT = frozenset(
    {
        "checkpoint",
        "clone",
        "copy",
        "create_template",
        "csvm",
        "destroy",
        "import",
        "make_into_template",
        "migrate_send",
        "pool_migrate",
        "provision",
        "resume",
        "resume_on",
        "revert",
        "reverting",
        "snapshot",
        "snapshot_with_quiesce",
        "suspend",
    }
)
"""Operations of a VM during which it is left alone."""


class _Fields:
    """One record being read: typed access that names the field when it is wrong."""

    def __init__(self, class_name: str, ref: str, record: Record) -> None:
        self._class = class_name
        self._ref = ref
        self._record = record

    def bad(self, why: str) -> BadRecord:
        return BadRecord(self._class, self._ref, why)

    def uuid(self) -> str:
        value = self._record.get("uuid")
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            raise self.bad("its uuid is none")
        return value

    def text(self, name: str, default: str = "") -> str:
        value = self._record.get(name, default)
        if not isinstance(value, str):
            raise self.bad(f"{name} is not text")
        return value[:TEXT_MAX]

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self._record.get(name, default)
        if not isinstance(value, bool):
            raise self.bad(f"{name} is neither true nor false")
        return value

    def size(self, name: str) -> int:
        value = self._record.get(name, 0)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _SIZE_MAX:
            raise self.bad(f"{name} is not a size")
        return value

    def size_if_known(self, name: str) -> int | None:
        """A size; None where there is none to tell (-1) or it is nonsense."""
        try:
            return self.size(name) if name in self._record else None
        except BadRecord:
            return None

    def ref(self, name: str) -> str | None:
        """A reference; None for the null one."""
        value = self._record.get(name, "")
        if not isinstance(value, str) or len(value) > TEXT_MAX:
            raise self.bad(f"{name} is not a reference")
        return None if value in {"", NULL} else value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._record.get(name, [])
        if not isinstance(value, list) or len(value) > _SET_MAX:
            raise self.bad(f"{name} is not a set")
        if not all(isinstance(part, str) for part in value):
            raise self.bad(f"{name} holds something that is not text")
        return tuple(str(part)[:TEXT_MAX] for part in value)

    def pairs(self, name: str) -> dict[str, str]:
        value = self._record.get(name, {})
        if not isinstance(value, dict) or len(value) > _SET_MAX:
            raise self.bad(f"{name} is not a map")
        return {key: part for key, part in value.items() if isinstance(part, str)}

    def instant(self, name: str) -> datetime | None:
        """An instant; None for the epoch, which stands for "never", and for nonsense."""
        value = self._record.get(name)
        if not isinstance(value, str) or not _WHEN.fullmatch(value):
            return None
        try:
            instant = datetime.fromisoformat(f"{value[:-1].partition('.')[0]}Z")
        except ValueError:
            return None
        return instant if instant != _EPOCH else None


@dataclass(frozen=True, slots=True)
class PoolRecord:
    ref: str
    uuid: str
    name: str
    master: str | None
    default_sr: str | None
    other_config: Mapping[str, str]
    raw: Record = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(ref: str, record: Record, *, keep_raw: bool = True) -> "PoolRecord":
        """Raises BadRecord."""
        fields = _Fields("pool", ref, record)
        return PoolRecord(
            ref,
            fields.uuid(),
            fields.text("name_label"),
            fields.ref("master"),
            fields.ref("default_SR"),
            fields.pairs("other_config"),
            record if keep_raw else _NO_RAW,
        )


@dataclass(frozen=True, slots=True)
class HostRecord:
    """version: as people say it, "XCP-ng 8.3.0"."""

    ref: str
    uuid: str
    name: str
    address: str
    version: str
    raw: Record = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(ref: str, record: Record, *, keep_raw: bool = True) -> "HostRecord":
        """Raises BadRecord."""
        fields = _Fields("host", ref, record)
        software = fields.pairs("software_version")
        words = (software.get("product_brand", ""), software.get("product_version", ""))
        return HostRecord(
            ref,
            fields.uuid(),
            fields.text("name_label"),
            fields.text("address"),
            " ".join(word for word in words if word)[:TEXT_MAX],
            record if keep_raw else _NO_RAW,
        )


@dataclass(frozen=True, slots=True)
class SrRecord:
    """total_bytes, used_bytes: None where the storage does not say."""

    ref: str
    uuid: str
    name: str
    type: str
    content_type: str
    total_bytes: int | None
    used_bytes: int | None
    raw: Record = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(ref: str, record: Record, *, keep_raw: bool = True) -> "SrRecord":
        """Raises BadRecord."""
        fields = _Fields("SR", ref, record)
        return SrRecord(
            ref,
            fields.uuid(),
            fields.text("name_label"),
            fields.text("type"),
            fields.text("content_type"),
            fields.size_if_known("physical_size"),
            fields.size_if_known("physical_utilisation"),
            record if keep_raw else _NO_RAW,
        )


@dataclass(frozen=True, slots=True)
class VmRecord:
    """A VM, a snapshot of one, a template or a control domain: XAPI keeps them in one class.

    operations: names of operations under way. blocked: of those that somebody blocked. memory: the
    disk that holds its memory while it is suspended, or that of a snapshot with memory.
    """

    ref: str
    uuid: str
    name: str
    power_state: str
    is_template: bool
    is_snapshot: bool
    is_control_domain: bool
    snapshot_of: str | None
    snapshot_time: datetime | None
    tags: tuple[str, ...]
    operations: tuple[str, ...]
    blocked: tuple[str, ...]
    vbds: tuple[str, ...]
    memory: str | None
    other_config: Mapping[str, str]
    raw: Record = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(ref: str, record: Record, *, keep_raw: bool = True) -> "VmRecord":
        """Raises BadRecord."""
        fields = _Fields("VM", ref, record)
        return VmRecord(
            ref=ref,
            uuid=fields.uuid(),
            name=fields.text("name_label"),
            power_state=fields.text("power_state"),
            is_template=fields.flag("is_a_template") or fields.flag("is_default_template"),
            is_snapshot=fields.flag("is_a_snapshot"),
            is_control_domain=fields.flag("is_control_domain"),
            snapshot_of=fields.ref("snapshot_of"),
            snapshot_time=fields.instant("snapshot_time"),
            tags=fields.texts("tags"),
            operations=tuple(sorted(set(fields.pairs("current_operations").values()))),
            blocked=tuple(sorted(fields.pairs("blocked_operations"))),
            vbds=fields.texts("VBDs"),
            memory=fields.ref("suspend_VDI"),
            other_config=fields.pairs("other_config"),
            raw=record if keep_raw else _NO_RAW,
        )


@dataclass(frozen=True, slots=True)
class VbdRecord:
    """What joins a VM and a disk. vdi: None for an empty drive."""

    ref: str
    uuid: str
    vm: str | None
    vdi: str | None
    type: str
    position: str
    attached: bool
    raw: Record = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(ref: str, record: Record, *, keep_raw: bool = True) -> "VbdRecord":
        """Raises BadRecord."""
        fields = _Fields("VBD", ref, record)
        return VbdRecord(
            ref,
            fields.uuid(),
            fields.ref("VM"),
            fields.ref("VDI"),
            fields.text("type"),
            fields.text("userdevice"),
            fields.flag("currently_attached"),
            record if keep_raw else _NO_RAW,
        )


@dataclass(frozen=True, slots=True)
class VdiRecord:
    """A disk or a disk's snapshot. size_bytes: virtual size. parent: uuid of the disk that this one
    holds only the difference to, "" if none is told. hidden: it is there for others to stand on.
    """

    ref: str
    uuid: str
    name: str
    size_bytes: int
    sr: str | None
    type: str
    is_snapshot: bool
    snapshot_of: str | None
    vbds: tuple[str, ...]
    other_config: Mapping[str, str]
    hidden: bool = False
    parent: str = ""
    raw: Record = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(ref: str, record: Record, *, keep_raw: bool = True) -> "VdiRecord":
        """Raises BadRecord."""
        fields = _Fields("VDI", ref, record)
        return VdiRecord(
            ref=ref,
            uuid=fields.uuid(),
            name=fields.text("name_label"),
            size_bytes=fields.size("virtual_size"),
            sr=fields.ref("SR"),
            type=fields.text("type"),
            is_snapshot=fields.flag("is_a_snapshot"),
            snapshot_of=fields.ref("snapshot_of"),
            vbds=fields.texts("VBDs"),
            other_config=fields.pairs("other_config"),
            hidden=not fields.flag("managed", default=True),
            parent=fields.pairs("sm_config").get("vhd-parent", "")[:TEXT_MAX],
            raw=record if keep_raw else _NO_RAW,
        )
