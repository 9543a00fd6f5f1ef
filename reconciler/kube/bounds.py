"""How large an object can be that an API server let through: as large as its schema allows. Pure.

The lists and texts of our kinds have bounds. What is beyond them did not come from an API server,
and could take for ever to be judged.
"""

from collections.abc import Mapping
from functools import cache

from reconciler.desired.crd import spec_schemas

_TEXT_MAX = 32_768  # where the schema bounds a text by its choices


def is_bounded(kind: str, spec: object) -> bool:
    """Say whether a spec keeps to the bounds of its kind, whatever else is wrong with it."""
    schema = _schemas().get(kind)
    return schema is not None and _fits(spec, schema)


@cache
def _schemas() -> Mapping[str, Mapping[str, object]]:
    return spec_schemas()


def _fits(value: object, schema: Mapping[str, object]) -> bool:
    match value:
        case dict():
            inner = schema.get("properties")
            fields = inner if isinstance(inner, dict) else {}
            return all(name in fields and _fits(one, fields[name]) for name, one in value.items())
        case list():
            items, most = schema.get("items"), schema.get("maxItems")
            few = isinstance(most, int) and len(value) <= most
            return few and isinstance(items, dict) and all(_fits(one, items) for one in value)
        case str():
            most = schema.get("maxLength", _TEXT_MAX)
            return isinstance(most, int) and len(value) <= most
        case _:
            return True
