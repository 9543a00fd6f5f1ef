"""How a VM is protected, in the words of its object."""

from dataclasses import replace
from datetime import timedelta

from scenes import Scene, job, wanting

from reconciler.status.protected import Protection, protections
from reconciler.status.report import Report

OLD = "{job: nightly, at: 2026-08-19 02:00:05, schedules: [night]}"
LAST = "{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}"


def scene(points: str = f"{OLD}, {LAST}", now: str = "2026-08-21 01:00:00") -> Scene:
    return Scene(
        wanting(job()),
        f"now: {now}\npools: {{east: {{vms: {{web: {{snapshots: [{LAST}]}}}}}}}}\n"
        f"remotes: {{nas: {{vms: {{web: {{points: [{points}]}}}}}}}}\n",
    )


def only(found: Scene) -> Protection:
    (one,) = protections(Report(found.desired, found.observed, found.plan, found.now))
    return one


def ready(each: Protection) -> tuple[str, str]:
    (condition,) = each.conditions
    return condition.status.value, condition.reason.value


def test_one_that_is_kept() -> None:
    found = only(scene())
    assert ready(found) == ("True", "InSync")
    assert found.fields["vmName"] == "web"
    assert found.fields["lastSuccessTime"] == "2026-08-20T02:00:05Z"
    assert found.fields["behindSince"] is None
    assert found.fields["blockedBy"] == []
    assert found.fields["reference"]["stamp"] == "20260820T020005Z"
    assert found.fields["chains"] == [
        {
            "destination": "nas",
            "state": "Ok",
            "points": 2,
            "length": 2,
            "newest": "2026-08-20T02:00:05Z",
        }
    ]


def test_time_alone_changes_nothing() -> None:
    found = scene(now="2026-08-20 22:00:00")
    before = only(found)
    found.now += timedelta(hours=3)
    assert only(found) == before


def test_one_that_is_behind_says_since_when() -> None:
    found = only(scene(now="2026-08-21 03:00:00"))
    assert ready(found)[0] == "False"
    assert found.fields["state"] == "Due"
    assert found.fields["behindSince"] == "2026-08-21T02:00:00Z"


def test_a_broken_chain_is_told() -> None:
    broken = LAST.replace("schedules", "missing: [root], schedules")
    (chain,) = only(scene(f"{OLD}, {broken}")).fields["chains"]
    assert chain["state"] == "Broken"


def test_what_is_not_seen_is_not_known_and_not_empty() -> None:
    found = scene()
    found.observed = replace(found.observed, remotes={})
    said = only(found)
    assert said.fields["chains"] == [{"destination": "nas", "state": "Unknown"}]
    assert said.fields["blockedBy"]
