"""A new VM out of an archive: the pool makes it, and then it is made to look restored.

The pool gives it uuids and network addresses of its own; neither can be asked for without taking
all of the old VM's identity. What it brings along besides (our marks, other tools') goes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from reconciler.catalog.errors import NotSafe
from reconciler.catalog.layout import key_of
from reconciler.executor.new_vm import TAG, without_marks
from reconciler.executor.pool_objects import read_vm
from reconciler.executor.transfers import Gauge
from reconciler.observed.chain import RestorePoint
from reconciler.observed.restore_marks import in_the_making
from reconciler.remotes.remote import Remote
from reconciler.transfer.archive import checked_pieces
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.vm_import_sink import VmImportSink
from reconciler.xapi.archives import VmImport, open_vm_import
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import GONE, XapiFailure
from reconciler.xapi.records import VmRecord
from reconciler.xva.errors import XvaError

_LOOK_S = 0.1
_LOOK_MAX_S = 2.0

Mark = Callable[[VmRecord], Awaitable[None]]
"""Says on a VM that is being imported what it is, before it can be whole."""


async def import_archive(
    client: XapiClient,
    remote: Remote,
    point: RestorePoint,
    sr: str,
    gauge: Gauge,
    *,
    names: Collection[str],
    mark: Mark,
) -> str:
    """Import a point's archive onto an SR (a reference); return the new VM's reference.

    It is checked on the way; if it is not whole, the pool removes what it made of it. names: under
    which the VM may have been exported. Raises XapiError, RemoteError, NotSafe, ChainBroken.
    """
    key = key_of(point.vm, point.archive)
    size_bytes = (await remote.stat(key)).size_bytes
    if size_bytes != point.size_bytes > 0:
        raise NotSafe(point.archive, f"has {size_bytes} bytes instead of {point.size_bytes}")
    gauge.expect(size_bytes)

    async def opened() -> VmImport:
        return await open_vm_import(client, sr, length=size_bytes, label=point.vm_name)

    sink = VmImportSink(opened)

    async def mark_early() -> None:
        await mark(await find_new(client, await sink.task(), names))
        sink.release()

    try:
        async with asyncio.TaskGroup() as group:
            marking = group.create_task(mark_early())
            await _receive(remote, key, sink, gauge)
            marking.cancel()  # if it was over too soon for anybody to look
    except ExceptionGroup as errors:
        await sink.abort()
        raise errors.exceptions[0] from errors  # the first: the other was only cancelled by it
    except BaseException:
        await sink.abort()
        raise
    (vm,) = sink.made
    await mark(await read_vm(client, vm))
    return vm


async def _receive(remote: Remote, key: str, sink: VmImportSink, gauge: Gauge) -> None:
    try:
        async with remote.download(key) as pieces:
            async for piece in checked_pieces(pieces, gauge.advance):
                await sink.write(memoryview(piece))
            await sink.end()
    except XvaError as error:
        raise ChainBroken(key, str(error)) from error


async def find_new(client: XapiClient, task: str, names: Collection[str]) -> VmRecord:
    """The VM that an import makes, as soon as there is one. It has the exported name."""
    wait_s = _LOOK_S
    while True:
        for name in names:
            for ref in await client.call("VM.get_by_name_label", name):
                try:
                    if task in await client.call("VM.get_current_operations", ref):
                        return await read_vm(client, ref)
                except XapiFailure as failure:
                    if failure.code not in GONE:
                        raise
        # the pool's work is waited for, so the wait is real, whatever the clock says
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, _LOOK_MAX_S)


async def disks_of(client: XapiClient, vm: str) -> list[str]:
    """References of a VM's disks."""
    vbds = [
        await client.call("VBD.get_record", ref) for ref in await client.call("VM.get_VBDs", vm)
    ]
    return [str(vbd["VDI"]) for vbd in vbds if vbd["type"] == "Disk" and not vbd["empty"]]


async def dress(client: XapiClient, point: RestorePoint, vm: str) -> None:
    """Say on an imported VM and its disks where they come from, and take others' marks off them.

    Those that say that they are in the making stay. Raises XapiError.
    """
    for kind, refs in (("VDI", await disks_of(client, vm)), ("VM", [vm])):
        for ref in refs:
            marks: dict[str, Any] = await client.call(f"{kind}.get_other_config", ref)
            origin = {"reconciler:restored-from": f"{point.vm}/{point.stamp}"}
            config: dict[str, Any] = {**without_marks(marks), **origin, **in_the_making(marks)}
            await client.call(f"{kind}.set_other_config", ref, config)
    await client.call("VM.set_is_a_template", vm, False)
    await client.call("VM.add_tags", vm, TAG)
