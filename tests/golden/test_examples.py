"""Examples are right, each alone and without a word of warning."""

from pathlib import Path

import pytest

from reconciler.sources.files import ManifestFiles

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_right(path: Path) -> None:
    desired = ManifestFiles([str(path)]).read()
    assert desired.problems == desired.warnings == ()
    assert desired.jobs or desired.restores


def test_there_are_examples() -> None:
    assert {
        "everywhere.yaml",
        "minimal.yaml",
        "restore.yaml",
        "several-schedules.yaml",
        "two-sites.yaml",
    } <= {path.name for path in EXAMPLES}
