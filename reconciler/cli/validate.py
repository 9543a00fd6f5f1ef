"""`reconciler validate`: manifests, offline."""

import sys

import typer

from reconciler.cli.exits import ExitCode
from reconciler.cli.messages import say
from reconciler.cli.options import Directories, TextOrJson
from reconciler.sources.files import ManifestFiles
from reconciler.sources.render import render_all, render_json


def validate(
    directories: Directories,
    output: TextOrJson = "text",
) -> None:
    """Check manifests, offline.

    Shows every mistake of every file at its place. Exit code 0: no mistakes (warnings are none),
    1: mistakes.
    """
    desired = ManifestFiles([str(directory) for directory in directories]).read()
    if output == "json":
        sys.stdout.write(render_json(desired.problems, desired.warnings) + "\n")
    else:
        sys.stdout.write(render_all(desired.problems, desired.warnings))
        kinds = (
            ("pool", len(desired.pools)),
            ("remote", len(desired.remotes)),
            ("job", len(desired.jobs)),
        )
        counts = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in kinds)
        say(f"in force: {counts}", "plain" if desired.problems else "good")
    raise typer.Exit(ExitCode.ERROR if desired.problems else ExitCode.OK)
