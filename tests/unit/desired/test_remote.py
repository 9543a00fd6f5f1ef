from collections.abc import Callable

import pytest

from reconciler.desired.document import Document
from reconciler.desired.manifest import read_manifest
from reconciler.desired.remote import RemoteSpec
from reconciler.desired.state import LocalPlace, Remote
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
    ],
)
def test_what_is_meant(document: Parse, text: str, remote: Remote) -> None:
    spec = read_manifest(document(REMOTE.format(text))).spec
    assert isinstance(spec, RemoteSpec)
    assert spec.remote("cellar") == remote


@pytest.mark.parametrize(
    "path", ["srv", "./srv", "/", "//srv", "/srv//b", "/srv/../etc", "/srv/./b", "~/b"]
)
def test_a_path_is_absolute_and_plain(document: Parse, path: str) -> None:
    problems = read_manifest(document(REMOTE.format(f"local: {{path: {path}}}"))).problems
    assert any("spec.local.path must be" in one.message for one in problems)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nfs: {server: x, path: /y}", "mount the share"),
        ("s3: {bucket: x}", "local.path"),
        ("path: /srv/b", '"local.path"'),
        ("local: {path: /a}, encryption: {secretRef: {name: x}}", "unencrypted"),
        ("local: {path: /a}, accessMode: readOnly", '"ReadOnly"'),
        ("local: {path: /a}, limits: {concurrency: 2}", '"maxConcurrentActions"'),
    ],
)
def test_mistakes_come_with_a_way_out(document: Parse, text: str, hint: str) -> None:
    problems = read_manifest(document(REMOTE.format(text))).problems
    assert any(hint in one.hint for one in problems)
