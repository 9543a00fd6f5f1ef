from datetime import timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from reconciler.desired.envelope import AbsolutePath, LabelName, ObjectName, Span, Uuid


@pytest.mark.parametrize("name", ["a", "a-b", "a.b-c.d9", "9", "a" * 253])
def test_names_of_objects(name: str) -> None:
    assert TypeAdapter(ObjectName).validate_python(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "a_b", "-a", "a-", ".a", "a..b", "a/b", "a b", "ä", "a\n", "a" * 254]
)
def test_what_is_no_name(name: str) -> None:
    for kind in (ObjectName, LabelName):
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(name)


@pytest.mark.parametrize("name", ["a.b", "a" * 64])
def test_labels_are_shorter_and_have_no_dots(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(LabelName).validate_python(name)


def test_spans_have_units_and_length() -> None:
    assert TypeAdapter(Span).validate_python("1h30m") == timedelta(minutes=90)
    for text in ("", "0s", "30", 30, None, "999999999999w"):
        with pytest.raises(ValidationError):
            TypeAdapter(Span).validate_python(text)


def test_paths_lose_a_slash_at_the_end() -> None:
    assert TypeAdapter(AbsolutePath).validate_python("/a/b c/") == "/a/b c"


def test_uuids_end_where_they_end() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Uuid).validate_python("6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31\n")
