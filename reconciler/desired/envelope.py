"""What every kind has around its spec: apiVersion, kind, metadata; and how fields are read.

Fields are strict: no unknown ones, no text where a number belongs. Each class of fields may know
`renamed` (names from elsewhere, and what they are called here) and `later` (fields of the design
that this version does not have yet, and what to do meanwhile): hints for people, never accepted.
`rules` are what a server checks where we check with validators (rules.py).
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from reconciler.desired.document import DEFAULT_NAMESPACE
from reconciler.desired.rules import VALIDATIONS, Rule, matches, text_schema
from reconciler.ids import UUID
from reconciler.units import parse_size, parse_span

GROUP = "backup.reconciler.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

RUN_AT = f"{GROUP}/run-at"
APPROVE_PLAN = f"{GROUP}/approve-plan"
CANCEL = f"{GROUP}/cancel"
RECONCILE = f"{GROUP}/reconcile"
ANNOTATIONS = (RUN_AT, APPROVE_PLAN, CANCEL, RECONCILE)

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = rf"{_LABEL}(\.{_LABEL})*"
NEVER = "Never"
_SPAN = "([0-9]{1,12}[smhdw])+"
_RATE = r" *[0-9]{1,18}(\.[0-9]{1,9})? *([KMGTP](i|B|iB)|B)? *"
_RATE_MIN = 64 * 1024  # bytes per second
_ABSOLUTE = r"(/[^/\x00-\x1f\x7f]+)+/?"

_NO_NAME = "must be a name; lower-case letters, digits, - and . between them, 253 at most"
_NO_LABEL = "must be a name; lower-case letters, digits and - between them, 63 at most"
_NO_UUID = "must be a uuid in lower case; for example 6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31"
_NO_PATH = "must be an absolute path; for example /srv/backups"
_NO_SPAN = "must be a duration with its unit; for example 30m, 12h or 30d"
_NO_TIME = "must be longer than nothing; for example 30m, 12h or 30d"
_NO_PATIENCE = "must be a duration, or Never; for example 30m, 12h or Never"
_NO_RATE = "must be bytes per second with their unit; for example 100Mi"
_TOO_SLOW = "must be at least 64Ki; what is slower never ends"
NO_DOTS = Rule(
    "!('/' + self + '/').contains('/../') && !('/' + self + '/').contains('/./')",
    "must be a path without . and ..",
)
_LONGER_THAN_NOTHING = Rule("self == 'Never' || self.matches('[1-9]')", _NO_TIME)


class Fields(BaseModel):
    """A mapping of a manifest: camelCase outside, closed, strict and frozen."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
    )

    renamed: ClassVar[Mapping[str, str]] = {}
    later: ClassVar[Mapping[str, str]] = {}
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        said = handler.resolve_ref_schema(handler(schema))
        if cls.rules:
            said[VALIDATIONS] = [rule.schema() for rule in cls.rules]
        return said


def _name(text: str) -> str:
    if len(text) > 253 or not re.fullmatch(_NAME, text):
        raise ValueError(_NO_NAME)
    return text


def _label(text: str) -> str:
    if len(text) > 63 or not re.fullmatch(_LABEL, text):
        raise ValueError(_NO_LABEL)
    return text


def _uuid(text: str) -> str:
    if not UUID.fullmatch(text):
        raise ValueError(_NO_UUID)
    return text


def _absolute(text: str) -> str:
    if not re.fullmatch(_ABSOLUTE, text):
        raise ValueError(_NO_PATH)
    if {".", ".."} & set(text.split("/")):
        raise ValueError(NO_DOTS.message)
    return text.rstrip("/")


def _span(text: object) -> timedelta:
    if not isinstance(text, str):
        raise ValueError(_NO_SPAN)
    span = parse_span(text)
    if span <= timedelta():
        raise ValueError(_NO_TIME)
    return span


def _patience(text: object) -> timedelta | None:
    if text == NEVER:
        return None
    try:
        return _span(text)
    except ValueError:
        raise ValueError(_NO_PATIENCE) from None


def _rate(text: object) -> int:
    try:
        rate = parse_size(text if isinstance(text, str) else "none")
    except ValueError:
        raise ValueError(_NO_RATE) from None
    if rate < _RATE_MIN:
        raise ValueError(_TOO_SLOW)
    return rate


def _instant(text: object) -> datetime:
    try:
        instant = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise ValueError("must be an instant; for example 2026-01-31T02:00:00Z")
    return instant


ObjectName = Annotated[
    str, AfterValidator(_name), text_schema(matches(_NAME, _NO_NAME), longest=253)
]
LabelName = Annotated[
    str, AfterValidator(_label), text_schema(matches(_LABEL, _NO_LABEL), longest=63)
]
Uuid = Annotated[
    str, AfterValidator(_uuid), text_schema(matches(UUID.pattern, _NO_UUID), longest=36)
]
AbsolutePath = Annotated[
    str,
    AfterValidator(_absolute),
    text_schema(matches(_ABSOLUTE, _NO_PATH), NO_DOTS, longest=4096),
]
Span = Annotated[
    timedelta,
    BeforeValidator(_span),
    text_schema(matches(_SPAN, _NO_SPAN), _LONGER_THAN_NOTHING, longest=64),
]
Patience = Annotated[
    timedelta | None,
    BeforeValidator(_patience),
    text_schema(matches(f"{NEVER}|{_SPAN}", _NO_PATIENCE), _LONGER_THAN_NOTHING, longest=64),
]
"""How long something may take; None: for ever, which is written Never."""
Rate = Annotated[
    int,
    BeforeValidator(_rate),
    text_schema(
        matches(_RATE, _NO_RATE),
        Rule(
            # What a server calls a quantity has no B, and its kilo is a small one.
            f"!self.matches({json.dumps(f'^({_RATE})$')}) ||"
            " quantity(self.replace(' ', '').replace('iB', 'i')"
            ".replace('KB', 'k').replace('B', ''))"
            f".isGreaterThan(quantity('{_RATE_MIN - 1}'))",
            _TOO_SLOW,
        ),
        longest=40,
    ),
]
"""Bytes per second."""
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class Metadata(Fields):
    """Which object: a name, unique for its kind and namespace."""

    name: ObjectName
    namespace: LabelName = DEFAULT_NAMESPACE
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Reference(Fields):
    """Points to another object of the same namespace, by name."""

    name: ObjectName = Field(description="Of an object in the same namespace.")

    later: ClassVar[Mapping[str, str]] = {
        "namespace": "references stay within the namespace of the object that holds them"
    }
