"""What every kind has around its spec: apiVersion, kind, metadata; and how fields are read.

Fields are strict: no unknown ones, no text where a number belongs. Each class of fields may know
`renamed` (names from elsewhere, and what they are called here) and `later` (fields of the design
that this version does not have yet, and what to do meanwhile): hints for people, never accepted.
"""

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
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from reconciler.desired.document import DEFAULT_NAMESPACE
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
NEVER = "Never"
_RATE_MIN = 64 * 1024  # bytes per second
_ABSOLUTE = re.compile(r"(?:/[^/\x00-\x1f\x7f]+)+/?")


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


def _name(text: str) -> str:
    if len(text) > 253 or not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", text):
        raise ValueError(
            "must be a name; lower-case letters, digits, - and . between them, 253 at most"
        )
    return text


def _label(text: str) -> str:
    if len(text) > 63 or not re.fullmatch(_LABEL, text):
        raise ValueError(
            "must be a name; lower-case letters, digits and - between them, 63 at most"
        )
    return text


def _uuid(text: str) -> str:
    if not UUID.fullmatch(text):
        raise ValueError(
            "must be a uuid in lower case; for example 6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31"
        )
    return text


def _absolute(text: str) -> str:
    if not _ABSOLUTE.fullmatch(text):
        raise ValueError("must be an absolute path; for example /srv/backups")
    if {".", ".."} & set(text.split("/")):
        raise ValueError("must be a path without . and ..")
    return text.rstrip("/")


def _span(text: object) -> timedelta:
    if not isinstance(text, str):
        raise ValueError("must be a duration with its unit; for example 30m, 12h or 30d")
    span = parse_span(text)
    if span <= timedelta():
        raise ValueError("must be longer than nothing; for example 30m, 12h or 30d")
    return span


def _patience(text: object) -> timedelta | None:
    if text == NEVER:
        return None
    try:
        return _span(text)
    except ValueError:
        raise ValueError("must be a duration, or Never; for example 30m, 12h or Never") from None


def _rate(text: object) -> int:
    try:
        rate = parse_size(text if isinstance(text, str) else "none")
    except ValueError:
        raise ValueError("must be bytes per second with their unit; for example 100Mi") from None
    if rate < _RATE_MIN:
        raise ValueError("must be at least 64Ki; what is slower never ends")
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
    str,
    AfterValidator(_name),
    WithJsonSchema(
        {"type": "string", "maxLength": 253, "pattern": rf"^{_LABEL}(\.{_LABEL})*$"},
    ),
]
LabelName = Annotated[
    str,
    AfterValidator(_label),
    WithJsonSchema({"type": "string", "maxLength": 63, "pattern": f"^{_LABEL}$"}),
]
Uuid = Annotated[
    str,
    AfterValidator(_uuid),
    WithJsonSchema({"type": "string", "pattern": f"^{UUID.pattern}$"}),
]
AbsolutePath = Annotated[
    str,
    AfterValidator(_absolute),
    WithJsonSchema({"type": "string", "maxLength": 4096, "pattern": "^/.*[^/].*$"}),
]
Span = Annotated[
    timedelta,
    BeforeValidator(_span),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]+[smhdw])+$"}),
]
Patience = Annotated[
    timedelta | None,
    BeforeValidator(_patience),
    WithJsonSchema({"type": "string", "pattern": f"^({NEVER}|([0-9]+[smhdw])+)$"}),
]
"""How long something may take; None: for ever, which is written Never."""
Rate = Annotated[
    int,
    BeforeValidator(_rate),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?([KMGTP]i?B?|B)?$"}),
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

    name: ObjectName

    later: ClassVar[Mapping[str, str]] = {
        "namespace": "references stay within the namespace of the object that holds them"
    }
