"""Start a VM again that was shut down for a snapshot."""

from reconciler.executor.power import start_again
from reconciler.executor.tools import Tools
from reconciler.plan.power_on import PowerOn


async def run(action: PowerOn, tools: Tools) -> None:
    """Start it, unless it runs or nothing says any more that we shut it down.

    Raises XapiError, Refused.
    """
    await start_again(await tools.pool(action.pool), action.vm, forget=True)
