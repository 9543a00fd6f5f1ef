"""`reconciler restore`: one restore point to a new VM, or one disk of it to a local file."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from reconciler.cli import logs
from reconciler.cli.exits import ExitCode, Usage
from reconciler.cli.foreground import run_to_end
from reconciler.cli.loading import load
from reconciler.cli.looking import look
from reconciler.cli.messages import say
from reconciler.cli.options import (
    Directories,
    ShowProgress,
    TextOrJson,
    Timeout,
    instant_option,
    span_option,
)
from reconciler.cli.output import put_json
from reconciler.cli.progress import put_line, style_of
from reconciler.cli.restoring import (
    Request,
    action_of,
    carry,
    find,
    plan_of,
    plan_text,
    what_to_see,
)
from reconciler.clock import SystemClock
from reconciler.ids import PoolName, RemoteName
from reconciler.status.report import Report

_GRACE_S = 75.0  # what was begun on a pool is removed again, which takes calls to the pool


def restore(
    point: Annotated[
        str,
        typer.Argument(
            metavar="POINT",
            help="VM-UUID/STAMP@REMOTE, as `get points -o name` prints it; or VM, VM@STAMP, "
            "VM@latest.",
        ),
    ],
    directories: Directories,
    to_pool: Annotated[
        str | None, typer.Option(metavar="POOL", help="Restore as a new VM on this pool.")
    ] = None,
    sr: Annotated[
        str | None,
        typer.Option(
            metavar="SR", help="Name or uuid of the storage.  [default: the pool's default]"
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the new VM.  [default: the old name with the stamp]"),
    ] = None,
    start: Annotated[
        bool, typer.Option("--start", help="Start the new VM once it is whole.")
    ] = False,
    disk: Annotated[
        str | None,
        typer.Option(metavar="N", help="Restore one disk: its number, name or uuid."),
    ] = None,
    to_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the disk there; never over a file that is there."),
    ] = None,
    format_: Annotated[
        Literal["raw", "vhd", "qcow2"], typer.Option("--format", help="Format of the file.")
    ] = "raw",
    remote: Annotated[
        str | None, typer.Option(metavar="REMOTE", help="Take it from this remote.")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="The newest point that is not after this time (ISO 8601)."
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would be done, and do nothing.")
    ] = False,
    output: TextOrJson = "text",
    progress: ShowProgress = None,
    timeout: Timeout = "60s",
) -> None:
    """Restore a VM, or one disk to a file.

    A VM is always restored as a new one: nothing that is there is ever changed. Prints the new
    VM's uuid, or the name of the file.
    """
    request = Request(
        point=point,
        remote=None if remote is None else RemoteName(remote),
        as_of=instant_option("--as-of", as_of),
        to_pool=None if to_pool is None else PoolName(to_pool),
        sr=sr,
        name=name,
        start=start,
        disk=disk,
        to_file=to_file,
        format=format_,
    )
    _check(request)
    patience = span_option("--timeout", timeout)
    logs.set_up(level="ERROR")
    desired = load(directories)
    scope = what_to_see(request, desired)
    style = style_of(progress)

    async def go_on(report: Report) -> ExitCode:
        found = find(request, report)
        action = action_of(request, found, SystemClock())
        content = plan_of(action, found)
        if plan:
            put_json(content) if output == "json" else typer.echo(plan_text(content), nl=False)
            return ExitCode.OK
        say(f"restoring {found.name} ({found.point.vm_name}, {_when(found.point.taken_at)})")
        summary = await carry(action, desired, style)
        if style == "json":
            put_line({"type": "summary", "point": found.name, **summary})
        elif output == "json":
            put_json({"point": found.name, **summary})
        else:
            typer.echo(summary["made"])
        return ExitCode.OK

    raise typer.Exit(run_to_end(lambda: look(scope, patience, go_on), grace_s=_GRACE_S))


def _check(request: Request) -> None:
    """See whether the words fit together. Raises Usage."""
    to_vm, to_file = request.to_pool is not None, request.to_file is not None
    example = "restore POINT DIR… --to-pool POOL, or --disk N --to-file FILE"
    if to_vm == (to_file or request.disk is not None):
        raise Usage("say where to: to a pool, or one disk to a file", hint=example)
    if not to_vm and not (to_file and request.disk is not None):
        raise Usage("--disk and --to-file need each other", hint=example)
    if to_file and (request.sr or request.name or request.start):
        raise Usage("--sr, --name and --start are about a new VM, not a file", hint=example)
    if to_vm and request.format != "raw":
        raise Usage("--format is about a file, not a new VM", hint=example)


def _when(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"
