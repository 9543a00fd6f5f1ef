"""The configuration of a replica: what the protected VM had when its snapshot was taken.

A new replica is made with all of it. One that is brought up to date is given what differs, field by
field. It keeps the network addresses of the VM that it stands for, because it is blocked from
starting while that VM lives; who clones it gets new ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.observed.replica_marks import BLOCKED
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import XapiFailure

Record = Mapping[str, Any]
"""What XAPI says of an object, whole."""

TAG = "Continuous Replication"
_HA_TAG = "HA disabled"
_NULL = "OpaqueRef:NULL"

_PLAIN = (
    *("user_version", "VCPUs_params", "actions_after_shutdown", "actions_after_reboot"),
    *("actions_after_crash", "PV_bootloader", "PV_kernel", "PV_ramdisk", "PV_args"),
    *("PV_bootloader_args", "PV_legacy_args", "HVM_boot_policy", "HVM_boot_params"),
    *("HVM_shadow_multiplier", "platform", "PCI_bus", "recommendations", "xenstore_data"),
    *("hardware_platform_version", "has_vendor_device", "domain_type", "NVRAM"),
)
_MEMORY = ("memory_static_min", "memory_static_max", "memory_dynamic_min", "memory_dynamic_max")
_VCPUS = ("VCPUs_max", "VCPUs_at_startup")
_UNKNOWN_HERE = frozenset({"MESSAGE_METHOD_UNKNOWN", "MESSAGE_REMOVED"})


def new_vm(source: Record, name: str, other_config: Mapping[str, str]) -> dict[str, Any]:
    """What `VM.create` takes for a replica of a VM with this record: blocked, not protected."""
    fields = (*_PLAIN, *_MEMORY, *_VCPUS)
    return {
        **{field: source[field] for field in fields if field in source},
        "name_label": name,
        "name_description": source.get("name_description", ""),
        "is_a_template": False,
        "affinity": _NULL,
        "tags": _tags(source),
        "other_config": {**other_config},
        "blocked_operations": blocked(),
        "ha_always_run": False,
        "ha_restart_priority": "",
    }


def blocked() -> dict[str, str]:
    """The operations that a replica is kept from, and why."""
    return {"start": BLOCKED, "start_on": BLOCKED}


async def configure(client: XapiClient, vm: str, source: Record, description: str) -> None:
    """Give a replica (a reference) the fields of the source's record in which it differs.

    Raises XapiError.
    """
    record: Record = await client.call("VM.get_record", vm)
    for field in _PLAIN:
        if field in source and field in record and source[field] != record[field]:
            await _set(client, vm, field, source[field])
    if any(source[field] != record[field] for field in _MEMORY):
        static_min, static_max, dynamic_min, dynamic_max = (source[field] for field in _MEMORY)
        await client.call(
            "VM.set_memory_limits", vm, static_min, static_max, dynamic_min, dynamic_max
        )
    # never more at the start than there may be, also in between
    grows = int(source["VCPUs_max"]) >= int(record["VCPUs_max"])
    for field in _VCPUS if grows else reversed(_VCPUS):
        if source[field] != record[field]:
            await _set(client, vm, field, source[field])
    if record.get("ha_restart_priority"):
        await _set(client, vm, "ha_restart_priority", "")
    await _set(client, vm, "tags", _tags(source))
    await _set(client, vm, "name_description", description)


async def replace_interfaces(client: XapiClient, vm: str, interfaces: Mapping[str, Record]) -> None:
    """Give a replica (a reference) the source's interfaces, on networks of the same uuid, else of
    the same name. One whose network is not here is left out. Raises XapiError."""
    for old in await client.call("VM.get_VIFs", vm):
        await client.call("VIF.destroy", old)
    networks = await client.call("network.get_all_records") if interfaces else {}
    by_uuid = {network["uuid"]: ref for ref, network in networks.items()}
    by_name = {network["name_label"]: ref for ref, network in networks.items()}
    for source in interfaces.values():
        network = by_uuid.get(source.get("$network$uuid", "")) or by_name.get(
            source.get("$network$name_label", "")
        )
        if network is None:
            continue
        struct = {
            "device": source.get("device", "0"),
            "network": network,
            "VM": vm,
            "MAC": source.get("MAC", ""),
            "MTU": source.get("MTU", 1500),
            "other_config": source.get("other_config", {}),
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        }
        await client.call("VIF.create", struct)


async def replace_tpms(client: XapiClient, vm: str, contents: Sequence[str | None]) -> None:
    """Give a replica (a reference) virtual TPMs with these contents. Raises XapiError."""
    for old in await client.call("VM.get_VTPMs", vm):
        await client.call("VTPM.destroy", old)
    for content in contents:
        tpm = await client.call("VTPM.create", vm, False)
        if content is not None:
            await client.call("VTPM.set_contents", tpm, content)


async def _set(client: XapiClient, vm: str, field: str, value: Any) -> None:
    """Set a field; one that an older pool cannot change stays as it is."""
    try:
        await client.call(f"VM.set_{field}", vm, value)
    except XapiFailure as failure:
        if failure.code not in _UNKNOWN_HERE:
            raise


def _tags(source: Record) -> list[str]:
    added = [TAG, *([_HA_TAG] if source.get("ha_restart_priority") else [])]
    return [*source.get("tags", []), *(tag for tag in added if tag not in source.get("tags", []))]
