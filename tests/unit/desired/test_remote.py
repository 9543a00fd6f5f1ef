from collections.abc import Callable

import pytest

from reconciler.desired.document import Document, Identity
from reconciler.desired.manifest import read_manifest
from reconciler.desired.remote import RemoteSpec
from reconciler.desired.state import DiskLayout, LocalPlace, Remote, SecretRef
from reconciler.ids import RemoteName

Parse = Callable[[str], Document]

REMOTE = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRemote
metadata: {{name: cellar}}
spec: {{{}}}
"""


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("local: {path: /srv/b}", Remote(RemoteName("cellar"), LocalPlace("/srv/b"))),
        ("local: {path: /srv/b/}", Remote(RemoteName("cellar"), LocalPlace("/srv/b"))),
        (
            "local: {path: /srv/b}, accessMode: ReadOnly, suspend: true,"
            " limits: {maxConcurrentActions: 3}",
            Remote(
                RemoteName("cellar"),
                LocalPlace("/srv/b"),
                read_only=True,
                suspend=True,
                actions_max=3,
            ),
        ),
        (
            "local: {path: /srv/b}, limits: {maxRate: 100Mi}, encryption: {keyFrom: {env: KEY}},"
            " identity: 5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11",
            Remote(
                RemoteName("cellar"),
                LocalPlace("/srv/b"),
                layout=DiskLayout.BLOCKS,
                encryption=SecretRef(env="KEY"),
                identity="5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11",
                rate_bytes_per_s=100 * 1024**2,
            ),
        ),
    ],
)
def test_what_is_meant(document: Parse, text: str, remote: Remote) -> None:
    spec = read_manifest(document(REMOTE.format(text))).spec
    assert isinstance(spec, RemoteSpec)
    assert spec.remote(Identity("BackupRemote", "default", "cellar")) == remote


@pytest.mark.parametrize(
    "path", ["srv", "./srv", "/", "//srv", "/srv//b", "/srv/../etc", "/srv/./b", "~/b"]
)
def test_a_path_is_absolute_and_plain(document: Parse, path: str) -> None:
    problems = read_manifest(document(REMOTE.format(f"local: {{path: {path}}}"))).problems
    assert any("spec.local.path must be" in one.message for one in problems)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("path: /srv/b", '"local.path"'),
        ("local: {path: /a}, accessMode: readOnly", '"ReadOnly"'),
        ("local: {path: /a}, limits: {concurrency: 2}", '"maxConcurrentActions"'),
    ],
)
def test_mistakes_come_with_a_way_out(document: Parse, text: str, hint: str) -> None:
    problems = read_manifest(document(REMOTE.format(text))).problems
    assert any(hint in one.hint for one in problems)
