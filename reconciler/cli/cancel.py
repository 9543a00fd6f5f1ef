"""`reconciler cancel RUN`: end a run that is under way, or one that has not begun."""

import asyncio
from typing import Annotated

import typer

from reconciler.cli import logs
from reconciler.cli.exits import ExitCode, Failure
from reconciler.cli.foreground import run_to_end
from reconciler.cli.get import read_runs
from reconciler.cli.inbox import cancel as leave_word
from reconciler.cli.messages import say
from reconciler.cli.options import State, span_option
from reconciler.cli.runs import run_named
from reconciler.cli.state import state_directory
from reconciler.clock import SystemClock
from reconciler.executor.run_records import read_state
from reconciler.ids import RunId
from reconciler.status.runs import RunState

_LOOK_S = 0.5
_OVER = frozenset(
    {
        RunState.SUCCEEDED,
        RunState.PARTIALLY_FAILED,
        RunState.FAILED,
        RunState.CANCELLED,
        RunState.TIMED_OUT,
        RunState.SKIPPED,
        RunState.MISSED,
    }
)


def cancel(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Its name, as `reconciler get runs` prints it.")
    ],
    wait: Annotated[bool, typer.Option(help="Wait until nothing of it runs any more.")] = True,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Wait no longer than this.")] = "60s",
    state: State = None,
) -> None:
    """Cancel a run.

    Its transfers end at once, its snapshot and partial files are removed or kept as the job says
    (settings.afterCancel), and its slot counts as dealt with: the next slot is owed as ever. Points
    that were made stay. Without a reconciler at work, the next one to start obeys.
    """
    patience = span_option("--timeout", timeout)
    logs.set_up(level="ERROR")
    place = state_directory(state)
    known = run_named(read_runs(place, None), run)
    if known.state in _OVER:
        raise Failure(f"is over already: {known.state.value}", subject=f"run {run}")
    clock = SystemClock()
    leave_word(place.path, RunId(run), clock.now())
    if place.live_owner() is None:
        say("no reconciler is at work; the next one to start will not take the run up again")
        return
    if not wait:
        return
    deadline = clock.now() + patience

    async def watch() -> ExitCode:
        stands = known.state
        while stands not in _OVER:
            if clock.now() >= deadline:
                say(f"run {run} is {stands.value} still; it was told to end", "warning")
                return ExitCode.TIMED_OUT
            await asyncio.sleep(_LOOK_S)
            stands = read_state(place.records, run, place.live_owner()) or stands
        say(f"run {run}: {stands.value}")
        return ExitCode.OK

    raise typer.Exit(run_to_end(watch))
