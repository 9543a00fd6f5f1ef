"""`reconciler plan`: what would be done, and why; nothing is written anywhere."""

import sys
from dataclasses import replace
from typing import Annotated, Literal, assert_never

import typer

from reconciler.cli import logs
from reconciler.cli.escape import escape_lines
from reconciler.cli.exits import ExitCode
from reconciler.cli.foreground import run_to_end
from reconciler.cli.inbox import peek
from reconciler.cli.loading import load
from reconciler.cli.looking import blind_spots, look
from reconciler.cli.messages import say
from reconciler.cli.options import Directories, State, Timeout, span_option
from reconciler.cli.output import put_json
from reconciler.cli.state import state_directory
from reconciler.plan.explain import document_of, markdown_of, text_of
from reconciler.plan.keeping import documents_of
from reconciler.plan.keeping import keeping as keeping_of
from reconciler.plan.keeping import text_of as kept_text_of
from reconciler.status.report import Report

Format = Literal["text", "json", "markdown"]


def plan(
    directories: Directories,
    output: Annotated[Format, typer.Option("-o", "--output", help="How to show it.")] = "text",
    keeping: Annotated[
        bool, typer.Option(help="Say of each restore point which rules keep it.")
    ] = False,
    timeout: Timeout = "60s",
    state: State = None,
) -> None:
    """Show what would be done, and do nothing.

    Looks at every pool and remote once; nothing is written, there or here. Runs that were asked
    for or cancelled on the command line count as far as the state directory knows of them. Exit
    code 0: in sync, 2: there is something to do (or a deletion to approve), 1: problems in
    manifests, or a pool or remote that cannot be seen; what is known is shown all the same.
    """
    patience = span_option("--timeout", timeout)
    logs.set_up(level="ERROR")
    desired = load(directories)
    requests, cancellations = peek(state_directory(state).path)
    desired = replace(
        desired,
        requests=(*desired.requests, *requests),
        cancellations=(*desired.cancellations, *cancellations),
    )

    async def show(report: Report) -> ExitCode:
        _put(report, output, keeping=keeping)
        return code_of(report)

    raise typer.Exit(run_to_end(lambda: look(desired, patience, show)))


def code_of(report: Report) -> ExitCode:
    """Say what a plan ends in; being blind to something goes before having something to do."""
    unseen = blind_spots(report.desired, report.observed)
    for sentence in unseen:
        say(sentence, "error")
    if unseen or report.desired.problems:
        return ExitCode.ERROR
    held = [each.action for each in report.plan.held if each.action is not None]
    if report.plan.actions or any(action.destructive for action in held):
        return ExitCode.CHANGES
    return ExitCode.OK


def _put(report: Report, output: Format, *, keeping: bool = False) -> None:
    arguments = report.plan, report.desired, report.observed
    kept = keeping_of(report.desired, report.observed, report.plan, report.at) if keeping else None
    match output:
        case "text":
            sys.stdout.write(escape_lines(text_of(*arguments)))
            if kept is not None:
                sys.stdout.write(escape_lines("\n" + kept_text_of(kept)))
        case "markdown":
            sys.stdout.write(escape_lines(markdown_of(*arguments)))
            if kept is not None:
                sys.stdout.write(escape_lines(f"\n```text\n{kept_text_of(kept)}```\n"))
        case "json":
            document = document_of(*arguments)
            put_json(document if kept is None else {**document, "keeping": documents_of(kept)})
        case _:
            assert_never(output)
    sys.stdout.flush()
