"""Runs a command's asynchronous work until it ends or a signal ends it, within seconds.

The first SIGINT or SIGTERM cancels the work, which then cleans up; the second, or a clean-up that
takes too long (a hung mount holds its thread for ever), ends the process at once. Nothing is lost
by that: whatever is left behind is recognised and cleaned at the next start.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator

from reconciler.cli.exits import ExitCode
from reconciler.cli.messages import say

GRACE_S = 10.0


def run_to_end(
    work: Callable[[], Awaitable[ExitCode]],
    *,
    on_terminate: ExitCode = ExitCode.INTERRUPTED,
    grace_s: float = GRACE_S,
) -> ExitCode:
    """Run `work` in an event loop of its own. on_terminate: what SIGTERM ends in.

    Returns the work's exit code, INTERRUPTED after SIGINT. Raises what `work` raises.
    """
    with contextlib.ExitStack() as endings:

        def cancel(task: asyncio.Task[object], code: ExitCode) -> None:
            endings.enter_context(within_grace(code, grace_s=grace_s))
            task.cancel()

        return asyncio.run(_supervise(work, on_terminate, cancel))


async def _supervise(
    work: Callable[[], Awaitable[ExitCode]],
    on_terminate: ExitCode,
    cancel: Callable[["asyncio.Task[object]", ExitCode], None],
) -> ExitCode:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    ended_in: list[ExitCode] = []

    def end(code: ExitCode) -> None:
        if ended_in:
            os._exit(code)
        ended_in.append(code)
        cancel(task, code)

    loop.add_signal_handler(signal.SIGINT, end, ExitCode.INTERRUPTED)
    loop.add_signal_handler(signal.SIGTERM, end, on_terminate)
    try:
        return await work()
    except asyncio.CancelledError:
        if not ended_in:
            raise
        return ended_in[0]


@contextlib.contextmanager
def within_grace(
    code: ExitCode, last_words: str = "", *, grace_s: float = GRACE_S
) -> Iterator[None]:
    """End the whole process with `code` if the body takes longer than that.

    last_words: said before, if it comes to that.
    """

    def end() -> None:
        if last_words:
            say(last_words, "error")
        say(f"something did not stop within {grace_s:.0f} s; not waited for any longer", "warning")
        sys.stdout.flush()
        os._exit(code)

    watchdog = threading.Timer(grace_s, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
