"""The configuration of a replica: what the protected VM had when its snapshot was taken.

A new replica is made with all of it. One that is brought up to date is given what differs, field by
field. It keeps the network addresses of the VM that it stands for, because it is blocked from
starting while that VM lives; who clones it gets new ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.executor.networks import Networks
from reconciler.executor.vm_config import MEMORY, PLAIN, VCPUS, Record, create_interfaces
from reconciler.observed.replica_marks import BLOCKED
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import XapiFailure

TAG = "Continuous Replication"
_HA_TAG = "HA disabled"
_NULL = "OpaqueRef:NULL"

_UNKNOWN_HERE = frozenset({"MESSAGE_METHOD_UNKNOWN", "MESSAGE_REMOVED"})


def new_vm(source: Record, name: str, other_config: Mapping[str, str]) -> dict[str, Any]:
    """What `VM.create` takes for a replica of a VM with this record: blocked, not protected."""
    fields = (*PLAIN, *MEMORY, *VCPUS)
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
    for field in PLAIN:
        if field in source and field in record and source[field] != record[field]:
            await _set(client, vm, field, source[field])
    if any(source[field] != record[field] for field in MEMORY):
        static_min, static_max, dynamic_min, dynamic_max = (source[field] for field in MEMORY)
        await client.call(
            "VM.set_memory_limits", vm, static_min, static_max, dynamic_min, dynamic_max
        )
    # never more at the start than there may be, also in between
    grows = int(source["VCPUs_max"]) >= int(record["VCPUs_max"])
    for field in VCPUS if grows else reversed(VCPUS):
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
    if interfaces:
        networks = await Networks.of_pool(client)
        await create_interfaces(client, vm, interfaces, networks, keep_addresses=True)


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
