"""What Argo CD and Flux make of our objects: their own scripts and expressions, really run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cel
import pytest
from lupa.lua51 import LuaRuntime
from ruamel.yaml import YAML

from reconciler.plan.reasons import Reason
from reconciler.status.conditions import ConditionType

GITOPS = Path(__file__).resolve().parents[2] / "gitops"
ARGO = GITOPS / "argocd" / "resource_customizations" / "backup.reconciler.io" / "_"
EXAMPLES = sorted((ARGO / "testdata").glob("*.yaml"))
SAFE = YAML(typ="safe")

FLUX = {
    "job_healthy": "Current",
    "job_late": "Current",
    "job_suspended": "Current",
    "job_stalled": "Failed",
    "job_reconciling": "Current",  # out of reach: applied all the same
    "job_not_seen_yet": "InProgress",
    "job_new": "InProgress",
    "job_deleted": "Current",  # nobody waits for what is pruned
    "remote_unknown": "InProgress",
    "remote_not_ready": "Current",
    "restore_complete": "Current",
    "restore_running": "InProgress",
    "restore_failed": "Failed",
}


def example(path: Path) -> dict[str, Any]:
    return dict(SAFE.load(path.read_text(encoding="utf-8")))


def argo_tests() -> Iterator[tuple[Path, str, str]]:
    for one in SAFE.load((ARGO / "health_test.yaml").read_text(encoding="utf-8"))["tests"]:
        wanted = one["healthStatus"]
        yield ARGO / one["inputPath"], wanted["status"], wanted["message"]


@pytest.mark.parametrize(
    ("path", "status", "message"), list(argo_tests()), ids=lambda one: getattr(one, "stem", None)
)
def test_argo_says_how_an_object_stands(path: Path, status: str, message: str) -> None:
    lua = LuaRuntime(register_eval=False, unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(example(path), recursive=True)
    health = lua.execute((ARGO / "health.lua").read_text(encoding="utf-8"))
    assert dict(health) == {"status": status, "message": message}


def test_argo_is_asked_about_every_example() -> None:
    assert {path for path, _, _ in argo_tests()} == set(EXAMPLES)


def flux_status(found: dict[str, Any]) -> str:
    """As Flux goes about it: failed, then current; what cannot be evaluated is waited for."""
    (flux,) = SAFE.load_all((GITOPS / "flux" / "backups.yaml").read_text(encoding="utf-8"))
    (asked,) = [one for one in flux["spec"]["healthCheckExprs"] if one["kind"] == found["kind"]]
    assert asked["apiVersion"] == found["apiVersion"]
    for field, status in (("failed", "Failed"), ("current", "Current")):
        try:
            if cel.evaluate(asked[field], found):
                return status
        except RuntimeError as error:
            assert "'status'" in str(error), "nothing but a status that is not there yet"
    return "InProgress"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_flux_says_how_an_object_stands(path: Path) -> None:
    assert flux_status(example(path)) == FLUX[path.stem]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_what_an_operator_could_say(path: Path) -> None:
    for one in example(path).get("status", {}).get("conditions", ()):
        assert ConditionType(one["type"])
        assert Reason(one["reason"])
