"""Restore one disk of a point to a local file. Reads only; needs no lock.

Files of the chain are opened before the first byte is read. What others may do to them from then on
(merge what is below a live point, remove what is no longer needed) does not change what is read.
"""

from reconciler.catalog.chains import chain_keys
from reconciler.executor.tools import Tools
from reconciler.plan.actions import RestoreDisk
from reconciler.transfer.restore import open_chain, write_qcow2, write_raw, write_vhd
from reconciler.vhd.layout import BLOCK

_WRITERS = {"raw": write_raw, "vhd": write_vhd, "qcow2": write_qcow2}


async def run(action: RestoreDisk, tools: Tools) -> None:
    """Write the disk to `action.output`, which must not exist.

    Raises FileExistsError, OSError, RemoteError, CatalogError, TransferError, VhdError, Qcow2Error.
    """
    remote = await tools.remote(action.remote)
    keys = await chain_keys(remote, action.vm, action.stamp, action.disk)
    async with open_chain(remote, keys, tools.block_workers) as chain:
        tools.gauge.expect(len(chain.blocks()) * BLOCK)
        write = _WRITERS[action.format]
        await write(chain, action.output, on_progress=tools.gauge.advance)
