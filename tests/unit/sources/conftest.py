"""Manifests with a number in them, so that versions of a directory can be told apart."""

from collections.abc import Callable
from pathlib import Path

import pytest

REMOTE = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRemote
metadata: {{name: {name}}}
spec: {{local: {{path: /srv/{name}}}, limits: {{maxConcurrentActions: {version}}}}}
"""


@pytest.fixture
def manifest() -> Callable[[str, int], str]:
    """Return a BackupRemote whose `actions_max` is the version."""
    return lambda name, version: REMOTE.format(name=name, version=version)


@pytest.fixture
def write(manifest: Callable[[str, int], str]) -> Callable[[Path, int], None]:
    """Write a manifest that is called like its file."""

    def write_to(path: Path, version: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(manifest(path.stem, version))

    return write_to
