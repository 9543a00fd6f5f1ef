"""Whether what is kept of VMs was read in time, as jobs and ProtectedVMs say it."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from scenes import Scene, job, wanting

from reconciler.desired.document import Identity
from reconciler.desired.envelope import Fields
from reconciler.desired.state import Verification
from reconciler.desired.statuses import JobStatus, ProtectedVmStatus
from reconciler.ids import PoolName, RemoteName
from reconciler.observed.unknown import Unknown
from reconciler.status.conditions import Condition, ConditionType
from reconciler.status.objects import ObjectStatus, object_statuses
from reconciler.status.protected import Protection, protections
from reconciler.status.report import Report

NIGHTLY = Identity("BackupJob", "default", "nightly")
NAS, CLOUD = RemoteName("nas"), RemoteName("cloud")
BEFORE = "{job: nightly, at: 2026-08-19 02:00:05, schedules: [night]}"
LAST = "{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}"
WEEK = Verification(timedelta(days=7))
FRESH = "{of: 2026-08-19 02:00:05, at: 2026-08-19 12:00:00}"
OLD = "{of: 2026-08-10 02:00:05, at: 2026-08-10 12:00:00}"
"""It was fresh for a week: until the 17th at noon."""


def scene(
    nas: str | None = FRESH, cloud: str | None = FRESH, *, points: str = LAST, **changes: Any
) -> Scene:
    """One VM on two remotes. nas, cloud: the proofs there; None for none."""

    def history(proof: str | None) -> str:
        proofs = "" if proof is None else f", proofs: {{nightly: {proof}}}"
        return f"{{vms: {{web: {{points: [{points}]{proofs}}}}}}}"

    settings = {"remotes": (NAS, CLOUD), "verification": WEEK, **changes}
    return Scene(
        wanting(job(**settings)),
        "now: 2026-08-21 01:00:00\n"
        f"pools: {{east: {{vms: {{web: {{snapshots: [{LAST}]}}}}}}}}\n"
        f"remotes: {{nas: {history(nas)}, cloud: {history(cloud)}}}\n",
    )


def unseen(found: Scene, remote: RemoteName) -> Scene:
    away = Unknown(found.now, "RemoteUnavailable", "no answer")
    remotes = {**found.observed.remotes, remote: away}
    found.observed = replace(found.observed, remotes=remotes)
    return found


def unread(found: Scene, remote: RemoteName) -> Scene:
    """The remote is seen, but not what it holds of the VM."""
    view: Any = found.observed.remotes[remote]
    why = Unknown(found.now, "RemoteUnavailable", "EIO")
    histories = dict.fromkeys(view.histories, why)
    remotes = {**found.observed.remotes, remote: replace(view, histories=histories)}
    found.observed = replace(found.observed, remotes=remotes)
    return found


def report(found: Scene) -> Report:
    return Report(found.desired, found.observed, found.plan, found.now)


def of_job(found: Scene) -> ObjectStatus:
    return object_statuses(report(found), (NIGHTLY,))[NIGHTLY]


def of_vm(found: Scene) -> Protection:
    (one,) = protections(report(found))
    return one


def said(each: ObjectStatus | Protection) -> Condition | None:
    found = [one for one in each.conditions if one.type is ConditionType.PROOF_FRESH]
    assert len(found) <= 1
    return found[0] if found else None


def verdicts(found: Scene) -> set[tuple[str, str]]:
    """What the job says and what the VM says."""
    both = [said(of_job(found)), said(of_vm(found))]
    return {(each.status.value, each.reason.value) for each in both if each is not None}


def test_a_vm_that_is_proven_at_each_remote() -> None:
    found = scene()
    assert verdicts(found) == {("True", "InSync")}
    assert of_job(found).fields["proofs"] == {"summary": "1/1", "fresh": 1, "due": 0}
    assert of_vm(found).fields["lastProof"] == {
        "time": "2026-08-19T12:00:00Z",
        "level": "Chain",
        "point": "20260819T020005Z",
        "destination": "nas",
    }


def test_one_that_never_was_is_due_since_its_first_point() -> None:
    found = scene(None, None, points=f"{BEFORE}, {LAST}")
    assert verdicts(found) == {("False", "ProofDue")}
    assert of_job(found).fields["proofs"] == {"summary": "0/1", "fresh": 0, "due": 1}
    assert of_vm(found).fields["lastProof"] is None
    told = said(of_job(found)), said(of_vm(found))
    assert [each.message for each in told if each is not None] == [
        "web: a proof is due since 2026-08-19 02:00 UTC",
        "a proof is due since 2026-08-19T02:00:05Z",
    ]


def test_one_remote_without_a_proof_is_enough() -> None:
    found = scene(FRESH, None)
    assert verdicts(found) == {("False", "ProofDue")}
    assert of_job(found).fields["proofs"]["summary"] == "0/1"
    assert of_vm(found).fields["lastProof"]["destination"] == "nas"


def test_a_proof_that_is_too_old_is_told_by_when_it_expired() -> None:
    found = scene(FRESH, OLD)
    assert verdicts(found) == {("False", "ProofDue")}
    condition = said(of_vm(found))
    assert condition is not None
    assert condition.message == "a proof is due since 2026-08-17T12:00:00Z"


def test_time_alone_changes_nothing_until_it_expires() -> None:
    found = scene(suspend=True)  # by night there would be a backup to make
    before, expires = verdicts(found), datetime.fromisoformat("2026-08-26T12:00:00Z")
    for found.now in (expires - timedelta(seconds=1), expires):
        assert verdicts(found) == (before if found.now < expires else {("False", "ProofDue")})


def test_what_is_due_for_longest_is_named_and_the_others_counted() -> None:
    histories = ", ".join(
        f"{name}: {{points: [{point}]}}"
        for name, point in (("web", LAST), ("db", BEFORE), ("mail", LAST))
    )
    found = Scene(
        wanting(job(verification=WEEK)),
        "now: 2026-08-21 01:00:00\npools: {east: {vms: {web: {}, db: {}, mail: {}}}}\n"
        f"remotes: {{nas: {{vms: {{{histories}}}}}}}\n",
    )
    condition = said(of_job(found))
    assert condition is not None
    assert condition.message == "db: a proof is due since 2026-08-19 02:00 UTC (and 2 more VMs)"


@pytest.mark.parametrize("hide", [unseen, unread])
@pytest.mark.parametrize(
    "changes",
    [{}, {"points": BEFORE}, {"suspend": True}],
    ids=["kept", "a backup is due", "suspended"],
)
def test_what_is_not_seen_is_not_known_whatever_else_the_vm_owes(
    hide: Any, changes: dict[str, Any]
) -> None:
    found = hide(scene(**changes), CLOUD)
    assert verdicts(found) == {("Unknown", "WaitingForObservation")}
    assert of_job(found).fields["proofs"] == {"summary": "0/0", "fresh": 0, "due": 0}
    assert of_vm(found).fields["lastProof"]["destination"] == "nas", "what is seen is told"


def test_what_is_seen_to_lack_a_proof_lacks_it_whatever_is_not_seen() -> None:
    assert verdicts(unseen(scene(None, FRESH), CLOUD)) == {("False", "ProofDue")}


def test_a_pool_that_is_not_seen_may_have_any_vms() -> None:
    found = scene()
    away = Unknown(found.now, "PoolUnreachable", "no answer")
    found.observed = replace(found.observed, pools={PoolName("east"): away})
    condition = said(of_job(found))
    assert condition is not None
    assert condition.status.value == "Unknown"
    assert condition.message.startswith("pool east: no answer")


def test_a_remote_without_points_of_the_vm_owes_no_proof_and_has_none() -> None:
    """Whatever is noted there of points that are gone."""
    found = scene(points="")
    assert verdicts(found) == {("Unknown", "WaitingForSlot")}
    assert of_job(found).fields["proofs"]["summary"] == "0/0"
    assert of_vm(found).fields["lastProof"] is None


def test_a_proof_from_the_future_proves_nothing() -> None:
    tomorrow = FRESH.replace("2026-08-19 12", "2026-08-22 12")
    assert verdicts(scene(FRESH, tomorrow)) == {("False", "ProofDue")}


def test_where_nobody_asks_nothing_is_said() -> None:
    for found in (scene(verification=None), unseen(scene(verification=None), CLOUD)):
        assert verdicts(found) == set()
        assert of_job(found).fields["proofs"] is None
        assert of_vm(found).fields["lastProof"] is None


@pytest.mark.parametrize("found", [scene(), scene(None, None), unseen(scene(), CLOUD)])
def test_what_is_told_is_what_the_definitions_describe(found: Scene) -> None:
    fields: list[tuple[type[Fields], Any]] = [
        (JobStatus, of_job(found).fields),
        (ProtectedVmStatus, of_vm(found).fields),
    ]
    for described, told in fields:
        described.model_validate_json(json.dumps(told))
