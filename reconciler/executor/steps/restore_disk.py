"""Restore one disk of a point to a local file. Reads only; needs no lock.

Files of the chain are opened before the first byte is read. What others may do to them from then on
(merge what is below a live point, remove what is no longer needed) does not change what is read.
An archive is read from its start to its end, whichever disk of it is wanted.
"""

from reconciler.catalog.chains import chain_keys
from reconciler.catalog.layout import key_of
from reconciler.catalog.metadata import point_of
from reconciler.catalog.read import read_metadata
from reconciler.executor.tools import Tools
from reconciler.observed.chain import PointKind, RestorePoint
from reconciler.plan.restore_actions import RestoreDisk
from reconciler.remotes.remote import Remote
from reconciler.transfer.archived_disk import write_archived_disk
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.restore import open_chain, write_qcow2, write_raw, write_vhd
from reconciler.vhd.layout import BLOCK
from reconciler.xva.errors import XvaError

_WRITERS = {"raw": write_raw, "vhd": write_vhd, "qcow2": write_qcow2}


async def run(action: RestoreDisk, tools: Tools) -> None:
    """Write the disk to `action.output`, which must not exist.

    Raises FileExistsError, OSError, RemoteError, CatalogError, TransferError, VhdError, Qcow2Error.
    """
    remote = await tools.remote(action.remote)
    metadata = await read_metadata(remote, action.vm, action.stamp)
    point = point_of(metadata, action.vm, action.stamp)
    if point.kind is PointKind.ARCHIVE:
        await _from_archive(action, tools, remote, point)
        return
    keys = await chain_keys(remote, action.vm, action.stamp, action.disk)
    async with open_chain(remote, keys, tools.block_workers) as chain:
        tools.gauge.expect(len(chain.blocks()) * BLOCK)
        write = _WRITERS[action.format]
        await write(chain, action.output, on_progress=tools.gauge.advance)


async def _from_archive(
    action: RestoreDisk, tools: Tools, remote: Remote, point: RestorePoint
) -> None:
    """In the archive the disk goes by the uuid of its snapshot. Where the point lists no disks
    (Xen Orchestra's do not), whatever was asked for is looked for there."""
    snapshots = {disk.disk: disk.snapshot for disk in point.disks}
    wanted = snapshots.get(action.disk, action.disk)
    key = key_of(point.vm, point.archive)
    try:
        async with remote.download(key) as pieces:
            await write_archived_disk(
                pieces,
                wanted,
                action.output,
                action.format,
                on_expected=tools.gauge.expect,
                on_progress=tools.gauge.advance,
            )
    except XvaError as error:
        raise ChainBroken(key, str(error)) from error
