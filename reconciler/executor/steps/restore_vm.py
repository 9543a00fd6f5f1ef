"""Restore a point as a new VM. Never touches one that is there.

The VM carries its final name and may be started only once every disk is whole; until then it is
named "[Restoring…] …" and its start is blocked. Whatever fails, what was made is removed again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import structlog

from reconciler.catalog.chains import chain_keys_of
from reconciler.catalog.metadata import PointMetadata, point_of
from reconciler.catalog.read import read_metadata
from reconciler.executor.imported_vm import disks_of, dress, import_archive
from reconciler.executor.new_vm import create_interfaces, create_tpms, create_vm, new_disk, new_vbd
from reconciler.executor.tools import Tools
from reconciler.plan.actions import RestoreVm
from reconciler.remotes.remote import Remote
from reconciler.transfer.restore import open_chain, vhd_stream
from reconciler.vhd.layout import BLOCK
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import XapiError
from reconciler.xapi.imports import import_vhd
from reconciler.xapi.tasks import run_async

log = structlog.get_logger(__name__)

_CLEAN_UP_S = 60.0
_START_S = 600.0


async def run(action: RestoreVm, tools: Tools) -> None:
    """Create the VM, its disks and interfaces, and fill the disks, several at once; or import it.

    Raises XapiError, RemoteError, CatalogError, TransferError, VhdError.
    """
    client = await tools.pool(action.pool)
    remote = await tools.remote(action.remote)
    metadata = await read_metadata(remote, action.vm, action.stamp)
    name = action.name or f"{action.vm_name} ({action.stamp})"
    sr = await _storage(client, action.sr)
    async with _removed_on_error(client) as made:
        step = _Step(action, metadata, sr, made, client, remote, tools)
        await (step.from_archive(name) if metadata.is_full else step.from_disks(name))
    uuid = await client.call("VM.get_uuid", made.vm)
    log.info("vm restored", vm=name, uuid=uuid, pool=action.pool)
    tools.made(str(uuid))
    if action.start:
        await run_async(client, "VM.start", [made.vm, False, False], _START_S)


@dataclass(slots=True)
class _Made:
    """References of what this restore created."""

    vm: str = ""
    disks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Step:
    """What the parts of one restore share. sr: a reference."""

    action: RestoreVm
    metadata: PointMetadata
    sr: str
    made: _Made
    client: XapiClient
    remote: Remote
    tools: Tools

    async def from_archive(self, name: str) -> None:
        """The pool makes the VM, and removes it again if the import fails."""
        point = point_of(self.metadata, self.action.vm, self.action.stamp)
        made, client = self.made, self.client
        async with self.tools.export_slot(self.action.pool):
            made.vm = await import_archive(client, self.remote, point, self.sr, self.tools.gauge)
        made.disks = await disks_of(client, made.vm)
        await dress(client, point, made.vm, name)

    async def from_disks(self, name: str) -> None:
        """The VM, its disks, its devices, one after the other."""
        made, client, metadata = self.made, self.client, self.metadata
        made.vm = await create_vm(client, metadata, name)
        async with asyncio.TaskGroup() as group:
            for ref in metadata.vhds:
                group.create_task(self._disk(ref))
        await create_interfaces(client, metadata, made.vm)
        await create_tpms(client, metadata, made.vm)
        await client.call("VM.set_name_label", made.vm, name)
        for operation in ("start", "start_on"):
            await client.call("VM.remove_from_blocked_operations", made.vm, operation)

    async def _disk(self, ref: str) -> None:
        tools, client, metadata = self.tools, self.client, self.metadata
        keys = await chain_keys_of(self.remote, self.action.vm, metadata.vhds[ref])
        async with (
            tools.export_slot(self.action.pool),
            open_chain(self.remote, keys, tools.block_workers) as chain,
        ):
            tools.gauge.expect(len(chain.blocks()) * BLOCK)
            disk = await new_disk(client, metadata, ref, self.sr, chain.size)
            self.made.disks.append(disk)
            length, pieces = vhd_stream(chain, on_progress=tools.gauge.advance)
            await import_vhd(client, disk, length, pieces, label=self.action.vm_name)
            await new_vbd(client, metadata, ref, self.made.vm, disk)


async def _storage(client: XapiClient, wanted: str | None) -> str:
    """Reference of the SR named by uuid or label, or of the pool's default."""
    if wanted is None:
        pools = await client.call("pool.get_all_records")
        return str(next(iter(pools.values()))["default_SR"])
    by_name = await client.call("SR.get_by_name_label", wanted)
    if by_name:
        return str(by_name[0])
    return str(await client.call("SR.get_by_uuid", wanted))


@contextlib.asynccontextmanager
async def _removed_on_error(client: XapiClient) -> AsyncIterator[_Made]:
    made = _Made()
    try:
        yield made
    except BaseException:
        with contextlib.suppress(XapiError, TimeoutError):
            await asyncio.shield(_remove(client, made))
        raise


async def _remove(client: XapiClient, made: _Made) -> None:
    async with asyncio.timeout(_CLEAN_UP_S):
        if made.vm:
            await run_async(client, "VM.destroy", [made.vm], _CLEAN_UP_S)
        for disk in made.disks:
            await run_async(client, "VDI.destroy", [disk], _CLEAN_UP_S)
