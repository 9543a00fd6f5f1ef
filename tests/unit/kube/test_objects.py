"""Which part of an object its author said."""

from reconciler.desired.document import Identity
from reconciler.desired.manifest import read_manifest
from reconciler.kube.objects import (
    digest_of,
    document_of,
    identity_of,
    is_leaving,
    is_recorded,
    manifest_of,
)


def test_what_the_server_and_others_add_is_left_out(make_object) -> None:
    raw = make_object(
        "BackupRemote",
        "cellar",
        version=7,
        metadata={
            "managedFields": [{"manager": "kubectl"}],
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
                "backup.reconciler.io/reconcile": "1",
            },
        },
        status={"free": "1Gi"},
    )
    assert manifest_of(raw) == {
        "apiVersion": "backup.reconciler.io/v1alpha1",
        "kind": "BackupRemote",
        "metadata": {
            "name": "cellar",
            "namespace": "default",
            "annotations": {"backup.reconciler.io/reconcile": "1"},
        },
        "spec": {"local": {"path": "/srv/backups"}},
    }


def test_a_status_makes_no_other_document_and_a_spec_does(make_object) -> None:
    first = make_object("BackupRemote", "cellar", version=1)
    again = make_object("BackupRemote", "cellar", version=2, status={"free": "1Gi"})
    other = make_object("BackupRemote", "cellar", version=3, spec={"suspend": True})
    anew = make_object("BackupRemote", "cellar", version=4, uid="another")
    assert digest_of(first) == digest_of(again)
    assert len({digest_of(first), digest_of(other), digest_of(anew)}) == 3


def test_a_document_reads_as_one_of_a_file_does(make_object) -> None:
    raw = make_object("BackupJob", "nightly", namespace="shop")
    manifest = read_manifest(document_of(raw, "BackupJob/shop/nightly"))
    assert manifest.problems == ()
    assert manifest.identity == identity_of(raw) == Identity("BackupJob", "shop", "nightly")


def test_a_problem_names_the_object(make_object) -> None:
    raw = make_object("BackupJob", "nightly", spec={"selector": {"matchTags": "prod"}})
    (problem,) = read_manifest(document_of(raw, "BackupJob/nightly")).problems
    assert (problem.path, problem.line) == ("BackupJob/nightly", 0)
    assert problem.object == "BackupJob/nightly"
    assert "spec.selector.matchTags" in problem.message


def test_a_deleted_object_is_leaving(make_object) -> None:
    raw = make_object("BackupRemote", "cellar")
    assert not is_leaving(raw)
    raw["metadata"]["deletionTimestamp"] = "2026-01-05T02:00:00Z"
    assert is_leaving(raw)


def test_a_run_is_told_by_its_records_once_it_has_a_state() -> None:
    asked = {"kind": "BackupRun", "status": {"conditions": []}}
    assert not is_recorded(asked)
    assert not is_recorded({"kind": "BackupRun"})
    assert is_recorded({**asked, "status": {"state": "Running"}})
    assert not is_recorded({"kind": "BackupJob", "status": {"state": "Running"}})
