"""Objects as the API server gives them."""

from collections.abc import Callable
from typing import Any

import pytest

from reconciler.kube.objects import Raw

Make = Callable[..., Raw]

SPECS: dict[str, dict[str, Any]] = {
    "XenPool": {"urls": ["https://xcp1.example.net"], "passwordFrom": {"env": "PASSWORD"}},
    "BackupRemote": {"local": {"path": "/srv/backups"}},
    "BackupJob": {
        "poolRefs": [{"name": "lab"}],
        "selector": {"matchTags": ["prod"]},
        "targets": [{"remoteRef": {"name": "cellar"}}],
        "schedules": [{"name": "night", "cron": "0 2 * * *"}],
    },
}


@pytest.fixture
def make_object() -> Make:
    """Make an object: kind, name and resource version; more as keywords."""

    def make(kind: str, name: str, version: int = 1, **more: Any) -> Raw:
        metadata = {
            "name": name,
            "namespace": more.pop("namespace", "default"),
            "uid": more.pop("uid", "6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31"),
            "resourceVersion": str(version),
            "generation": more.pop("generation", 1),
            "creationTimestamp": "2026-01-05T02:00:00Z",
            **more.pop("metadata", {}),
        }
        return {
            "apiVersion": "backup.reconciler.io/v1alpha1",
            "kind": kind,
            "metadata": metadata,
            "spec": {**SPECS[kind], **more.pop("spec", {})},
            **more,
        }

    return make
