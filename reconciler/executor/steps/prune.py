"""Take a restore point off a remote: its metadata, and nothing else."""

from reconciler.catalog.lock import vm_lock
from reconciler.catalog.write import prune_point
from reconciler.executor.tools import Tools
from reconciler.plan.actions import Prune


async def run(action: Prune, tools: Tools) -> None:
    """Prune the point. Raises RemoteError, CatalogError (NotSafe: it must stay)."""
    remote = await tools.remote(action.remote)
    async with vm_lock(remote, action.vm, tools.clock) as lock:
        await prune_point(lock, action.stamp)
