"""A new VM out of a restore point's records: the VM, its disks, its devices, empty and stopped.

Everything made here is marked with what it came from. What only made sense for the old VM (host,
storage, other tools' marks) is left out.
"""

from collections.abc import Mapping
from typing import Any

from reconciler.catalog.metadata import PointMetadata
from reconciler.executor import vm_config
from reconciler.executor.networks import Networks
from reconciler.executor.vm_config import MEMORY, PLAIN, VCPUS
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import XapiFailure

_NULL = "OpaqueRef:NULL"
_RESTORING = "reconciler is restoring this VM"
_BLOCKED = {"start": _RESTORING, "start_on": _RESTORING}
TAG = "restored from backup"

_VM_FIELDS = (*PLAIN, *MEMORY, *VCPUS, "name_description")
_FOREIGN_MARKS = ("xo:backup:", "xo:copy_of", "xo:base_delta", "reconciler:")


def record(metadata: PointMetadata, field: str) -> Mapping[str, Any]:
    """A part of the metadata that only a restore looks into; empty if it is not there."""
    value = (metadata.model_extra or {}).get(field)
    return value if isinstance(value, dict) else {}


async def create_vm(
    client: XapiClient, metadata: PointMetadata, name: str, marks: Mapping[str, str]
) -> str:
    """Create the VM, blocked from starting; return its reference. marks: it has from the start."""
    old = metadata.vm.model_dump(by_alias=True)
    tags = [*old.get("tags", []), *([] if TAG in old.get("tags", []) else [TAG])]
    struct = {
        **{field: old[field] for field in _VM_FIELDS if field in old},
        "name_label": _unfinished(name),
        "is_a_template": False,
        "affinity": _NULL,
        "tags": tags,
        "other_config": {
            **without_marks(old.get("other_config", {})),
            "reconciler:restored-from": f"{metadata.vm.uuid}/{metadata.stamp}",
            **marks,
        },
        "blocked_operations": _BLOCKED,
    }
    return str(await client.call("VM.create", struct))


async def block(client: XapiClient, vm: str, name: str) -> None:
    """Keep a VM (a reference) that is in the making from being started, and name it so."""
    await client.call("VM.set_blocked_operations", vm, {**_BLOCKED})
    await client.call("VM.set_name_label", vm, _unfinished(name))


async def unblock(client: XapiClient, vm: str) -> None:
    """Let a VM (a reference) that is whole be started."""
    for operation in _BLOCKED:
        await client.call("VM.remove_from_blocked_operations", vm, operation)


def _unfinished(name: str) -> str:
    return f"[Restoring…] {name}"


async def new_disk(
    client: XapiClient,
    metadata: PointMetadata,
    ref: str,
    sr: str,
    size_bytes: int,
    marks: Mapping[str, str],
) -> str:
    """Create an empty disk for the point's disk under `ref`; return its reference."""
    old = metadata.vdis[ref].model_dump(by_alias=True)
    struct = {
        "name_label": old.get("name_label", ""),
        "name_description": old.get("name_description", ""),
        "SR": sr,
        "virtual_size": size_bytes,
        "type": old.get("type", "user"),
        "sharable": False,
        "read_only": False,
        "other_config": {
            **without_marks(old.get("other_config", {})),
            "reconciler:restored-from": f"{metadata.vm.uuid}/{metadata.stamp}",
            **marks,
        },
        "xenstore_data": {},
        "sm_config": {},
        "tags": old.get("tags", []),
    }
    return str(await client.call("VDI.create", struct))


async def new_vbd(
    client: XapiClient, metadata: PointMetadata, ref: str, vm: str, disk: str
) -> None:
    """Attach a new disk where the old one was; a disk that was attached twice is again."""
    for old in record(metadata, "vbds").values():
        if old.get("VDI") == ref:
            struct = {
                "VM": vm,
                "VDI": disk,
                "userdevice": old.get("userdevice", "autodetect"),
                "bootable": old.get("bootable", False),
                "mode": old.get("mode", "RW"),
                "type": "Disk",
                "unpluggable": old.get("unpluggable", True),
                "empty": False,
                "other_config": {"owner": ""},
                "qos_algorithm_type": "",
                "qos_algorithm_params": {},
            }
            await client.call("VBD.create", struct)


async def create_interfaces(
    client: XapiClient, metadata: PointMetadata, vm: str, networks: Networks, *, keep: bool
) -> None:
    """Create the interfaces of a new VM (a reference). keep: their addresses.

    They are not kept where the old VM is still there: two on one network would be a fault.
    """
    keep_addresses = keep and not await _exists(client, metadata.vm.uuid)
    await vm_config.create_interfaces(
        client, vm, record(metadata, "vifs"), networks, keep_addresses=keep_addresses
    )


async def create_tpms(client: XapiClient, metadata: PointMetadata, vm: str) -> None:
    """Create the virtual TPMs with the contents that the point holds."""
    contents = (metadata.model_extra or {}).get("vtpms")
    for content in contents if isinstance(contents, list) else []:
        if isinstance(content, str):
            tpm = await client.call("VTPM.create", vm, False)
            await client.call("VTPM.set_contents", tpm, content)


async def _exists(client: XapiClient, vm_uuid: str) -> bool:
    try:
        await client.call("VM.get_by_uuid", vm_uuid)
    except XapiFailure as failure:
        if failure.code == "UUID_INVALID":
            return False
        raise
    return True


def without_marks(other_config: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in other_config.items() if not key.startswith(_FOREIGN_MARKS)}
