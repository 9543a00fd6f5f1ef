"""`reconciler logs RUN`: what was logged while a run was at work, and as it goes on."""

import asyncio
import json
import sys
from typing import Annotated, Any

import typer

from reconciler.cli import logs as logging
from reconciler.cli.escape import escape
from reconciler.cli.exits import ExitCode
from reconciler.cli.foreground import run_to_end
from reconciler.cli.get import read_runs
from reconciler.cli.options import State, TextOrJson
from reconciler.cli.runs import run_named
from reconciler.cli.state import state_directory
from reconciler.executor.run_records import Line, read_lines, read_state
from reconciler.status.runs import RunState

_LOOK_S = 0.5
_GOING_ON = frozenset({RunState.PENDING, RunState.RUNNING})


def logs(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Its name, as `reconciler get runs` prints it."),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run is over.")
    ] = False,
    vm: Annotated[str | None, typer.Option(metavar="NAME", help="Of this VM alone.")] = None,
    output: TextOrJson = "text",
    state: State = None,
) -> None:
    """Show the log of a run.

    Oldest line first; JSON is one object a line.
    """
    logging.set_up(level="ERROR")
    place = state_directory(state)

    run_named(read_runs(place, None), run)

    async def show() -> ExitCode:
        last = 0
        while True:
            going_on = read_state(place.records, run, place.live_owner()) in _GOING_ON
            lines = await asyncio.to_thread(read_lines, place.records, run, last)
            for line in lines:
                last = line.id
                if vm is None or f"VM {vm} " in str(line.fields.get("subject", "")):
                    sys.stdout.write(_render(line, output) + "\n")
            sys.stdout.flush()
            if lines:
                continue
            if not (follow and going_on):
                return ExitCode.OK
            await asyncio.sleep(_LOOK_S)

    raise typer.Exit(run_to_end(show))


def _render(line: Line, output: str) -> str:
    if output == "json":
        content: dict[str, Any] = {
            "at": line.at.isoformat(),
            "level": line.level,
            "event": line.event,
            **line.fields,
        }
        return json.dumps(content)
    fields = " ".join(f"{key}={escape(str(value))}" for key, value in line.fields.items())
    return f"{line.at:%Y-%m-%dT%H:%M:%SZ} [{line.level:<7}] {escape(line.event)} {fields}".rstrip()
