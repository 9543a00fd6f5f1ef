"""The `reconciler` command: the table of commands, and how each end becomes an exit code.

Knows no command's inside; see lazy.py for why commands are addresses here.
"""

import contextlib
import io
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from reconciler.cli.escape import escape
from reconciler.cli.exits import ExitCode, Failure, leaves_of
from reconciler.cli.lazy import Address, group_of
from reconciler.cli.messages import say

COMMANDS = {
    "run": Address("reconciler.cli.run", "run", "Follow directories of manifests and act on them."),
    "operator": Address(
        "reconciler.cli.operator",
        "operator",
        "Follow objects of a Kubernetes cluster and act on them.",
    ),
    "plan": Address("reconciler.cli.plan", "plan", "Show what would be done, and do nothing."),
    "validate": Address("reconciler.cli.validate", "validate", "Check manifests, offline."),
    "get": Address(
        "reconciler.cli.get", "get", "List pools, remotes, jobs, VMs, points, runs or restores."
    ),
    "describe": Address("reconciler.cli.describe", "describe", "Show all that is known of one."),
    "backup": Address("reconciler.cli.backup", "backup", "Run a job now."),
    "cancel": Address("reconciler.cli.cancel", "cancel", "Cancel a run."),
    "logs": Address("reconciler.cli.run_logs", "logs", "Show the log of a run."),
    "restore": Address("reconciler.cli.restore", "restore", "Restore a VM, or one disk to a file."),
    "act": Address("reconciler.cli.act", "act", "Carry out what lies on a Kubernetes Job."),
    "lab": Address("reconciler.lab.command", "app", "A simulated pool with real disks."),
    "demo": Address("reconciler.cli.demo", "demo", "See the main job work, on a simulated pool."),
    "crd": Address("reconciler.cli.crd", "crd", "Print the kinds as CustomResourceDefinitions."),
    "completion": Address(
        "reconciler.cli.completion", "completion", "Print the completion script of a shell."
    ),
    "version": Address(
        "reconciler.cli.version",
        "version",
        "Show the version of reconciler and of what it runs on.",
    ),
}

PROGRAM = "reconciler"


@dataclass(slots=True)
class Settings:
    """What holds for every command. debug: show where expected failures come from, too."""

    debug: bool = False


app = typer.Typer(
    cls=group_of(COMMANDS),
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback()
def root(
    ctx: typer.Context,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="RECONCILER_DEBUG", help="Show tracebacks of failures."),
    ] = False,
) -> None:
    """Declarative backup of XCP-ng and XenServer VMs.

    Exit codes: 0 ok, 1 error, 2 the plan has changes, 3 partly done, 10 remote unavailable,
    11 locked by another, 12 wrong credentials, 13 blocked by a guard, 14 pool unreachable,
    64 usage, 124 timed out, 130 interrupted; any other means failure.
    """
    ctx.obj.debug = debug


def execute(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code. Writes to stdout and stderr."""
    settings = Settings()
    try:
        code = app(
            args=list(arguments) or ["--help"],
            prog_name=PROGRAM,
            standalone_mode=False,
            obj=settings,
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else ExitCode.OK
    except SystemExit as exit_:  # completion, and a reader that went away (`| head`)
        return exit_.code if isinstance(exit_.code, int) else ExitCode.ERROR
    except (typer.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except Exception as error:
        return _explain(error, settings)


def _explain(error: Exception, settings: Settings) -> int:
    """Say what went wrong in words, and return its exit code."""
    leaf = leaves_of(error)[0]
    if settings.debug and not isinstance(leaf, typer.TyperException):
        traceback.print_exception(error)
    match leaf:
        case BrokenPipeError():
            _leave_stdout()
            return ExitCode.ERROR
        case Failure():
            say(str(leaf), "error")
            return leaf.code
        case typer.TyperException(exit_code=2):
            context = getattr(leaf, "ctx", None)
            path = context.command_path if context is not None else PROGRAM
            why = escape(leaf.format_message().replace("Value error, ", ""))  # pydantic's words
            say(f"{path}: {why}\n  hint: {path} --help", "error")
            return ExitCode.USAGE
        case typer.TyperException():
            say(leaf.format_message(), "error")
            return ExitCode.ERROR
        case _:
            say(
                f"{PROGRAM} failed in a way nobody thought of: {type(leaf).__name__}: {leaf}\n"
                f"  hint: this is a mistake in {PROGRAM}; nothing is lost by it. Please report it "
                f"with what `{PROGRAM} --debug …` and `{PROGRAM} version` print",
                "error",
            )
            return ExitCode.ERROR


def _leave_stdout() -> None:
    """Make the interpreter's last flush go nowhere: the reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Entry point of the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no UTF-8 is no failure
            stream.reconfigure(errors="backslashreplace")
    code = execute(sys.argv[1:])
    if threading.active_count() > 1:
        # A thread may hang on a dead mount for ever; the interpreter would wait for it.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
