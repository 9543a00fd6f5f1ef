"""The records of a VM that go into a restore point's metadata, collected from its pool.

Whole XAPI records, as Xen Orchestra writes them, because a restore creates the VM from them, plus
the few keys that it adds: which live disk a disk snapshot is of, its storage repository, and what a
network interface was attached to. References stay as join keys inside one point and mean nothing
outside it.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from reconciler.catalog.metadata import PointRecords
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import XapiFailure

Record = dict[str, Any]

_NULL = "OpaqueRef:NULL"


async def collect(client: XapiClient, vm_uuid: str, snapshot_uuid: str) -> PointRecords:
    """Read everything that is needed to make the VM again. Raises XapiError."""
    vm_ref, snapshot_ref = await _both(
        client.call("VM.get_by_uuid", vm_uuid), client.call("VM.get_by_uuid", snapshot_uuid)
    )
    vm, snapshot = await _both(
        client.call("VM.get_record", vm_ref), client.call("VM.get_record", snapshot_ref)
    )
    vbds = {
        ref: record
        for ref, record in (await _records(client, "VBD", snapshot["VBDs"])).items()
        if record["type"] == "Disk" and record["VDI"] != _NULL
    }
    vdis = await _records(client, "VDI", {record["VDI"] for record in vbds.values()})
    vifs = await _records(client, "VIF", snapshot["VIFs"])
    async with asyncio.TaskGroup() as group:
        for record in vdis.values():
            group.create_task(_name_origin(client, record, vm_uuid))
        for record in vifs.values():
            group.create_task(_name_network(client, record))
        vtpms = group.create_task(_vtpm_contents(client, snapshot))
    return PointRecords(vm, snapshot, vbds, vdis, vifs, vtpms.result())


async def _both(first: Any, second: Any) -> tuple[Any, Any]:
    async with asyncio.TaskGroup() as group:
        one, other = group.create_task(first), group.create_task(second)
    return one.result(), other.result()


async def _records(client: XapiClient, kind: str, refs: Iterable[str]) -> dict[str, Record]:
    async with asyncio.TaskGroup() as group:
        tasks = {
            ref: group.create_task(client.call(f"{kind}.get_record", ref)) for ref in sorted(refs)
        }
    return {ref: task.result() for ref, task in tasks.items()}


async def _name_origin(client: XapiClient, vdi: Record, vm_uuid: str) -> None:
    if vdi["snapshot_of"] != _NULL:
        vdi["$snapshot_of$uuid"] = await client.call("VDI.get_uuid", vdi["snapshot_of"])
    vdi["$SR$uuid"] = await client.call("SR.get_uuid", vdi["SR"])
    vdi["other_config"] = {**vdi["other_config"], "xo:backup:vm": vm_uuid}


async def _name_network(client: XapiClient, vif: Record) -> None:
    network = await client.call("network.get_record", vif["network"])
    vif["$network$uuid"] = network["uuid"]
    vif["$network$name_label"] = network["name_label"]
    if network["PIFs"]:
        vif["$network$VLAN"] = await client.call("PIF.get_VLAN", network["PIFs"][0])


async def _vtpm_contents(client: XapiClient, snapshot: Record) -> list[str | None]:
    contents: list[str | None] = []
    for ref in snapshot.get("VTPMs", []):
        try:
            contents.append(await client.call("VTPM.get_contents", ref))
        except XapiFailure:
            contents.append(None)  # older pools have virtual TPMs without readable contents
    return contents
