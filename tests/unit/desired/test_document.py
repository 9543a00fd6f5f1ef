from collections.abc import Callable

import pytest

from reconciler.desired.document import (
    BrokenDocument,
    Document,
    Identity,
    ManifestFile,
    MappingNode,
    Mark,
    ScalarNode,
    plain_of,
    spell,
)
from reconciler.desired.problems import Problem

TEXT = """\
kind: BackupJob
spec:
  schedules:
    - {name: night, cron: "0 2 * * *"}
    - name: week
"""


@pytest.fixture
def parsed(document: Callable[[str], Document]) -> Document:
    return document(TEXT)


def test_values_without_their_places(parsed: Document) -> None:
    assert parsed.plain() == {
        "kind": "BackupJob",
        "spec": {"schedules": [{"name": "night", "cron": "0 2 * * *"}, {"name": "week"}]},
    }
    assert plain_of(ScalarNode(None)) is None


@pytest.mark.parametrize(
    ("path", "key", "mark"),
    [
        (("kind",), False, Mark(1, 7, 9)),
        (("kind",), True, Mark(1, 1, 4)),
        (("spec", "schedules", 0, "cron"), False, Mark(4, 27, 11)),
        (("spec", "schedules", 0, "cron"), True, Mark(4, 21, 4)),
        (("spec", "schedules", 1, "name"), False, Mark(5, 13, 4)),
        (("spec", "schedules", 1, "cron"), False, Mark(5, 7, 1)),  # missing: who lacks it
        (("spec", "targets"), False, Mark(2, 1, 4)),
        (("metadata", "name"), False, Mark(1, 1, 4)),
        ((), False, Mark(1, 1, 4)),
    ],
)
def test_where_things_stand(
    parsed: Document, path: tuple[str | int, ...], key: bool, mark: Mark
) -> None:
    assert parsed.mark(path, key=key) == mark


@pytest.mark.parametrize(
    "path", [("spec", 0), ("spec", "schedules", 2), ("spec", "schedules", "x"), ("kind", "x")]
)
def test_nothing_stands_where_nothing_is(parsed: Document, path: tuple[str | int, ...]) -> None:
    assert parsed.node(path) is None


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("spec",), "spec"),
        (("spec", "schedules", 0, "cron"), "spec.schedules[0].cron"),
        (("spec", "a", 1, 2), "spec.a[1][2]"),
        (("x" * 500,), "x" * 60),
    ],
)
def test_paths_are_spelt_as_people_write_them(path: tuple[str | int, ...], text: str) -> None:
    assert spell(path) == text


def test_a_problem_carries_its_line(parsed: Document) -> None:
    problem = parsed.problem(("kind",), "what", "why", subject="BackupJob/x")
    assert problem == Problem(
        "test.yaml", 1, 7, "what", "why", "kind: BackupJob", 9, "BackupJob/x", field="kind"
    )


def test_without_text_there_is_no_line_but_a_field() -> None:
    bare = Document("cluster", MappingNode(()))
    assert bare.problem(("spec",), "missing") == Problem("cluster", 0, 0, "missing", field="spec")


def test_a_name_is_said_with_its_namespace_unless_it_is_the_default() -> None:
    assert str(Identity("BackupJob", "default", "nightly")) == "BackupJob/nightly"
    assert str(Identity("BackupJob", "erp", "nightly")) == "BackupJob/erp/nightly"
    assert Identity("BackupJob", "erp", "nightly").sibling("cellar") == "erp/cellar"


def test_a_file_is_whole_if_nothing_of_it_is_in_doubt() -> None:
    problem = Problem("a", 1, 1, "x")
    assert ManifestFile("a").whole
    assert not ManifestFile("a", unread=True).whole
    assert not ManifestFile("a", problems=(problem,)).whole
    assert not ManifestFile("a", broken=(BrokenDocument(None, problem),)).whole
