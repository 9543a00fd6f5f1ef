"""`reconciler version`. Imports nothing of ours, so that it answers at once."""

import json
import platform
from importlib import metadata
from typing import Annotated, Literal

import typer


def version(
    output: Annotated[
        Literal["text", "json"], typer.Option("-o", "--output", help="How to show it.")
    ] = "text",
) -> None:
    """Show the version of reconciler and of what it runs on."""
    parts = {
        "version": metadata.version("reconciler"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    match output:
        case "json":
            typer.echo(json.dumps(parts))
        case "text":
            typer.echo(
                f"reconciler {parts['version']} (Python {parts['python']}, {parts['platform']})"
            )
