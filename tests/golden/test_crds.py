"""crds/ is what the classes say: `make golden` rewrites it."""

from collections.abc import Callable
from pathlib import Path

from reconciler.desired.crd import render_crds

CRDS = Path(__file__).resolve().parents[2] / "crds"


def test_the_files_are_fresh(golden: Callable[[Path, str], None]) -> None:
    for name, text in render_crds().items():
        golden(CRDS / name, text)


def test_there_are_no_others() -> None:
    assert {path.name for path in CRDS.glob("*_*.yaml")} == set(render_crds())
