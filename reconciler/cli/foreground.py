"""Runs a command's asynchronous work until it ends or a signal ends it, within seconds.

The first SIGINT or SIGTERM cancels the work, which then cleans up; the second, or a clean-up that
takes too long (a hung mount holds its thread for ever), ends the process at once. Nothing is lost
by that: whatever is left behind is recognised and cleaned at the next start.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable

from reconciler.cli.exits import ExitCode
from reconciler.cli.messages import say

GRACE_S = 10.0


def run_to_end(
    work: Callable[[], Awaitable[ExitCode]], *, on_terminate: ExitCode = ExitCode.INTERRUPTED
) -> ExitCode:
    """Run `work` in an event loop of its own. on_terminate: what SIGTERM ends in.

    Returns the work's exit code, INTERRUPTED after SIGINT. Raises what `work` raises.
    """
    return asyncio.run(_supervise(work, on_terminate))


async def _supervise(work: Callable[[], Awaitable[ExitCode]], on_terminate: ExitCode) -> ExitCode:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    endings: list[ExitCode] = []

    def end(code: ExitCode) -> None:
        if endings:
            os._exit(code)
        endings.append(code)
        _end_at_last(code)
        task.cancel()

    loop.add_signal_handler(signal.SIGINT, end, ExitCode.INTERRUPTED)
    loop.add_signal_handler(signal.SIGTERM, end, on_terminate)
    try:
        return await work()
    except asyncio.CancelledError:
        if not endings:
            raise
        return endings[0]


def _end_at_last(code: ExitCode) -> None:
    """End the process `GRACE_S` from now, whatever it is waiting for then."""

    def end() -> None:
        say(f"something did not stop within {GRACE_S:.0f} s; left to the next start", "warning")
        sys.stdout.flush()
        os._exit(code)

    watchdog = threading.Timer(GRACE_S, end)
    watchdog.daemon = True
    watchdog.start()
