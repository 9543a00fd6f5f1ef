from collections.abc import Callable

import pytest

from reconciler.desired.document import Document
from reconciler.desired.job_checks import (
    NameRead,
    pool_references,
    remote_references,
    repeated_names,
)

Parse = Callable[[str], Document]


def test_names_are_read_as_far_as_they_can_be(document: Parse) -> None:
    parsed = document(
        "spec: {poolRefs: [{name: a}, {nme: b}, 7, {name: 8}], targets: [{remoteRef: {name: c}}]}"
    )
    assert pool_references(parsed) == [NameRead("a", ("spec", "poolRefs", 0, "name"))]
    assert remote_references(parsed) == [NameRead("c", ("spec", "targets", 0, "remoteRef", "name"))]


@pytest.mark.parametrize("text", ["spec: {poolRefs: 7}", "spec: 7", "x: y", "spec: {poolRefs: {}}"])
def test_there_are_no_names_where_there_is_no_list(document: Parse, text: str) -> None:
    assert pool_references(document(text)) == []
    assert list(repeated_names(document(text))) == []


def test_what_is_listed_twice_is_told_each_time(document: Parse) -> None:
    parsed = document("spec: {schedules: [{name: a}, {name: b}, {name: a}, {name: a}]}")
    findings = list(repeated_names(parsed))
    assert [finding.path[2] for finding in findings] == [2, 3]
    assert findings[0].hint == "spec.schedules[0] has it already"
