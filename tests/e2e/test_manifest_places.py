"""From the text of a manifest to bytes in a bucket of a server that checks signatures."""

import os
from pathlib import Path

import pytest
from s3_servers import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, rclone_server

from reconciler.cli.loading import reveal
from reconciler.connections import Connections
from reconciler.ids import RemoteName
from reconciler.latest import Latest
from reconciler.remotes.errors import RemoteError
from reconciler.sources.files import ManifestFiles

TEXT = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRemote
metadata: {{name: cloud, namespace: {namespace}}}
spec:
  s3:
    endpoint: {endpoint}
    bucket: {bucket}
    prefix: {prefix}
    accessKeyFrom: {{file: {secrets}/access}}
    secretKeyFrom: {{file: {secrets}/secret}}
  limits: {{maxRate: 100Mi}}
"""
ENCRYPTED = "  encryption: {{keyFrom: {{file: {secrets}/key}}}}\n"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    area = tmp_path / "secrets"
    area.mkdir()
    contents = {"access": ACCESS_KEY, "secret": SECRET_KEY, "key": "0123456789abcdef" * 2}
    for name, content in contents.items():
        (area / name).write_text(f"{content}\n")
    return area


def connected(server: S3Server, secrets: Path, directory: Path, **options: bool) -> Connections:
    directory.mkdir(exist_ok=True)
    for namespace, more in (("default", ""), ("sealed", ENCRYPTED)):
        text = (TEXT + more).format(
            namespace=namespace,
            endpoint=server.endpoint,
            bucket=BUCKET,
            prefix=f"xen/{namespace}",
            secrets=secrets,
        )
        (directory / f"{namespace}.yaml").write_text(text)
    desired = ManifestFiles([str(directory)]).read()
    assert desired.problems == desired.warnings == ()
    return Connections(Latest(desired), reveal, **options)


async def test_what_manifests_describe_is_opened_and_written(tmp_path: Path, secrets: Path) -> None:
    with rclone_server(tmp_path) as server:
        connections = connected(server, secrets, tmp_path / "manifests")
        for name in ("cloud", "sealed/cloud"):
            remote = await connections.remote(RemoteName(name))
            assert await connections.remote(RemoteName(name)) is remote
            await remote.put("note", b"plain words")
            assert await remote.get("note", 100) == b"plain words"
            assert remote.identity is not None
        await connections.close()
        root = tmp_path / "rclone" / BUCKET / "xen"
        assert (root / "default" / "note").read_bytes() == b"plain words"
        assert b"plain words" not in (root / "sealed" / "note").read_bytes()


async def test_looking_writes_no_object(tmp_path: Path, secrets: Path) -> None:
    with rclone_server(tmp_path) as server:
        connections = connected(server, secrets, tmp_path / "manifests", read_only=True)
        remote = await connections.remote(RemoteName("cloud"))
        assert await remote.list("") == []
        await connections.close()
        assert os.listdir(tmp_path / "rclone" / BUCKET) == []


async def test_keys_that_the_server_does_not_know_open_nothing(
    tmp_path: Path, secrets: Path
) -> None:
    (secrets / "secret").write_text("another-secret-key")
    with rclone_server(tmp_path) as server:
        connections = connected(server, secrets, tmp_path / "manifests")
        with pytest.raises(RemoteError) as caught:
            await connections.remote(RemoteName("cloud"))
        assert "another-secret-key" not in str(caught.value)
        await connections.close()
