"""`reconciler describe KIND NAME`: everything that is known of one object."""

import sys
from pathlib import Path
from typing import Annotated, Literal, assert_never

import typer

from reconciler.cli import descriptions, logs, point_description, restore_listing
from reconciler.cli.description import Description, text_of
from reconciler.cli.exits import ExitCode
from reconciler.cli.foreground import run_to_end
from reconciler.cli.get import load_needed, read_runs, say_blind_spots
from reconciler.cli.kinds import Kind, kind_of, kinds_starting
from reconciler.cli.loading import load
from reconciler.cli.looking import look
from reconciler.cli.messages import coloured
from reconciler.cli.options import State, Timeout, span_option
from reconciler.cli.output import put_json, put_yaml
from reconciler.cli.runs import Run
from reconciler.cli.state import StateDirectory, state_directory
from reconciler.clock import SystemClock
from reconciler.status.report import Report

Output = Literal["text", "json", "yaml"]


def describe(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="pool, remote, job, vm, point or run.",
            autocompletion=kinds_starting,
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `get KIND -o name` prints it.")],
    directories: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DIR", exists=True, help="Directories of manifests; not needed for a run."
        ),
    ] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to show it.")] = "text",
    timeout: Timeout = "60s",
    state: State = None,
) -> None:
    """Show all that is known of one.

    Nothing is written anywhere. Exit code 1 if there is no such object, or if a pool or remote
    could not be seen.
    """
    wanted = kind_of(kind)
    patience = span_option("--timeout", timeout)
    logs.set_up(level="ERROR")
    place = state_directory(state)
    if wanted is Kind.RUNS:
        desired = load(directories) if directories else None
        _put(descriptions.run(read_runs(place, desired), name, SystemClock().now()), output)
        return
    scope = load_needed(wanted, directories)

    async def show(report: Report) -> ExitCode:
        code = say_blind_spots(report)
        _put(_describe(wanted, name, report, place), output)
        return code

    raise typer.Exit(run_to_end(lambda: look(scope, patience, show)))


def _describe(kind: Kind, name: str, report: Report, place: StateDirectory) -> Description:
    match kind:
        case Kind.POOLS:
            return descriptions.pool(report, name)
        case Kind.REMOTES:
            return descriptions.remote(report, name)
        case Kind.JOBS:
            return descriptions.job(report, name, _runs_if_any(place))
        case Kind.VMS:
            return descriptions.vm(report, name)
        case Kind.POINTS:
            return point_description.point(report, name)
        case Kind.RESTORES:
            return restore_listing.restore(report, name)
        case Kind.RUNS:
            raise AssertionError("runs are in records, not in reports")


def _runs_if_any(place: StateDirectory) -> list[Run]:
    return read_runs(place, None) if place.records.exists() else []


def _put(description: Description, output: Output) -> None:
    match output:
        case "text":
            sys.stdout.write(text_of(description, colour=coloured(sys.stdout)))
        case "json":
            put_json(description.document)
        case "yaml":
            put_yaml(description.document)
        case _:
            assert_never(output)
