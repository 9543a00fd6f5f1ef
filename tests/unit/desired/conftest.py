"""Manifests as text, resolved: what an author writes and what comes of it."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import pytest

from reconciler.desired.document import Document, Identity
from reconciler.desired.resolve import Good, Resolution, resolve
from reconciler.sources.documents import parse_file

Resolve: TypeAlias = Callable[..., Resolution]

POOL = """
apiVersion: backup.reconciler.io/v1alpha1
kind: XenPool
metadata: {name: lab}
spec: {urls: [https://xcp1.example.net], passwordFrom: {env: XCP_PASSWORD}}
"""
REMOTE = """
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRemote
metadata: {name: cellar}
spec: {local: {path: /srv/backups}}
"""
JOB = """
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata: {name: nightly}
spec:
  poolRefs: [{name: lab}]
  selector: {all: true}
  targets: [{remoteRef: {name: cellar}}]
  schedules: [{name: night, cron: "0 2 * * *"}]
  retention: {last: 7}
"""


@pytest.fixture
def pool() -> str:
    return POOL


@pytest.fixture
def remote() -> str:
    return REMOTE


@pytest.fixture
def job() -> str:
    return JOB


@pytest.fixture
def resolved() -> Resolve:
    """Resolve files given as keyword arguments: name → text."""

    def resolve_texts(before: Mapping[Identity, Good] | None = None, **texts: str) -> Resolution:
        files = [parse_file(f"{name}.yaml", text.encode()) for name, text in texts.items()]
        return resolve(files, before)

    return resolve_texts


@pytest.fixture
def document() -> Callable[[str], Document]:
    """Parse a text that is one document."""

    def parse(text: str) -> Document:
        (parsed,) = parse_file("test.yaml", text.encode()).documents
        return parsed

    return parse
