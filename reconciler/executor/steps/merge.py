"""Fold a disk file whose point is gone into the file above it."""

from reconciler.catalog.lock import vm_lock
from reconciler.catalog.write import merge_disk
from reconciler.executor.tools import Tools
from reconciler.plan.actions import Merge


async def run(action: Merge, tools: Tools) -> None:
    """Merge, or finish a merge that was begun. Raises RemoteError, CatalogError, TransferError."""
    remote = await tools.remote(action.remote)
    tools.gauge.expect(action.data_bytes)
    async with vm_lock(remote, action.vm, tools.clock) as lock:
        await merge_disk(lock, action.target, action.source, tools.gauge.advance)
