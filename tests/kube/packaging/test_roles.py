"""Each role that is shipped: what it may and may not, by the API server's own judgement."""

import json
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest
from clusters import PATIENCE_S, Cluster, Kubectl, Namespace
from rendering import NAMESPACE

GROUP = "backup.reconciler.io"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:reconciler"
GROUPS = {"secrets": "", "pods": "", "leases": "coordination.k8s.io", "jobs": "batch"}

Right = tuple[str, str]
"""A verb and a resource, such as ("patch", "backupjobs/status")."""

EVERYBODY = {"view", "edit", "admin"} | {
    f"reconciler-{one}" for one in ("view", "edit", "restore", "admin")
}
EDITORS = {"edit", "admin", "reconciler-edit", "reconciler-admin"}
RESTORERS = {"admin", "reconciler-restore", "reconciler-admin"}
ADMINS = {"admin", "reconciler-admin"}

WHO_MAY: dict[Right, Collection[str]] = {
    ("get", "xenpools"): EVERYBODY,
    ("list", "backupjobs"): EVERYBODY,
    ("watch", "protectedvms"): EVERYBODY,
    ("get", "restores"): EVERYBODY,
    ("create", "xenpools"): EDITORS,
    ("patch", "backupremotes"): EDITORS,
    ("update", "backupjobs"): EDITORS,
    ("delete", "backupjobs"): EDITORS,
    ("create", "backupruns"): EDITORS,
    ("create", "restores"): RESTORERS,
    ("patch", "restores"): RESTORERS,
    ("delete", "restores"): RESTORERS,
    ("approve", "backupjobs"): ADMINS,
    ("patch", "backupjobs/status"): (),
    ("update", "restores/status"): (),
    ("create", "protectedvms"): (),
    ("delete", "protectedvms"): (),
    ("get", "secrets"): {"edit", "admin"},  # as Kubernetes has it, not because of us
}

JOB = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata: {name: nightly}
spec:
  poolRefs: [{name: lab}]
  selector: {matchTags: [prod]}
  targets: [{remoteRef: {name: cellar}}]
  schedules: [{name: night, cron: "0 2 * * *"}]
"""
APPROVE = f"{GROUP}/approve-plan"


def judged(
    cluster: Cluster, user: str, namespace: str, rights: Sequence[Right]
) -> dict[Right, bool]:
    """Ask the API server what a user may, all in one call of kubectl."""
    reviews = []
    for verb, named in rights:
        resource, _, subresource = named.partition("/")
        asked = {
            "group": GROUPS.get(resource, GROUP),
            "verb": verb,
            "resource": resource,
            "subresource": subresource,
            "namespace": namespace,
        }
        reviews.append(
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {"user": user, "resourceAttributes": asked},
            }
        )
    asked_of = {"apiVersion": "v1", "kind": "List", "items": reviews}
    answer = cluster.kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(asked_of))
    decoder, text, found = json.JSONDecoder(), answer.strip(), []
    while text:
        one, end = decoder.raw_decode(text)
        found.extend(one["items"] if one["kind"] == "List" else [one])
        text = text[end:].strip()
    assert len(found) == len(rights)
    return {right: one["status"]["allowed"] for right, one in zip(rights, found, strict=True)}


def says(kubectl: Kubectl, *words: str) -> str:
    """What kubectl says, whether it succeeds or not."""
    try:
        return kubectl(*words)
    except AssertionError as error:
        return str(error)


def wait_until(condition: str, holds: Callable[[], bool]) -> None:
    """The API server learns of roles and policies a moment after they are made."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)


@pytest.mark.parametrize("role", sorted(EVERYBODY))
def test_a_role_may_what_it_says_and_nothing_else(
    role: str, cluster: Cluster, namespace: Namespace, installed: Path
) -> None:
    user = f"{role}-of-{namespace.name}"
    namespace.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={user}")
    rights = list(WHO_MAY)

    wait_until(
        f"{role} is known",
        lambda: judged(cluster, user, namespace.name, rights)[("list", "backupjobs")],
    )
    may = judged(cluster, user, namespace.name, rights)
    assert {right for right in rights if may[right]} == {
        right for right in rights if role in WHO_MAY[right]
    }
    assert not any(judged(cluster, user, NAMESPACE, rights).values())


def test_the_operator_reads_what_people_write_and_writes_what_it_says_about_it(
    cluster: Cluster, namespace: Namespace, installed: Path
) -> None:
    kinds = ("xenpools", "backupremotes", "backupjobs", "restores", "backupruns", "protectedvms")
    peoples = ("xenpools", "backupremotes", "backupjobs", "restores")
    may = [
        *((verb, kind) for verb in ("get", "list") for kind in kinds),
        *(("watch", kind) for kind in kinds if kind != "protectedvms"),
        *(("patch", f"{kind}/status") for kind in kinds),
        *((verb, kind) for verb in ("create", "delete") for kind in ("backupruns", "protectedvms")),
        ("get", "secrets"),
    ]
    may_not = [
        *((verb, kind) for verb in ("create", "update", "patch", "delete") for kind in peoples),
        *((verb, "secrets") for verb in ("list", "watch", "create", "update", "patch", "delete")),
        *((verb, "leases") for verb in ("get", "create", "patch")),
        *((verb, "jobs") for verb in ("get", "create", "delete")),
        ("get", "pods"),
        ("approve", "backupjobs"),
        ("watch", "protectedvms"),
    ]
    answers = judged(cluster, OPERATOR, namespace.name, [*may, *may_not])
    assert {right for right, allowed in answers.items() if allowed} == set(may)
    everywhere = judged(cluster, OPERATOR, "", [("list", kind) for kind in kinds])
    assert all(everywhere.values())
    at_home = judged(
        cluster, OPERATOR, NAMESPACE, [(verb, "leases") for verb in ("get", "create", "patch")]
    )
    assert all(at_home.values())


def test_to_approve_takes_a_right_that_editors_lack(
    cluster: Cluster, namespace: Namespace, installed: Path
) -> None:
    kubectl = namespace.kubectl
    for role in ("edit", "admin"):
        kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}-here")
    editor, admin = "--as=edit-here", "--as=admin-here"
    approve = ("annotate", "backupjob", "nightly", "--overwrite", f"{APPROVE}=0123abcd")
    kubectl.apply(JOB)
    wait_until(
        "the admin is known as one",
        lambda: judged(cluster, "admin-here", namespace.name, [APPROVING])[APPROVING],
    )
    wait_until(
        "editors are known, and the policy is in force",
        lambda: "verb approve" in says(kubectl, *approve, editor, "--dry-run=server"),
    )
    patch = ("patch", "backupjob", "nightly", "--type=merge", "--patch")
    assert "spec.pruneGuard" in kubectl.refused(*patch, guard(maxPercent=90), editor)
    assert "spec.pruneGuard" in kubectl.refused(*patch, guard(maxPoints=51), editor)
    kubectl(*patch, guard(minGoodPoints=3), editor)
    assert "spec.pruneGuard" in kubectl.refused(*patch, guard(minGoodPoints=2), editor)
    kubectl("annotate", "backupjob", "nightly", f"{GROUP}/run-at=2026-01-01T00:00:00Z", editor)
    looser = JOB.replace("nightly", "another") + "  pruneGuard: {maxPercent: 100}\n"
    assert "spec.pruneGuard" in kubectl.refused("create", "-f", "-", editor, stdin=looser)

    kubectl(*approve, admin)
    kubectl(*patch, guard(maxPercent=90), admin)
    # What somebody else approved is no reason to refuse what an editor may change.
    kubectl(*patch, '{"spec": {"suspend": true}}', editor)
    kubectl("annotate", "backupjob", "nightly", f"{APPROVE}-", editor)


APPROVING = ("approve", "backupjobs")


def guard(**limits: int) -> str:
    return json.dumps({"spec": {"pruneGuard": limits}})
