"""The tick in one line."""

from dataclasses import replace

import pytest
from scenes import Scene, job, wanting

from reconciler.desired.problems import Problem
from reconciler.desired.state import Desired
from reconciler.ids import ActionId
from reconciler.observed.progress import Progress
from reconciler.observed.state import Observed
from reconciler.plan.plan import Plan
from reconciler.status.report import Report

LAST = "{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}"
TONIGHT = "{job: nightly, at: 2026-08-21 02:00:05, schedules: [night]}"


def scene(vms: dict[str, str], now: str = "2026-08-21 01:00:00", remotes: str = "") -> Scene:
    pool = ", ".join(f"{vm}: {{snapshots: [{LAST}]}}" for vm in vms)
    histories = ", ".join(f"{vm}: {{points: [{points}]}}" for vm, points in vms.items())
    nas = remotes or f"vms: {{{histories}}}"
    return Scene(
        wanting(job()),
        f"now: {now}\npools: {{east: {{vms: {{{pool}}}}}}}\nremotes: {{nas: {{{nas}}}}}\n",
    )


def sentence(found: Scene) -> str:
    return Report(found.desired, found.observed, found.plan, found.now).sentence


def test_in_sync() -> None:
    found = scene({"web": LAST, "db": LAST})
    assert sentence(found) == "2 VMs protected; next slot 02:00 UTC"


def test_one_is_one() -> None:
    assert sentence(scene({"web": LAST})).startswith("1 VM protected")


def test_due() -> None:
    found = scene({"web": LAST, "db": LAST}, now="2026-08-21 02:00:10")
    assert sentence(found) == "0 of 2 VMs protected, 2 due; next slot 2026-08-22 02:00 UTC"


def test_running() -> None:
    found = scene({"web": LAST})
    progress = Progress(running={ActionId("export-1"): found.now})
    found.observed = replace(found.observed, progress=progress)
    assert "1 running" in sentence(found)


def test_not_seen() -> None:
    found = scene({"web": ""}, remotes="unknown: no answer")
    assert sentence(found) == (
        "0 of 1 VM protected, 1 not known; remote nas not seen; next slot 02:00 UTC"
    )


@pytest.mark.parametrize(("count", "words"), [(1, "1 problem in"), (2, "2 problems in")])
def test_problems(count: int, words: str) -> None:
    found = scene({"web": LAST})
    problems = (Problem("x.yaml", 1, 1, "what"),) * count
    found.desired = replace(found.desired, problems=problems)
    assert words in sentence(found)


def test_nothing_at_all() -> None:
    found = scene({"web": LAST})
    report = Report(Desired(), Observed(), Plan(), found.now)
    assert report.sentence == "0 VMs protected"
    assert report.conditions() == {}
