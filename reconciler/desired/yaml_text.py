"""Plain values to YAML, as much of it as a CustomResourceDefinition needs.

Values here hold no YAML library: what one writes depends on its version, and this must not.
"""

import json
from collections.abc import Iterator

from reconciler.desired.document import Plain

_NOT_TEXT = ("true", "false", "null", "yes", "no", "on", "off", "y", "n", ".nan", ".inf")


def render_yaml(value: Plain) -> str:
    """Return the text of one document."""
    return "\n".join(_yaml(value)) + "\n"


def _yaml(value: Plain, indent: str = "") -> Iterator[str]:
    match value:
        case dict() if value:
            for key, inner in value.items():
                yield from _entry(f"{indent}{key}:", inner, indent + "  ")
        case list() if value:
            for item in value:
                first, *rest = _yaml(item, indent + "  ")
                yield f"{indent}- {first.removeprefix(indent + '  ')}"
                yield from rest
        case _:
            # JSON is YAML; plain words are left without their quotes.
            text = json.dumps(value, ensure_ascii=False)
            plain = isinstance(value, str) and value.replace(".", "").isalpha()
            plain = plain and str(value).casefold() not in _NOT_TEXT
            yield indent + (str(value) if plain else text)


def _entry(head: str, value: Plain, indent: str) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield head
        yield from _yaml(value, indent)
    else:
        (text,) = _yaml(value)
        yield f"{head} {text}"
