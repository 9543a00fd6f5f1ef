"""What the chart carries of crds/ and manifests/ is copied, by `make golden`, never by hand.

Copies, because a chart is packed without the rest of the repository, and links do not survive all
of the ways in which GitOps tools fetch one.
"""

from collections.abc import Callable
from pathlib import Path

from reconciler.desired.crd import render_crds

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "charts" / "reconciler" / "files"
MANIFESTS = ROOT / "manifests"
MONITORING = MANIFESTS / "components" / "monitoring"
JOBS = MANIFESTS / "components" / "execution-jobs"

SOURCES = {
    "operator.yaml": MANIFESTS / "rbac" / "operator" / "operator.yaml",
    "people.yaml": MANIFESTS / "rbac" / "people" / "people.yaml",
    "policy.yaml": MANIFESTS / "components" / "approval" / "policy.yaml",
    "leases.yaml": MANIFESTS / "rbac" / "operator" / "leases.yaml",
    "jobs.yaml": JOBS / "jobs.yaml",
    "service-monitor.yaml": MONITORING / "service_monitor.yaml",
    "prometheus-rule.yaml": MONITORING / "prometheus_rule.yaml",
    "dashboard.json": MONITORING / "dashboard.json",
    "webhook.yaml": MANIFESTS / "components" / "webhook" / "webhook.yaml",
    "worker.yaml": JOBS / "worker.yaml",
    "worker-template.yaml": JOBS / "worker-template.yaml",
}


def texts() -> dict[str, str]:
    """What each file of the chart says, by its path below files/."""
    return {
        **{name: source.read_text(encoding="utf-8") for name, source in SOURCES.items()},
        **{f"crds/{name}": text for name, text in render_crds().items()},
    }


def test_the_copies_are_fresh(golden: Callable[[Path, str], None]) -> None:
    for name, text in texts().items():
        golden(FILES / name, text)


def test_there_are_no_others() -> None:
    found = {str(path.relative_to(FILES)) for path in FILES.rglob("*") if path.is_file()}
    assert found == set(texts())
