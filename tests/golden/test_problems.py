"""What the author of a file with many mistakes reads. A change here is a change of the product."""

from collections.abc import Callable
from pathlib import Path

from reconciler.desired.resolve import resolve
from reconciler.sources.documents import parse_file
from reconciler.sources.render import render_all

HERE = Path(__file__).parent / "problems"


def test_many_mistakes(golden: Callable[[Path, str], None]) -> None:
    file = parse_file("mistakes.yaml", (HERE / "mistakes.yaml").read_bytes())
    desired = resolve([file]).desired
    text = render_all(desired.problems, desired.warnings)
    assert "hunter2" not in text
    golden(HERE / "problems.txt", text)
