"""Renders rows for people and objects for programs, on stdout.

Tables are columns of text with nothing around them: they can be cut and searched, are never
truncated, and a VM's name in them can do nothing to the terminal. JSON and YAML carry the same
objects, in documents that say their version; they are ASCII, every other character escaped.
"""

import io
import json
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from ruamel.yaml import YAML

from reconciler.cli.escape import escape
from reconciler.cli.messages import coloured

API_VERSION = "backup.reconciler.io/v1alpha1"

_GAP = 3
_COLOURS = {
    "\x1b[32m": frozenset({"True", "Ready", "Succeeded", "Ok", "InSync"}),
    "\x1b[33m": frozenset({"Running", "Unknown", "Suspended", "Interrupted", "PartiallyFailed"}),
    "\x1b[31m": frozenset({"False", "Failed", "Broken", "Stalled", "Unreachable"}),
}


class Format(StrEnum):
    """How to show a list. wide: the table with more columns. name: one name a line."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


ShowAs = Annotated[Format, typer.Option("-o", "--output", help="How to show it.")]


def put_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table; headers alone say that there is nothing, so say so instead on stderr."""
    sys.stdout.write(table_of(headers, rows, colour=coloured(sys.stdout)))


def table_of(headers: Sequence[str], rows: Sequence[Sequence[str]], *, colour: bool) -> str:
    """Lay out a table. Cells may hold anything."""
    lines = [list(headers), *[[escape(cell) or "-" for cell in row] for row in rows]]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    return "".join(_line(line, widths, colour=colour) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int], *, colour: bool) -> str:
    padded = [
        (_paint(cell) if colour else cell) + " " * (width + _GAP - cell_len(cell))
        for cell, width in zip(cells, widths, strict=True)
    ]
    return "".join(padded).rstrip() + "\n"


def _paint(cell: str) -> str:
    for colour, words in _COLOURS.items():
        if cell in words:
            return f"{colour}{cell}\x1b[0m"
    return cell


def put_json(content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a JSON document."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def put_yaml(content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a YAML document."""
    sys.stdout.write(yaml_of(content))


def yaml_of(content: Mapping[str, Any] | Sequence[Any]) -> str:
    """Render as YAML, block style, keys in the order given."""
    plain = json.loads(json.dumps(content))  # no enums, nothing shared: YAML would write anchors
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # untyped there
    stream = io.StringIO()
    yaml.dump(plain, stream)
    return stream.getvalue()


def put_names(names: Sequence[str]) -> None:
    """Write one name a line, escaped so that each stays one line."""
    sys.stdout.write("".join(f"{escape(name)}\n" for name in names))


def list_of(kind: str, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Wrap objects in a document that says what it is."""
    return {"apiVersion": API_VERSION, "kind": kind, "items": list(items)}
