"""Remove files of ours that nothing needs."""

from reconciler.catalog.lock import vm_lock
from reconciler.catalog.write import clean_files
from reconciler.executor.tools import Tools
from reconciler.plan.actions import CleanFiles


async def run(action: CleanFiles, tools: Tools) -> None:
    """Remove them all, or none if one is needed. Raises RemoteError, CatalogError."""
    remote = await tools.remote(action.remote)
    async with vm_lock(remote, action.vm, tools.clock) as lock:
        tools.gauge.advance(await clean_files(lock, action.paths))
