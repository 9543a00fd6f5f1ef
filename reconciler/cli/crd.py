"""`reconciler crd`: the kinds as CustomResourceDefinitions."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.exits import Failure
from reconciler.cli.messages import say
from reconciler.desired.crd import render_crds


def crd(
    directory: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help="Write one file for each kind there instead."),
    ] = None,
) -> None:
    """Print the kinds as CustomResourceDefinitions.

    For example: reconciler crd | kubectl apply --server-side -f -
    """
    texts = render_crds()
    if directory is None:
        sys.stdout.write("---\n".join(texts[name] for name in sorted(texts)))
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(
            f"cannot be written to: {error.strerror}", subject=f"directory {directory}"
        ) from error
    say(f"{len(texts)} files written to {directory}")
