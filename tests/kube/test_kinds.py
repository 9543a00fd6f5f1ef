"""The kinds as people meet them at kubectl: explained, listed, and kept apart from their status."""

import json

from clusters import Kubectl

GOOD = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata: {name: nightly}
spec:
  poolRefs: [{name: lab}]
  selector: {matchTags: [prod]}
  targets: [{remoteRef: {name: cellar}}]
  schedules: [{name: night, cron: "0 2 * * *"}]
---
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRun
metadata: {name: now}
spec: {jobRef: {name: nightly}}
---
apiVersion: backup.reconciler.io/v1alpha1
kind: ProtectedVM
metadata: {name: web}
spec: {jobRef: {name: nightly}, vm: 6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31}
"""
SINCE = "2026-01-31T02:00:00Z"
STATUS = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "InSync",
            "message": "41 of 42 VMs are protected",
            "lastTransitionTime": SINCE,
        },
        {
            "type": "ChainsHealthy",
            "status": "True",
            "reason": "InSync",
            "message": "",
            "lastTransitionTime": SINCE,
        },
    ],
    "protectedVMs": {"summary": "41/42", "matched": 42, "protected": 41},
    "targets": {"summary": "cellar, SR fast", "count": 2},
    "lastSuccessTime": SINCE,
    "exposedSince": SINCE,
    "nextRunTime": SINCE,
    "plan": {"summary": "1 export", "actions": {"export": 1}, "destructive": 0},
    "vms": [{"uuid": "6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31", "name": "web", "state": "Held"}],
    "ofANewerOperator": {"kept": True},
}


def test_a_field_explains_itself(kubectl: Kubectl) -> None:
    said = " ".join(kubectl("explain", "bj.spec.schedules").split())
    assert "When restore points are made, and how long those of each schedule are kept." in said
    assert "cron <string> -required- Minute, hour, day of the month, month, day of the week" in said
    assert "timeZone <string> IANA name" in said


def test_lists_show_what_people_look_for(kubectl: Kubectl) -> None:
    kubectl.apply(GOOD)
    patch = json.dumps({"status": STATUS})
    kubectl("patch", "bj", "nightly", "--subresource=status", "--type=merge", "-p", patch)
    assert headings(kubectl("get", "bj")) == ("NAME READY STATUS VMS LAST SUCCESS NEXT RPO AGE")
    head, row = kubectl("get", "bj", "-o", "wide").splitlines()
    assert " ".join(head.split()).endswith("AGE MODE TARGETS RPO MET CHAINS PROOFS PLAN SUSPENDED")
    assert "41 of 42 VMs are protected   41/42" in row
    assert " ".join(row.split("Incremental")[1].split()) == "cellar, SR fast True 1 export false"
    every = kubectl("get", "backup")
    assert headings(kubectl("get", "br")).startswith("NAME READY STATUS JOB STATE VMS STARTED")
    assert headings(kubectl("get", "pvm")).startswith("NAME READY STATUS VM JOB STATE LAST SUCC")
    for name in ("backupjob", "backuprun", "protectedvm"):
        assert f"{name}.backup.reconciler.io/" in every
    kubectl("wait", "bj/nightly", "--for=condition=Ready", "--timeout=60s")


def test_spec_and_status_are_written_apart(kubectl: Kubectl) -> None:
    kubectl.apply(GOOD)
    patch = json.dumps({"status": STATUS, "spec": {"suspend": True}})
    kubectl("patch", "bj", "nightly", "--subresource=status", "--type=merge", "-p", patch)
    job = kubectl.json("get", "bj", "nightly")
    assert (job["status"], job["spec"]["suspend"]) == (STATUS, False)
    kubectl("patch", "bj", "nightly", "--type=merge", "-p", '{"status": {"observedGeneration": 7}}')
    assert kubectl.json("get", "bj", "nightly")["status"] == STATUS
    wrong = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "Maybe"}]}})
    said = kubectl.refused(
        "patch", "bj", "nightly", "--subresource=status", "--type=merge", "-p", wrong
    )
    assert 'status.conditions[0].status: Unsupported value: "Maybe"' in said


def test_lists_merge_by_their_names(kubectl: Kubectl) -> None:
    """So that two managers, or a patch of kustomize, may each have a schedule of their own."""
    kubectl.apply(GOOD, "--server-side", "--field-manager=git")
    more = GOOD.partition("---")[0].replace(
        'schedules: [{name: night, cron: "0 2 * * *"}]',
        "schedules: [{name: week, cron: '@weekly'}]",
    )
    kubectl.apply(more, "--server-side", "--field-manager=somebody")
    schedules = kubectl.json("get", "bj", "nightly")["spec"]["schedules"]
    assert [one["name"] for one in schedules] == ["night", "week"]


def headings(listed: str) -> str:
    return " ".join(listed.splitlines()[0].split())
