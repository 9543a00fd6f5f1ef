"""Commands that are imported when they are called, so that `reconciler version` is quick.

Everything a command needs (HTTP, YAML, schemas, logs) takes most of a second to import; the words
and summaries of all commands are known without it. So the group holds a table of addresses, help
and completion of names read the table, and only the command that is called is imported. This is
the one place of the package where something is imported while it runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group


@dataclass(frozen=True, slots=True)
class Address:
    """Where a command is. module: full name; attribute: a function or a sub-app in it."""

    module: str
    attribute: str
    summary: str


def group_of(addresses: Mapping[str, Address]) -> type[TyperGroup]:
    """Make the class of the group that has these commands, shown in this order."""

    class LazyGroup(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for name, address in addresses.items():  # stand-ins: a name and a summary
                self.add_command(TyperCommand(name, help=address.summary, rich_markup_mode=None))

        def list_commands(self, ctx: Any) -> list[str]:
            return list(self.commands)

        def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
            """Called for the command that is really wanted: import that one."""
            name, stand_in, rest = super().resolve_command(ctx, args)
            if name is None:
                return name, stand_in, rest
            return name, load(name, addresses[name]), rest

    return LazyGroup


def load(name: str, address: Address) -> Any:
    """Import a command and make it one that can be called."""
    found = getattr(import_module(address.module), address.attribute)
    parent = typer.Typer(add_completion=False, rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name)
        return get_group(parent).commands[name]
    parent.command(name)(found)
    return get_command(parent)
