"""The classes of XenAPI as data: fields with types and defaults, relations, enumerations.

Reads the field texts of `schema_pool`, `schema_vm` and `schema_storage` once, at import. Knows
nothing of objects; `database` keeps those.
"""

import json
import re
from dataclasses import dataclass
from typing import Literal

from reconciler.lab import schema_pool, schema_storage, schema_vm
from reconciler.lab.values import EPOCH, NULL, DateTime, Value

Setter = Literal["rw", "new", "ro"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its type text (`string`, `ref:VM`, `set(string)`, `map(string,string)` …)."""

    name: str
    type: str
    setter: Setter
    default: Value
    required: bool  # by the constructor: settable and without a default


@dataclass(frozen=True, slots=True)
class Table:
    """One class. `persistent` tables survive a toolstack restart; `evented` ones give events."""

    name: str
    fields: dict[str, Field]
    persistent: bool
    evented: bool
    listed: bool  # has get_all_records


_LINE = re.compile(r"(?P<name>\w+) (?P<type>\S+) (?P<setter>rw|new|ro)(?: = (?P<default>.*))?")

_EMPTY: dict[str, Value] = {
    "string": "",
    "int": 0,
    "float": 0.0,
    "bool": False,
    "datetime": EPOCH,
}


def empty_value(field_type: str) -> Value:
    """What a field of this type holds when nobody ever set it."""
    if field_type.startswith("ref:"):
        return NULL
    if field_type.startswith("set("):
        return []
    if field_type.startswith("map("):
        return {}
    if field_type.startswith("enum:"):
        return ENUMS[field_type[5:]][0] if field_type[5:] in ENUMS else ""
    return _EMPTY[field_type]


def _field(line: str) -> Field:
    match = _LINE.fullmatch(line)
    assert match is not None, line
    field_type, setter, text = match["type"], match["setter"], match["default"]
    default: Value
    if text is None:
        default = empty_value(field_type)
    elif field_type == "datetime":
        default = DateTime(json.loads(text))
    elif field_type == "float":
        default = float(json.loads(text))
    else:
        default = json.loads(text)
    assert setter in ("rw", "new", "ro")
    required = text is None and setter != "ro"
    return Field(match["name"], field_type, setter, default, required)  # type: ignore[arg-type] # narrowed by the assertion above


# Enumerations whose values a caller may send; the others are only ever written by the lab.
ENUMS: dict[str, tuple[str, ...]] = {
    "vm_power_state": ("Halted", "Paused", "Running", "Suspended"),
    "task_status_type": ("pending", "success", "failure", "cancelling", "cancelled"),
    "vdi_type": (
        *("system", "user", "ephemeral", "suspend", "crashdump", "ha_statefile", "metadata"),
        *("redo_log", "rrd", "pvs_cache", "cbt_metadata"),
    ),
    "vbd_type": ("CD", "Disk", "Floppy"),
    "vbd_mode": ("RO", "RW"),
    "on_boot": ("reset", "persist"),
    "network_purpose": ("nbd", "insecure_nbd"),
    "cls": ("VM", "Host", "SR", "Pool", "VMPP", "VMSS", "PVS_proxy", "VDI", "Certificate"),
    "on_normal_exit": ("destroy", "restart"),
    "on_softreboot_behavior": ("soft_reboot", "destroy", "restart", "preserve"),
    "on_crash_behaviour": (
        *("destroy", "coredump_and_destroy", "restart", "coredump_and_restart"),
        *("preserve", "rename_restart"),
    ),
    "domain_type": ("hvm", "pv", "pv_in_pvh", "pvh", "unspecified"),
    "vif_locking_mode": ("network_default", "locked", "unlocked", "disabled"),
    "console_protocol": ("vt100", "rfb", "rdp"),
    "persistence_backend": ("xapi",),
}

# Reverse sets are kept by the database: (class, field) of the many side → (class, set) of the one.
RELATIONS: dict[tuple[str, str], tuple[str, str]] = {
    ("VM", "snapshot_of"): ("VM", "snapshots"),
    ("VM", "parent"): ("VM", "children"),
    ("VM", "resident_on"): ("host", "resident_VMs"),
    ("VM", "appliance"): ("VM_appliance", "VMs"),
    ("VM", "snapshot_schedule"): ("VMSS", "VMs"),
    ("VDI", "snapshot_of"): ("VDI", "snapshots"),
    ("VDI", "SR"): ("SR", "VDIs"),
    ("VDI", "metadata_of_pool"): ("pool", "metadata_VDIs"),
    ("VBD", "VM"): ("VM", "VBDs"),
    ("VBD", "VDI"): ("VDI", "VBDs"),
    ("VIF", "VM"): ("VM", "VIFs"),
    ("VIF", "network"): ("network", "VIFs"),
    ("VTPM", "VM"): ("VM", "VTPMs"),
    ("console", "VM"): ("VM", "consoles"),
    ("PBD", "host"): ("host", "PBDs"),
    ("PBD", "SR"): ("SR", "PBDs"),
    ("PIF", "host"): ("host", "PIFs"),
    ("PIF", "network"): ("network", "PIFs"),
    ("Certificate", "host"): ("host", "certificates"),
    ("task", "subtask_of"): ("task", "subtasks"),
}

# Classes that every pool lists and that are always empty here.
EMPTY_CLASSES = (
    *("subject", "role", "pool_patch", "pool_update", "DR_task", "host_crashdump", "host_patch"),
    *("host_cpu", "Bond", "VLAN", "crashdump", "tunnel", "network_sriov", "PCI", "PGPU"),
    *("GPU_group", "VGPU", "VGPU_type", "PVS_site", "PVS_server", "PVS_proxy"),
    *("PVS_cache_storage", "Feature", "SDN_controller", "PUSB", "USB_group", "VUSB", "Cluster"),
    *("Cluster_host", "Repository", "Observer", "Host_driver", "Driver_variant", "Caller"),
    "Rate_limit",
)

# Classes that are listed and answer MESSAGE_REMOVED to everything.
REMOVED_CLASSES = ("VMPP", "VIF_metrics", "VBD_metrics")

_NOT_PERSISTENT = {"session", "task"}
_NOT_EVENTED = {"session", "secret"}
_NOT_LISTED = {"session"}
_TEXTS = (schema_pool, schema_storage, schema_vm)


def _read_tables() -> dict[str, Table]:
    tables = {}
    for module in _TEXTS:
        for text in vars(module).values():
            if not isinstance(text, str) or not text.startswith("class "):
                continue
            head, *lines = text.strip().splitlines()
            name = head.removeprefix("class ")
            fields = {field.name: field for field in map(_field, lines)}
            tables[name] = Table(
                name,
                fields,
                persistent=name not in _NOT_PERSISTENT,
                evented=name not in _NOT_EVENTED,
                listed=name not in _NOT_LISTED,
            )
    uuid_field = Field("uuid", "string", "ro", "", required=False)
    for name in EMPTY_CLASSES:
        tables[name] = Table(name, {"uuid": uuid_field}, True, True, True)
    return tables


TABLES: dict[str, Table] = _read_tables()

# Set fields that mirror a reference elsewhere: class → its derived fields.
DERIVED: dict[str, frozenset[str]] = {
    name: frozenset(field for target, field in RELATIONS.values() if target == name)
    for name in TABLES
}
