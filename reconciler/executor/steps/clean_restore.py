"""Remove what an interrupted restore left: a half-made VM with its disks, or disks alone.

Nothing is destroyed on the plan's word: what is read again must say that it was made for this
restore, that it is not whole, and that nobody uses it.
"""

from reconciler.executor.restores import remove_disk, remove_half
from reconciler.executor.tools import Tools
from reconciler.plan.restore_actions import CleanRestore


async def run(action: CleanRestore, tools: Tools) -> None:
    """Remove it; what is gone already is no matter. Raises XapiError, Refused."""
    client = await tools.pool(action.pool)
    if action.vm is not None:
        await remove_half(client, action.restore, action.vm)
    for disk in action.disks:
        await remove_disk(client, action.restore, disk)
