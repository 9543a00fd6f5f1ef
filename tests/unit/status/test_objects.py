"""How each object stands, in its own words."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from scenes import Scene, job, wanting

from reconciler.desired.document import Identity
from reconciler.desired.envelope import Fields
from reconciler.desired.problems import Problem
from reconciler.desired.statuses import JobStatus, PoolStatus, RemoteStatus
from reconciler.observed.state import Observed
from reconciler.status.objects import ObjectStatus, coarse_size, object_statuses
from reconciler.status.report import Report

LAST = "{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}"
NIGHTLY = Identity("BackupJob", "default", "nightly")
EAST = Identity("XenPool", "default", "east")
NAS = Identity("BackupRemote", "default", "nas")


def scene(
    nas: str = "", now: str = "2026-08-21 01:00:00", vms: tuple[str, ...] = ("web",)
) -> Scene:
    pool = ", ".join(f"{vm}: {{snapshots: [{LAST}]}}" for vm in vms)
    histories = ", ".join(f"{vm}: {{points: [{LAST}]}}" for vm in vms)
    place = nas or f"vms: {{{histories}}}"
    return Scene(
        wanting(job()),
        f"now: {now}\npools: {{east: {{vms: {{{pool}}}}}}}\nremotes: {{nas: {{{place}}}}}\n",
    )


def statuses(found: Scene, *declared: Identity) -> dict[Identity, ObjectStatus]:
    report = Report(found.desired, found.observed, found.plan, found.now)
    return object_statuses(report, declared or (NIGHTLY, EAST, NAS))


def conditions(status: ObjectStatus) -> dict[str, tuple[str, str]]:
    return {each.type.value: (each.status.value, each.reason.value) for each in status.conditions}


def test_all_is_well() -> None:
    found = statuses(scene())
    assert {conditions(each)["Ready"] for each in found.values()} == {("True", "InSync")}
    fields = found[NIGHTLY].fields
    assert fields["protectedVMs"]["summary"] == "1/1"
    assert fields["lastSuccessTime"] == fields["exposedSince"] == "2026-08-20T02:00:05Z"
    assert fields["nextRunTime"] == "2026-08-21T02:00:00Z"
    assert fields["plan"]["summary"] == "nothing to do"
    assert found[NAS].fields["pointCount"] == 1
    assert found[EAST].fields["vmCount"] == 1


def test_time_alone_changes_nothing() -> None:
    """An hour later, with the next slot still to come, every status is the same."""
    found = scene(now="2026-08-20 22:00:00")
    before = statuses(found)
    found.now += timedelta(hours=3)
    assert statuses(found) == before


def test_a_late_backup_is_told_by_when_it_was_due() -> None:
    one, other = scene(now="2026-08-21 05:00:00"), scene(now="2026-08-21 09:00:00")
    assert statuses(one)[NIGHTLY].conditions == statuses(other)[NIGHTLY].conditions
    assert conditions(statuses(one)[NIGHTLY])["RPOMet"] == ("False", "BackupOverdue")


def test_the_worst_vms_are_told_first_and_few() -> None:
    found = scene(
        vms=tuple(f"vm{number:02}" for number in range(12)),
        nas=f"vms: {{vm11: {{points: [{LAST}]}}}}",
    )
    fields = statuses(found)[NIGHTLY].fields
    assert fields["protectedVMs"]["matched"] == 12
    assert len(fields["vms"]) == 10
    assert "vm11" not in [vm["name"] for vm in fields["vms"]]
    assert fields["exposedSince"] is None  # some have no point at all


def test_before_the_first_look_there_is_nothing_to_say() -> None:
    found = scene()
    found.observed = Observed()
    for status in statuses(found).values():
        assert not status.looked_at
        assert conditions(status)["Ready"] == ("Unknown", "WaitingForObservation")
        assert conditions(status)["Reconciling"][0] == "True"


def test_a_remote_out_of_sight_is_tried_again() -> None:
    status = statuses(scene(nas="unknown: no answer"))[NAS]
    assert conditions(status) == {
        "Ready": ("False", "RemoteUnavailable"),
        "Reconciling": ("True", "RemoteUnavailable"),
    }


@pytest.mark.parametrize("identity", [NIGHTLY, EAST, NAS])
def test_mistakes_are_all_told(identity: Identity) -> None:
    found = scene()
    problems = tuple(
        Problem(str(identity), 0, 0, message, hint, object=str(identity))
        for message, hint in (("one is wrong", "mend it"), ("another is, too", ""))
    )
    protected = frozenset({found.desired.jobs["nightly"].id})
    found.desired = replace(found.desired, problems=problems, protected_jobs=protected)
    status = statuses(found)[identity]
    assert conditions(status)["Ready"] == ("False", "InvalidSpec")
    assert conditions(status)["Stalled"] == ("True", "InvalidSpec")
    assert status.conditions[0].message == "one is wrong (mend it); another is, too"
    assert status.fields  # of its last good version


def test_an_object_never_good_says_why() -> None:
    other = Identity("BackupJob", "shop", "other")
    found = scene()
    problem = Problem(str(other), 0, 0, "it is wrong", object=str(other))
    found.desired = replace(found.desired, problems=(problem,))
    assert statuses(found, other)[other].conditions[0].message == "it is wrong"
    third = Identity("BackupJob", "default", "third")
    status = statuses(found, third)[third]
    assert "what it names has problems" in status.conditions[0].message
    assert conditions(status)["Reconciling"] == ("True", "InvalidSpec")


def test_what_is_not_there_yet_is_waited_for() -> None:
    other = Identity("BackupJob", "shop", "other")
    missing = Problem(str(other), 0, 0, "there is no XenPool lab", object=str(other), waits=True)
    found = scene()
    found.desired = replace(found.desired, problems=(missing,))
    assert set(conditions(statuses(found, other)[other])) == {"Ready", "Reconciling"}
    wrong = Problem(str(other), 0, 0, "it is wrong", object=str(other))
    found.desired = replace(found.desired, problems=(missing, wrong))
    assert set(conditions(statuses(found, other)[other])) == {"Ready", "Stalled"}


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0"),
        (999, "990"),
        (4096, "4.0Ki"),
        (4_300_000_000, "4.0Gi"),
        (4_400_000_000, "4.0Gi"),
        (50_999_999_999, "47Gi"),
        (507 << 30, "500Gi"),
        (1023 << 30, "1000Gi"),
        (3 << 60, "3000Pi"),
    ],
)
def test_sizes_are_coarse(size_bytes: int, text: str) -> None:
    assert coarse_size(size_bytes) == text


def test_fields_are_what_json_has() -> None:
    def check(value: Any) -> None:
        match value:
            case dict():
                for key, inner in value.items():
                    assert type(key) is str
                    check(inner)
            case list():
                for inner in value:
                    check(inner)
            case _:
                assert (
                    value is None
                    or type(value) in (str, int, bool, float)
                    or isinstance(value, str)
                )

    for status in statuses(scene()).values():
        check(dict(status.fields))


@pytest.mark.parametrize(
    ("identity", "described"),
    [(NIGHTLY, JobStatus), (EAST, PoolStatus), (NAS, RemoteStatus)],
)
def test_what_is_told_is_what_the_definitions_describe(
    identity: Identity, described: type[Fields]
) -> None:
    for found in (scene(), scene(nas="unknown: no answer"), scene(now="2026-08-23 01:00:00")):
        described.model_validate_json(json.dumps(statuses(found)[identity].fields))
