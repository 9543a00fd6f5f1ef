"""A list of objects of one kind, in every form in which it can be asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from reconciler.cli.messages import say
from reconciler.cli.output import Format, list_of, put_json, put_names, put_table, put_yaml


@dataclass(frozen=True, slots=True)
class Listing:
    """kind: "Pool". narrow: how many of the columns are shown unless more are asked for.

    rows, items and names are parallel: one for each object.
    """

    kind: str
    headers: Sequence[str]
    narrow: int
    rows: Sequence[Sequence[str]]
    items: Sequence[Mapping[str, Any]]
    names: Sequence[str]


def put(listing: Listing, how: Format) -> None:
    """Write a list to stdout; that there is nothing in a table is said on stderr."""
    match how:
        case Format.TABLE | Format.WIDE:
            if not listing.rows:
                say(f"no {listing.kind.lower()}s found")
                return
            count = listing.narrow if how is Format.TABLE else len(listing.headers)
            put_table(listing.headers[:count], [row[:count] for row in listing.rows])
        case Format.JSON:
            put_json(list_of(f"{listing.kind}List", listing.items))
        case Format.YAML:
            put_yaml(list_of(f"{listing.kind}List", listing.items))
        case Format.NAME:
            put_names(listing.names)
        case _:
            assert_never(how)
