"""Restore a point as a new VM. Never touches one that is there.

The VM carries its final name and may be started only once every disk is whole; until then it is
named "[Restoring…] …" and its start is blocked. Whatever fails, what was made is removed again; and
what a killed process leaves of a restore that a manifest asks for is marked, and removed by a plan.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import structlog

from reconciler.catalog.chains import chain_keys_of
from reconciler.catalog.metadata import PointMetadata, point_of
from reconciler.catalog.read import read_metadata
from reconciler.desired.state import MacAddresses
from reconciler.executor import restores
from reconciler.executor.imported_vm import disks_of, dress, import_archive
from reconciler.executor.networks import Networks
from reconciler.executor.new_vm import (
    block,
    create_interfaces,
    create_tpms,
    create_vm,
    new_disk,
    new_vbd,
    record,
    unblock,
)
from reconciler.executor.tools import Tools
from reconciler.observed.pool import PowerState
from reconciler.observed.restore_marks import write_restoring
from reconciler.plan.restore_actions import RestoreVm
from reconciler.remotes.remote import Remote
from reconciler.transfer.restore import open_chain, vhd_stream
from reconciler.vhd.layout import BLOCK
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import XapiError
from reconciler.xapi.imports import import_vhd
from reconciler.xapi.records import VmRecord
from reconciler.xapi.tasks import run_async

log = structlog.get_logger(__name__)

_CLEAN_UP_S = 60.0
_START_S = 600.0


async def run(action: RestoreVm, tools: Tools) -> None:
    """Create the VM, its disks and interfaces, and fill the disks, several at once; or import it.

    What a manifest asks for is done once: nothing is done if the pool says that it was. Raises
    XapiError, RemoteError, CatalogError, TransferError, VhdError, Refused.
    """
    client = await tools.pool(action.pool)
    if action.restore is not None and not await restores.begin(client, action, action.restore):
        return
    name = action.name or f"{action.vm_name} ({action.stamp})"
    if action.restore is not None and action.made is not None:
        vm = await restores.whole_vm(client, action.restore, action.made)
    else:
        vm = await _make(action, tools, client, name)
    if action.restore is not None:  # again, if it was interrupted here
        await restores.mark_whole(client, action.restore, vm)
        await _release(client, vm, name)
    uuid = str(await client.call("VM.get_uuid", vm))
    log.info("vm restored", vm=name, uuid=uuid, pool=action.pool)
    tools.made(uuid)
    if action.start and await client.call("VM.get_power_state", vm) == PowerState.HALTED:
        await run_async(client, "VM.start", [vm, False, False], _START_S)
    if action.restore is not None:
        await restores.note_done(client, action.restore, uuid)


async def _make(action: RestoreVm, tools: Tools, client: XapiClient, name: str) -> str:
    """Make the VM whole; return its reference."""
    networks = await Networks.of_pool(client, action.networks)
    remote = await tools.remote(action.remote)
    metadata = await read_metadata(remote, action.vm, action.stamp)
    sr = await _storage(client, action.sr)
    async with _removed_on_error(client) as made:
        step = _Step(action, metadata, sr, made, client, remote, tools, networks)
        await (step.from_archive(name) if metadata.is_full else step.from_disks(name))
        if action.restore is not None:
            await restores.mark_whole(client, action.restore, made.vm)
        else:
            await _release(client, made.vm, name)
    return made.vm


async def _release(client: XapiClient, vm: str, name: str) -> None:
    """Give a whole VM its name, and let it be started."""
    await client.call("VM.set_name_label", vm, name)
    await unblock(client, vm)


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
    networks: Networks

    @property
    def _marks(self) -> dict[str, str]:
        restore = self.action.restore
        return {} if restore is None else write_restoring(restore)

    async def from_archive(self, name: str) -> None:
        """The pool makes the VM, and removes it again if the import fails."""
        point = point_of(self.metadata, self.action.vm, self.action.stamp)
        made, client = self.made, self.client

        async def mark(vm: VmRecord) -> None:
            if self.action.restore is not None:
                await restores.mark_restoring(client, self.action.restore, vm)
            await block(client, vm.ref, name)

        exported = record(self.metadata, "vmSnapshot").get("name_label")
        async with self.tools.export_slot(self.action.pool):
            made.vm = await import_archive(
                client,
                self.remote,
                point,
                self.sr,
                self.tools.gauge,
                names={str(exported or ""), point.vm_name},
                mark=mark,
            )
        made.disks = await disks_of(client, made.vm)
        await dress(client, point, made.vm)

    async def from_disks(self, name: str) -> None:
        """The VM, its disks, its devices, one after the other."""
        made, client, metadata = self.made, self.client, self.metadata
        made.vm = await create_vm(client, metadata, name, self._marks)
        if self._marks:
            await restores.name_itself(client, "VM", made.vm)
        async with asyncio.TaskGroup() as group:
            for ref in metadata.vhds:
                group.create_task(self._disk(ref))
        await create_interfaces(
            client, metadata, made.vm, self.networks, keep=self.action.mac is MacAddresses.KEEP
        )
        await create_tpms(client, metadata, made.vm)

    async def _disk(self, ref: str) -> None:
        tools, client, metadata = self.tools, self.client, self.metadata
        keys = await chain_keys_of(self.remote, self.action.vm, metadata.vhds[ref])
        async with (
            tools.export_slot(self.action.pool),
            open_chain(self.remote, keys, tools.block_workers) as chain,
        ):
            tools.gauge.expect(len(chain.blocks()) * BLOCK)
            disk = await new_disk(client, metadata, ref, self.sr, chain.size, self._marks)
            self.made.disks.append(disk)
            if self._marks:
                await restores.name_itself(client, "VDI", disk)
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
