"""What pydantic finds wrong, in our words, at its place in the text.

Says what is wrong with which field and what would be right. It never repeats a value that stands
where a secret could, and nothing of pydantic's own vocabulary reaches a person.
"""

import typing
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reconciler.desired.document import (
    Document,
    MappingNode,
    Path,
    ScalarNode,
    SequenceNode,
    spell,
)
from reconciler.desired.envelope import Fields
from reconciler.desired.problems import PROBLEMS_MAX, Problem
from reconciler.desired.source_text import names_secret, refers_to_secret, without_userinfo

_SHOWN_MAX = 40  # characters of a value that a message repeats
_TYPES = {
    "string_type": ("must be text", "put it in quotes"),
    "int_type": ("must be a whole number", ""),
    "int_parsing": ("must be a whole number", ""),
    "int_from_float": ("must be a whole number", ""),
    "bool_type": ("must be true or false", ""),
    "tuple_type": ("must be a list", "write [a, b], or one item a line, each after a -"),
    "list_type": ("must be a list", "write [a, b], or one item a line, each after a -"),
    "model_type": ("must be a mapping", "write name: value lines below it, indented"),
    "model_attributes_type": ("must be a mapping", "write name: value lines below it, indented"),
    "dict_type": ("must be a mapping", "write name: value lines below it, indented"),
}


def problems_of(
    error: ValidationError, model: type[Fields], document: Document, within: Path, subject: str
) -> Iterator[Problem]:
    """Say each mistake that pydantic found in the mapping at `within`, which `model` describes."""
    meant: set[Path] = set()  # missing fields that stand there under another name
    details = error.errors(include_url=False, include_input=False)[: PROBLEMS_MAX + 1]
    for detail in details:
        if detail["type"] == "extra_forbidden":
            path = within + detail["loc"]
            message, hint, name = _unknown(path, _model_at(model, detail["loc"][:-1]))
            meant.add((*path[:-1], name))
            yield document.problem(path, message, hint, key=True, subject=subject)
    for detail in details:
        path = within + detail["loc"]
        if _is_echo(detail, document, path) or _is_null(document, path):
            continue
        stands_elsewhere = detail["type"] == "missing" and path in meant
        if detail["type"] != "extra_forbidden" and not stands_elsewhere:
            message, hint = _wrong(detail, document, path)
            key = not isinstance(document.node(path), ScalarNode)
            yield document.problem(path, message, hint, key=key, subject=subject)


def null_problems(document: Document, within: Path, subject: str) -> Iterator[Problem]:
    """Say which fields have a name and no value: more often forgotten than meant."""
    node = document.node(within)
    match node:
        case MappingNode(entries):
            for entry in entries:
                yield from null_problems(document, (*within, entry.key), subject)
        case SequenceNode(items):
            for index in range(len(items)):
                yield from null_problems(document, (*within, index), subject)
        case ScalarNode(None):
            message = f"{spell(within)} has no value"
            hint = "give it one, or remove the field"
            yield document.problem(within, message, hint, key=True, subject=subject)
        case _:
            pass


def quoted(text: str) -> str:
    """Quote a name from a manifest for a message, cut to a length for people."""
    return f'"{text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"}"'


def _is_echo(detail: ErrorDetails, document: Document, path: Path) -> bool:
    """A list whose items are wrong is also "too short": items count before they are right."""
    node = document.node(path)
    return detail["type"] == "too_short" and isinstance(node, SequenceNode) and bool(node.items)


def _is_null(document: Document, path: Path) -> bool:
    node = document.node(path)
    return isinstance(node, ScalarNode) and node.value is None


def _unknown(path: Path, fields: type[Fields]) -> tuple[str, str, str]:
    """Return a message, a hint, and the field that was meant, as far as that can be told."""
    key, parent = str(path[-1]), spell(path[:-1])
    known = [field.alias or name for name, field in fields.model_fields.items()]
    if key in fields.later:
        return f"{spell(path)} is not supported yet", fields.later[key], ""
    message = f"unknown field {quoted(key)} in {parent}"
    if key in fields.renamed:
        name = fields.renamed[key]
        return message, f'it is called "{name}" here', name.partition(".")[0]
    if names_secret(key) and any(refers_to_secret(name) for name in known):
        name = next(name for name in known if refers_to_secret(name))
        return (
            f"{quoted(key)} in {parent} would put a secret into the manifest",
            f"write {name}: {{env: NAME}} or {name}: {{file: /path/to/it}}",
            name,
        )
    near = get_close_matches(key[:64], known, n=1, cutoff=0.6) or [
        name for name in known if name.casefold() == key.casefold()
    ]
    if near:
        return message, f'did you mean "{near[0]}"?', near[0]
    return message, f"fields here: {', '.join(known)}", ""


def _wrong(detail: ErrorDetails, document: Document, path: Path) -> tuple[str, str]:
    limits: Mapping[str, typing.Any] = detail.get("ctx", {})
    spelt, shown, hint = spell(path), _shown(document, path), ""
    path_is_scalar = isinstance(document.node(path), ScalarNode)
    match detail["type"]:
        case "missing":
            message = f"{spelt} is missing"
        case "value_error":
            text, _, hint = str(limits["error"]).partition("; ")
            message = f"{spelt}: {text}" if text.startswith('"') else f"{spelt} {text}"
            # A mapping is wrong in what it holds; only of a scalar is it worth saying what it is.
            message += _not(shown) if text.startswith("must") and path_is_scalar else ""
        case "literal_error":
            allowed = str(limits["expected"]).replace("'", '"')
            near = get_close_matches(shown.strip(' "'), allowed.split('"')[1::2], n=1, cutoff=0.6)
            hint = f'did you mean "{near[0]}"?' if near else ""
            message = f"{spelt} must be {allowed}{_not(shown)}"
        case "too_short" | "string_too_short":
            message, hint = f"{spelt} is empty", "name at least one"
        case "too_long":
            message = f"{spelt} has more than {limits['max_length']} items"
        case "string_too_long":
            message = f"{spelt} is longer than {limits['max_length']} characters"
        case "greater_than_equal":
            message = f"{spelt} must be at least {limits['ge']}{_not(shown)}"
            hint = "leave the field out instead" if limits["ge"] == 1 else ""
        case "less_than_equal":
            message = f"{spelt} must be at most {limits['le']}{_not(shown)}"
        case kind if kind in _TYPES:
            text, hint = _TYPES[kind]
            message = f"{spelt} {text}{_not(shown)}"
        case _:
            message = f"{spelt} is not accepted: {detail['msg']}"
    return message, hint


def _not(shown: str) -> str:
    return f", not{shown}" if shown else ""


def _shown(document: Document, path: Path) -> str:
    """Render the value at `path` for a message, with a leading space; "" if it must not be."""
    if any(names_secret(str(step)) or refers_to_secret(str(step)) for step in path):
        return ""
    match document.node(path):
        case ScalarNode(str(value)):
            shown = quoted(without_userinfo(value))
        case ScalarNode(bool(value)):
            shown = str(value).lower()
        case ScalarNode(None) | None:
            return ""
        case ScalarNode(value):
            shown = str(value)
        case MappingNode():
            shown = "a mapping"
        case SequenceNode():
            shown = "a list"
    return f" {shown}"


def _model_at(model: type[Fields], steps: Path) -> type[Fields]:
    """Follow field names to the class of fields that describes what stands there."""
    for step in steps:
        if isinstance(step, int):
            continue
        field = next(
            (field for name, field in model.model_fields.items() if (field.alias or name) == step),
            None,
        )
        found = _fields_in(field.annotation) if field is not None else None
        if found is None:
            break
        model = found
    return model


def _fields_in(annotation: object) -> type[Fields] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        assert issubclass(annotation, Fields), "manifests are made of Fields"
        return annotation
    for argument in typing.get_args(annotation):
        found = _fields_in(argument)
        if found is not None:
            return found
    return None
