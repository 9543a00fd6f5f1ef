"""What a server lets through is within bounds, and what it does not is without."""

from pathlib import Path

import pytest

from reconciler.desired.manifest import KINDS
from reconciler.kube.bounds import is_bounded
from reconciler.sources.documents import parse_file

ROOT = Path(__file__).resolve().parents[3]
FILES = [*ROOT.glob("examples/*.yaml"), *ROOT.glob("tests/golden/stories/*/desired.yaml")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_what_is_right_is_within_bounds(path: Path) -> None:
    documents = parse_file(str(path), path.read_bytes()).documents
    assert documents
    for manifest in (document.plain() for document in documents):
        assert manifest["kind"] in KINDS
        assert is_bounded(str(manifest["kind"]), manifest["spec"])


def test_what_is_wrong_in_another_way_is_within_bounds() -> None:
    assert is_bounded("BackupJob", {"schedules": [{"cron": "0 0 31 2 *", "name": 7}]})
    assert is_bounded("XenPool", None)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("BackupJob", {"poolRefs": [{"name": "a"}] * 1001}),
        ("BackupJob", {"poolRefs": [[[]]]}),
        ("BackupJob", {"mode": {"name": "Full"}}),
        ("BackupJob", {"schedules": [{"cron": "0" * 5000}]}),
        ("BackupJob", {"unheard": "of"}),
        ("Deployment", {}),
    ],
)
def test_what_no_server_lets_through_is_not(kind: str, spec: object) -> None:
    assert not is_bounded(kind, spec)
