"""How mistakes are said; which mistakes there are is tested with each kind."""

from collections.abc import Callable

import pytest

from reconciler.desired.document import Document
from reconciler.desired.manifest import read_manifest
from reconciler.desired.wording import quoted

Parse = Callable[[str], Document]

POOL = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: XenPool
metadata: {{name: lab}}
spec: {}
"""


def test_long_names_are_cut() -> None:
    assert quoted("x" * 41) == f'"{"x" * 40}…"'
    assert quoted("x" * 40) == f'"{"x" * 40}"'


def test_what_stands_there_under_another_name_is_not_missing_too(document: Parse) -> None:
    text = POOL.format("{url: https://a.example, secretRef: {name: x}}")
    assert [one.message for one in read_manifest(document(text)).problems] == [
        'unknown field "url" in spec',
        'unknown field "secretRef" in spec',
    ]


def test_a_list_of_wrong_items_is_not_empty_too(document: Parse) -> None:
    text = POOL.format("{urls: [a, b], passwordFrom: {env: X}}")
    assert [one.column for one in read_manifest(document(text)).problems] == [15, 18]


def test_an_unknown_field_without_a_value_is_said_once(document: Parse) -> None:
    text = POOL.format("{urls: [https://a.example], passwordFrom: {env: X}, zebra: }")
    assert len(read_manifest(document(text)).problems) == 1


def test_a_message_repeats_no_long_value(document: Parse) -> None:
    text = POOL.format("{urls: [" + "x" * 5000 + "], passwordFrom: {env: X}}")
    (problem,) = read_manifest(document(text)).problems
    assert len(problem.message) < 200


@pytest.mark.parametrize(
    ("value", "said"),
    [("[1]", "a list"), ("{a: 1}", "a mapping"), ("1.5", "1.5"), ("true", "true"), ('"7"', '"7"')],
)
def test_what_stands_there_instead_is_said(document: Parse, value: str, said: str) -> None:
    text = POOL.format(
        f"{{urls: [https://a.example], passwordFrom: {{env: X}}, maxConcurrentExports: {value}}}"
    )
    (problem,) = read_manifest(document(text)).problems
    assert problem.message == f"spec.maxConcurrentExports must be a whole number, not {said}"
