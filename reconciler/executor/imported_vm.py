"""A new VM out of an archive: the pool makes it, and then it is made to look restored.

The pool gives it uuids and network addresses of its own; neither can be asked for without taking
all of the old VM's identity. What it brings along besides (our marks, other tools') goes.
"""

from typing import Any

from reconciler.catalog.errors import NotSafe
from reconciler.catalog.layout import key_of
from reconciler.executor.new_vm import TAG, without_marks
from reconciler.executor.transfers import Gauge
from reconciler.observed.chain import RestorePoint
from reconciler.remotes.remote import Remote
from reconciler.transfer.archive import checked_pieces
from reconciler.transfer.errors import ChainBroken
from reconciler.xapi.archives import open_vm_import
from reconciler.xapi.client import XapiClient
from reconciler.xva.errors import XvaError


async def import_archive(
    client: XapiClient, remote: Remote, point: RestorePoint, sr: str, gauge: Gauge
) -> str:
    """Import a point's archive onto an SR (a reference); return the new VM's reference.

    It is checked on the way; if it is not whole, the pool removes what it made of it. Raises
    XapiError, RemoteError, NotSafe, ChainBroken.
    """
    key = key_of(point.vm, point.archive)
    size_bytes = (await remote.stat(key)).size_bytes
    if size_bytes != point.size_bytes > 0:
        raise NotSafe(point.archive, f"has {size_bytes} bytes instead of {point.size_bytes}")
    gauge.expect(size_bytes)
    try:
        async with remote.download(key) as pieces:
            stream = await open_vm_import(client, sr, length=size_bytes, label=point.vm_name)
            async with stream:
                async for piece in checked_pieces(pieces, gauge.advance):
                    await stream.write(piece)
                return (await stream.finish())[0]
    except XvaError as error:
        raise ChainBroken(key, str(error)) from error


async def disks_of(client: XapiClient, vm: str) -> list[str]:
    """References of a VM's disks."""
    vbds = [
        await client.call("VBD.get_record", ref) for ref in await client.call("VM.get_VBDs", vm)
    ]
    return [str(vbd["VDI"]) for vbd in vbds if vbd["type"] == "Disk" and not vbd["empty"]]


async def dress(client: XapiClient, point: RestorePoint, vm: str, name: str) -> None:
    """Give an imported VM its name, say where it comes from, and take marks off it and its disks.

    Raises XapiError.
    """
    for kind, refs in (("VDI", await disks_of(client, vm)), ("VM", [vm])):
        for ref in refs:
            marks: dict[str, Any] = await client.call(f"{kind}.get_other_config", ref)
            origin = {"reconciler:restored-from": f"{point.vm}/{point.stamp}"}
            config: dict[str, Any] = {**without_marks(marks), **origin}
            await client.call(f"{kind}.set_other_config", ref, config)
    await client.call("VM.set_is_a_template", vm, False)
    await client.call("VM.add_tags", vm, TAG)
    await client.call("VM.set_name_label", vm, name)
