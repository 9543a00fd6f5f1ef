"""`reconciler completion SHELL`: the script that a shell's start-up file loads."""

import os
from typing import Annotated, Literal

import typer


def completion(
    ctx: typer.Context,
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell"], typer.Argument(help="Which shell.")
    ],
) -> None:
    """Print the completion script of a shell.

    For bash: reconciler completion bash > ~/.local/share/bash-completion/completions/reconciler
    """
    root = ctx.find_root()
    variable = f"_{str(root.info_name).upper()}_COMPLETE"
    os.environ[variable] = f"source_{shell}"  # the words by which completion scripts are asked for
    try:
        root.command.main(args=[], prog_name=root.info_name, complete_var=variable)
    finally:
        del os.environ[variable]
