"""How a call is described: its name, its parameters with types and defaults, its function.

A signature is written as in the XenAPI documentation:
`VM.snapshot(vm:ref:VM, new_name:string, ignore_vdis:set(ref:VDI)=[])`.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reconciler.lab.failures import Failure, handle_invalid
from reconciler.lab.pool import Pool
from reconciler.lab.schema import ENUMS, TABLES
from reconciler.lab.values import NULL, DateTime, Value


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls: the pool, the full method name, the session, the host, the task of the work."""

    pool: Pool
    method: str
    session: str
    host: str
    task: str


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    type: str
    default: Value
    optional: bool


@dataclass(frozen=True, slots=True)
class Method:
    """One message. `asynchronous`: it also exists as `Async.<name>`."""

    name: str
    parameters: tuple[Parameter, ...]
    run: Callable[..., Value]
    asynchronous: bool
    needs_session: bool


_HEAD = re.compile(r"(?P<name>[\w.]+)\((?P<parameters>.*)\)")
_SPLIT = re.compile(r", (?=\w+:)")


def _parameter(text: str) -> Parameter:
    name, _, rest = text.partition(":")
    kind, equals, default = rest.partition("=")
    return Parameter(name, kind, json.loads(default) if equals else None, bool(equals))


class Registry:
    """The messages of one part of the interface."""

    def __init__(self) -> None:
        self.methods: dict[str, Method] = {}

    def method(
        self, signature: str, *, asynchronous: bool = False, needs_session: bool = True
    ) -> Callable[[Callable[..., Value]], Callable[..., Value]]:
        """Register the decorated function: it gets a `Call` and the checked parameters."""
        match = _HEAD.fullmatch(signature)
        assert match is not None, signature
        texts = _SPLIT.split(match["parameters"]) if match["parameters"] else []
        parameters = tuple(_parameter(text) for text in texts)

        def register(run: Callable[..., Value]) -> Callable[..., Value]:
            self.add(Method(match["name"], parameters, run, asynchronous, needs_session))
            return run

        return register

    def add(self, method: Method) -> None:
        self.methods[method.name] = method


def check_arguments(method: Method, given: Sequence[Value]) -> list[Value]:
    """The arguments with their types, defaults filled in.

    Raises:
        Failure: for a wrong count (extra ones are ignored where there are defaults) or type.
    """
    parameters = method.parameters
    required = sum(not parameter.optional for parameter in parameters)
    if len(given) < required or (len(given) > len(parameters) and required == len(parameters)):
        raise Failure(
            "MESSAGE_PARAMETER_COUNT_MISMATCH", method.name, str(required), str(len(given))
        )
    return [
        coerce(
            parameter.type,
            given[position] if position < len(given) else parameter.default,
            parameter.name,
        )
        for position, parameter in enumerate(parameters)
    ]


def check_references(pool: Pool, method: Method, arguments: Sequence[Value]) -> None:
    """The object that a message is about must exist; other references may be null.

    Raises:
        Failure: for a reference to nothing.
    """
    for position, parameter in enumerate(method.parameters):
        value = arguments[position]
        if parameter.type.startswith("ref:") and (position == 0 or value not in (NULL, "")):
            class_name = parameter.type[4:]
            if class_name in TABLES and value not in pool.database.tables[class_name]:
                raise handle_invalid(class_name, str(value))


def coerce(kind: str, value: Value, name: str) -> Value:
    """A value as its type wants it; numbers may come as text, as from XML-RPC."""
    if kind.startswith("set("):
        if not isinstance(value, list):
            raise Failure("FIELD_TYPE_ERROR", name)
        return [coerce(kind[4:-1], member, name) for member in value]
    if kind.startswith("map("):
        key_kind, _, value_kind = kind[4:-1].partition(",")
        if not isinstance(value, dict):
            raise Failure("FIELD_TYPE_ERROR", name)
        return {
            str(coerce(key_kind, k, name)): coerce(value_kind, v, name) for k, v in value.items()
        }
    if kind == "int":
        return _integer(value, name)
    if kind == "float":
        return _real(value, name)
    if kind == "bool":
        if not isinstance(value, bool):
            raise Failure("FIELD_TYPE_ERROR", name)
        return value
    return _textual(kind, value, name)


def _integer(value: Value, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Failure("FIELD_TYPE_ERROR", name)
    try:
        return int(value)
    except ValueError:
        raise Failure("FIELD_TYPE_ERROR", name) from None


def _real(value: Value, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Failure("FIELD_TYPE_ERROR", name)
    try:
        return float(value)
    except ValueError:
        raise Failure("FIELD_TYPE_ERROR", name) from None


def _textual(kind: str, value: Value, name: str) -> str | Value:
    if kind == "record":
        if not isinstance(value, dict):
            raise Failure("FIELD_TYPE_ERROR", name)
        return value
    if not isinstance(value, str):
        raise Failure("FIELD_TYPE_ERROR", name)
    if kind == "datetime":
        return DateTime(value)
    if kind.startswith("enum:") and kind[5:] in ENUMS and value not in ENUMS[kind[5:]]:
        raise Failure("INVALID_VALUE", name, value)
    return value
