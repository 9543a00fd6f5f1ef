"""How runs end that do not come to their own end: cancelled by a patch, or left by a kill."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import Namespace
from kube_estate import JOB, MIB, Estate, make_estate
from operators import operators, until

from reconciler.lab.transfers import EXPORT

ASKED = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRun
metadata: {{name: {name}}}
spec: {{jobRef: {{name: nightly}}}}
"""
SILENCE_S = 10.0
"""After so long, nothing of what was cancelled moves any more."""


@pytest.fixture
def slow(namespace: Namespace, tmp_path: Path) -> Iterator[Estate]:
    """Its disk takes half a minute to be exported."""
    made = make_estate(namespace, tmp_path, bandwidth_bytes_per_s=MIB // 16)
    yield made
    made.lab.close()


def moving(estate: Estate) -> list[Any]:
    return [one for one in estate.lab.transfers.open if one.kind == EXPORT and one.moved_bytes]


def left_over(estate: Estate) -> list[str]:
    return [str(path) for path in estate.remote.rglob("*.partial")]


def conditions(estate: Estate, run: str) -> dict[str, tuple[str, str]]:
    found = estate.stands("br", run)["conditions"]
    return {kind: (each["status"], each["reason"]) for kind, each in found.items()}


def patched(estate: Estate, run: str, *, cancel: bool) -> tuple[str, ...]:
    return "patch", "br", run, "--type=merge", "-p", json.dumps({"spec": {"cancel": cancel}})


def test_a_patch_ends_a_run_and_nothing_else(slow: Estate) -> None:
    kubectl = slow.kubectl
    with operators(kubectl, slow.namespace.name, slow.root) as (operator,):
        kubectl.apply(slow.places + JOB.replace("runOnCreate: true", "runOnCreate: false"))
        kubectl.apply(ASKED.format(name="first"))
        until(lambda: moving(slow))
        slow.wait("jsonpath={.status.state}=Running", "br/first")
        kubectl(*patched(slow, "first", cancel=True))
        quiet_from = time.monotonic() + SILENCE_S
        slow.wait("condition=Failed", "br/first")
        said = slow.stands("br", "first")
        assert said["state"] == "Cancelled"
        assert said["completionTime"]
        assert conditions(slow, "first") == {
            "Ready": ("False", "RunCancelled"),
            "Complete": ("False", "RunCancelled"),
            "Failed": ("True", "RunCancelled"),
            "Stalled": ("True", "RunCancelled"),
        }
        assert said["conditions"]["Failed"]["message"].startswith("Cancelled: ")
        (sent,) = [each for each in said["results"] if each["action"] == "export"]
        assert (sent["outcome"], sent["reason"]) == ("Cancelled", "Cancelled")
        assert sent["message"]
        until(lambda: time.monotonic() > quiet_from + SILENCE_S)
        assert not slow.lab.transfers.since(quiet_from)
        assert not slow.lab.transfers.open
        assert slow.points == left_over(slow) == []
        refused = kubectl.refused(*patched(slow, "first", cancel=False))
        assert "a cancelled run stays cancelled" in refused

        slow.wait("condition=Ready", "bj/nightly")  # to cancel is nothing that is wrong with a job
        slow.lab.pool.settings.bandwidth_bytes_per_s = 0
        kubectl.apply(ASKED.format(name="second"))
        slow.wait("condition=Complete", "br/second")
        assert len(slow.points) == 1
        assert slow.stands("br", "first")["state"] == "Cancelled"
        assert operator.process.poll() is None
    assert slow.is_restored_from(slow.points[-1])


@pytest.mark.parametrize("history", ["kept", "lost"])
def test_a_run_that_a_kill_left_open_goes_on_or_is_over(slow: Estate, history: str) -> None:
    """Its pod's state directory goes with the pod, or it is a volume that stays."""
    kubectl, root = slow.kubectl, slow.root
    with operators(kubectl, slow.namespace.name, root) as (first,):
        kubectl.apply(slow.places + JOB.replace("runOnCreate: true", "runOnCreate: false"))
        kubectl.apply(ASKED.format(name="asked"))
        until(lambda: moving(slow))
        slow.wait("jsonpath={.status.state}=Running", "br/asked")
        first.kill()
    assert slow.stands("br", "asked")["state"] == "Running"
    if history == "lost":
        (root / "state-0").rename(root / "state-of-the-first")
    slow.lab.pool.settings.bandwidth_bytes_per_s = 0
    with operators(kubectl, slow.namespace.name, root):
        slow.wait("condition=Complete", "br/asked")
        assert slow.stands("br", "asked")["state"] == "Succeeded"
        assert len(slow.points) == 1
        until(lambda: not left_over(slow))
        assert [each["metadata"]["name"] for each in kubectl.json("get", "br")["items"]] == [
            "asked"
        ]
    assert slow.is_restored_from(slow.points[-1])


def test_a_run_that_a_kill_left_open_and_nobody_wants_any_more_is_interrupted(slow: Estate) -> None:
    kubectl = slow.kubectl
    with operators(kubectl, slow.namespace.name, slow.root) as (first,):
        kubectl.apply(slow.places + JOB)
        until(lambda: moving(slow))
        (record,) = until(
            lambda: [each["metadata"]["name"] for each in kubectl.json("get", "br")["items"]]
        )
        slow.wait("jsonpath={.status.state}=Running", f"br/{record}")
        first.kill()
    kubectl("delete", "bj", "nightly")
    with operators(kubectl, slow.namespace.name, slow.root):
        slow.wait("condition=Failed", f"br/{record}")
        assert slow.stands("br", record)["state"] == "Interrupted"
        assert conditions(slow, record)["Stalled"] == ("True", "Interrupted")
    assert slow.points == []
