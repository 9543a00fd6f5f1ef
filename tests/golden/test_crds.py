"""crds/ is what the classes say: `make golden` rewrites it."""

from collections.abc import Callable
from pathlib import Path

from reconciler.desired.crd import render_crds

CRDS = Path(__file__).resolve().parents[2] / "crds"
KUSTOMIZATION = """\
# Without an ending, so that `kubectl apply -f crds` does not take it for an object.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
{resources}
"""


def test_the_files_are_fresh(golden: Callable[[Path, str], None]) -> None:
    for name, text in render_crds().items():
        golden(CRDS / name, text)
    resources = "\n".join(f"  - {name}" for name in sorted(render_crds()))
    golden(CRDS / "Kustomization", KUSTOMIZATION.format(resources=resources))


def test_there_are_no_others() -> None:
    assert {path.name for path in CRDS.iterdir()} == {*render_crds(), "Kustomization"}
