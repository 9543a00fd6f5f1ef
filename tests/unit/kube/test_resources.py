"""Paths of the API."""

from reconciler.kube.resources import SECRETS, resource_of


def test_paths() -> None:
    jobs = resource_of("BackupJob")
    base = "/apis/backup.reconciler.io/v1alpha1"
    assert jobs.path() == f"{base}/backupjobs"
    assert jobs.path("shop") == f"{base}/namespaces/shop/backupjobs"
    assert jobs.path("shop", "a", "status") == f"{base}/namespaces/shop/backupjobs/a/status"
    assert SECRETS.path("shop", "a") == "/api/v1/namespaces/shop/secrets/a"
    assert (jobs.api_version, SECRETS.api_version) == ("backup.reconciler.io/v1alpha1", "v1")
