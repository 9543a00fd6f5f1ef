"""`reconciler restore`: one restore point to a new VM, or one disk of it to a local file."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from reconciler.cli import logs
from reconciler.cli.exits import ExitCode, Usage
from reconciler.cli.foreground import run_to_end
from reconciler.cli.loading import load
from reconciler.cli.looking import Use, look
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
from reconciler.cli.progress import Style, put_line, style_of
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
from reconciler.desired.state import Desired
from reconciler.ids import PoolName, RemoteName
from reconciler.status.report import Report

_GRACE_S = 75.0  # what was begun on a pool is removed again, which takes calls to the pool

_Point = Annotated[
    str,
    typer.Argument(
        metavar="POINT",
        help="VM-UUID/STAMP@REMOTE, as `get points -o name` prints it; or VM, VM@STAMP, VM@latest.",
    ),
]
_ToPool = Annotated[
    str | None, typer.Option(metavar="POOL", help="Restore as a new VM on this pool.")
]
_Sr = Annotated[
    str | None,
    typer.Option(metavar="SR", help="Name or uuid of the storage.  [default: the pool's default]"),
]
_Name = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of the new VM.  [default: the old name with the stamp]"),
]
_Start = Annotated[bool, typer.Option("--start", help="Start the new VM once it is whole.")]
_Disk = Annotated[
    str | None, typer.Option(metavar="N", help="Restore one disk: its number, name or uuid.")
]
_ToFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the disk there; never over a file that is there."),
]
_Format = Annotated[
    Literal["raw", "vhd", "qcow2"], typer.Option("--format", help="Format of the file.")
]
_Remote = Annotated[str | None, typer.Option(metavar="REMOTE", help="Take it from this remote.")]
_AsOf = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="The newest point that is not after this time (ISO 8601)."),
]
_Plan = Annotated[bool, typer.Option("--plan", help="Show what would be done, and do nothing.")]


def restore(
    point: _Point,
    directories: Directories,
    to_pool: _ToPool = None,
    sr: _Sr = None,
    name: _Name = None,
    start: _Start = False,
    disk: _Disk = None,
    to_file: _ToFile = None,
    format_: _Format = "raw",
    remote: _Remote = None,
    as_of: _AsOf = None,
    plan: _Plan = False,
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
    if plan:
        use = _showing(request, output)
    else:
        use = _doing(request, desired, output, style_of(progress))
    raise typer.Exit(run_to_end(lambda: look(scope, patience, use), grace_s=_GRACE_S))


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


def _showing(request: Request, output: str) -> Use:
    """Find the point and show what would be read and made."""

    async def use(report: Report) -> ExitCode:
        found = find(request, report)
        content = plan_of(action_of(request, found, SystemClock()), found)
        if output == "json":
            put_json(content)
        else:
            typer.echo(plan_text(content), nl=False)
        return ExitCode.OK

    return use


def _doing(request: Request, desired: Desired, output: str, style: Style) -> Use:
    """Find the point, restore it, and print what was made."""

    async def use(report: Report) -> ExitCode:
        found = find(request, report)
        action = action_of(request, found, SystemClock())
        say(f"restoring {found.name} ({found.point.vm_name}, {_when(found.point.taken_at)})")
        summary = {"point": found.name, **await carry(action, desired, style)}
        if style == "json":
            put_line({"type": "summary", **summary})
        elif output == "json":
            put_json(summary)
        else:
            typer.echo(summary["made"])
        return ExitCode.OK

    return use


def _when(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"
