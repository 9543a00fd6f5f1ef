"""`reconciler get KIND`: what there is, and how it stands."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import listed_points, listings, logs, restore_listing
from reconciler.cli.exits import ExitCode, Failure, Usage
from reconciler.cli.foreground import run_to_end
from reconciler.cli.kinds import Kind, kind_of, kinds_starting
from reconciler.cli.listing import Listing, put
from reconciler.cli.loading import load
from reconciler.cli.looking import blind_spots, look
from reconciler.cli.messages import say
from reconciler.cli.options import State, Timeout, span_option
from reconciler.cli.output import Format, ShowAs
from reconciler.cli.runs import RUN_HEADERS, RUN_NARROW, Run, run_dict, run_row, runs_of
from reconciler.cli.state import StateDirectory, state_directory
from reconciler.desired.state import Desired
from reconciler.executor.records import read_tries
from reconciler.executor.run_records import read_runs as read_rows
from reconciler.status.report import Report

_TRIES_MAX = 100_000  # read of a history: about a year of a hundred VMs each night


def get(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="pools, remotes, jobs, vms, points, runs or restores; or one: pool …",
            autocompletion=kinds_starting,
        ),
    ],
    directories: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DIR", exists=True, help="Directories of manifests; not needed for runs."
        ),
    ] = None,
    output: ShowAs = Format.TABLE,
    timeout: Timeout = "60s",
    state: State = None,
) -> None:
    """List pools, remotes, jobs, VMs, points, runs or restores.

    All but runs are looked at right now; runs are read from the state directory. Nothing is
    written anywhere. Exit code 1 if a pool or remote could not be seen; the rest is shown.
    """
    wanted = kind_of(kind)
    patience = span_option("--timeout", timeout)
    logs.set_up(level="ERROR")
    if wanted is Kind.RUNS:
        desired = load(directories) if directories else None
        put(list_runs(read_runs(state_directory(state), desired)), output)
        return
    desired = load_needed(wanted, directories)

    async def show(report: Report) -> ExitCode:
        put(list_objects(wanted, report), output)
        return say_blind_spots(report)

    raise typer.Exit(run_to_end(lambda: look(needed_for(wanted, desired), patience, show)))


def load_needed(kind: Kind, directories: list[Path] | None) -> Desired:
    """Read the manifests. Raises Usage if none are named."""
    if not directories:
        raise Usage(f"{kind} are looked at where manifests say they are", hint="name DIR…")
    return load(directories)


def needed_for(kind: Kind, desired: Desired) -> Desired:
    """Leave out what need not be looked at for a list of this kind."""
    match kind:
        case Kind.POOLS:
            return replace(desired, remotes={}, jobs={}, restores={})
        case Kind.REMOTES:
            return replace(desired, pools={}, restores={})
        case _:
            return desired


def list_objects(kind: Kind, report: Report) -> Listing:
    """List what a report shows of a kind; all but runs are in one."""
    match kind:
        case Kind.POOLS:
            return listings.pools(report)
        case Kind.REMOTES:
            return listings.remotes(report)
        case Kind.JOBS:
            return listings.jobs(report)
        case Kind.VMS:
            return listings.vms(report)
        case Kind.POINTS:
            return listed_points.points(report)
        case Kind.RESTORES:
            return restore_listing.restores(report)
        case Kind.RUNS:
            raise AssertionError("runs are in records, not in reports")


def say_blind_spots(report: Report) -> ExitCode:
    """Say on stderr what could not be seen; return the exit code."""
    unseen = blind_spots(report.desired, report.observed)
    for sentence in unseen:
        say(sentence, "error")
    return ExitCode.ERROR if unseen else ExitCode.OK


def read_runs(state: StateDirectory, desired: Desired | None) -> list[Run]:
    """Read the runs of a state directory, newest first; of the desired jobs alone, if given.

    Raises Failure.
    """
    if not state.records.exists():
        say(f"no history in {state.path}: nothing has run with it", "warning")
        return []
    try:
        owner = state.live_owner()
        tries = read_tries(state.records, owner, _TRIES_MAX)
        rows = read_rows(state.records, owner)
    except (sqlite3.Error, ValueError) as error:
        raise Failure(
            f"cannot be read: {error}",
            subject=f"history {state.records}",
            hint="it decides nothing: remove it, and only history is lost",
        ) from error
    runs = runs_of(tries, rows)
    return [run for run in runs if desired is None or run.job in desired.jobs]


def list_runs(runs: list[Run]) -> Listing:
    """List runs."""
    return Listing(
        kind="Run",
        headers=RUN_HEADERS,
        narrow=RUN_NARROW,
        rows=[run_row(run) for run in runs],
        items=[run_dict(run) for run in runs],
        names=[run.name for run in runs],
    )
