"""What may stand in a mount or in a URL, and what looks like it and is something else."""

from collections.abc import Callable

import pytest

from reconciler.desired.document import Document, Identity
from reconciler.desired.manifest import read_manifest
from reconciler.desired.remote import RemoteSpec
from reconciler.desired.state import (
    DiskLayout,
    LocalPlace,
    MountedBy,
    NfsPlace,
    Place,
    S3Place,
    SecretRef,
    SmbPlace,
)

Parse = Callable[[str], Document]

TEXT = """
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRemote
metadata: {{name: cellar}}
spec: {{{}}}
"""
KEYS = "accessKeyFrom: {env: ACCESS}, secretKeyFrom: {file: /run/secret}"
LOGIN = "username: backup, passwordFrom: {env: PASSWORD}"


def said(document: Document) -> list[str]:
    return [f"{one.message} | {one.hint}" for one in read_manifest(document).problems]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("local: {path: /srv/b, mountPoint: true}", LocalPlace("/srv/b", mount_point=True)),
        (
            "nfs: {server: nas.example.net, export: /srv/b/, path: /mnt/b}",
            NfsPlace("nas.example.net", "/srv/b", "/mnt/b"),
        ),
        (
            'nfs: {server: "[2001:db8::0005]", export: /, mounted: Operator,'
            " options: [vers=4.2, hard, sec=krb5p]}",
            NfsPlace(
                server="2001:db8::5",
                export="/",
                mounted_by=MountedBy.OPERATOR,
                options=("vers=4.2", "hard", "sec=krb5p"),
            ),
        ),
        (
            "smb: {server: 192.0.2.7, share: backup$, directory: /xen/paris/, mounted: Operator,"
            f" {LOGIN}, domain: EXAMPLE, options: [seal]}}",
            SmbPlace(
                server="192.0.2.7",
                share="backup$",
                directory="xen/paris",
                mounted_by=MountedBy.OPERATOR,
                username="backup",
                domain="EXAMPLE",
                password=SecretRef(env="PASSWORD"),
                options=("seal",),
            ),
        ),
        (
            "smb: {server: nas, share: b, path: /mnt/b}",
            SmbPlace(server="nas", share="b", path="/mnt/b"),
        ),
        (
            f"s3: {{endpoint: https://s3.example.net:9000/, bucket: xen.b, prefix: /dc1/x/, {KEYS},"
            " region: eu-west-3, caFile: /etc/ca.pem}",
            S3Place(
                endpoint="https://s3.example.net:9000",
                bucket="xen.b",
                access_key=SecretRef(env="ACCESS"),
                secret_key=SecretRef(file="/run/secret"),
                prefix="dc1/x",
                region="eu-west-3",
                ca="/etc/ca.pem",
            ),
        ),
        (
            f"s3: {{endpoint: http://nas:9000, bucket: xen, {KEYS}, insecure: true,"
            " virtualHostStyle: true}",
            S3Place(
                endpoint="http://nas:9000",
                bucket="xen",
                access_key=SecretRef(env="ACCESS"),
                secret_key=SecretRef(file="/run/secret"),
                virtual_host=True,
            ),
        ),
    ],
)
def test_what_is_meant(document: Parse, text: str, place: Place) -> None:
    manifest = read_manifest(document(TEXT.format(text)))
    assert manifest.problems == ()
    assert isinstance(manifest.spec, RemoteSpec)
    assert manifest.spec.remote(Identity("BackupRemote", "default", "cellar")).place == place


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("local: {path: /a}", DiskLayout.FILES),
        ("local: {path: /a}, layout: Blocks", DiskLayout.BLOCKS),
        ("local: {path: /a}, encryption: {keyFrom: {env: KEY}}", DiskLayout.BLOCKS),
        (f"s3: {{endpoint: http://127.0.0.1:1, bucket: xen, {KEYS}}}", DiskLayout.BLOCKS),
        (
            f"s3: {{endpoint: http://localhost, bucket: xen, {KEYS}}}, layout: Blocks",
            DiskLayout.BLOCKS,
        ),
    ],
)
def test_the_layout_follows_the_place(document: Parse, text: str, layout: DiskLayout) -> None:
    spec = read_manifest(document(TEXT.format(text))).spec
    assert isinstance(spec, RemoteSpec)
    assert spec.remote(Identity("BackupRemote", "default", "cellar")).layout is layout


@pytest.mark.parametrize(
    "server",
    ["", "-o", "a,b", "a b", "a/b", "a:b", "nas:/x", "[nas]", "a..b", "a@b", "nas\\n", "é", "a;b"],
)
def test_no_server_name_holds_more_than_a_name(document: Parse, server: str) -> None:
    for text in (
        f'nfs: {{server: "{server}", export: /b, path: /mnt/b}}',
        f'smb: {{server: "{server}", share: b, path: /mnt/b}}',
    ):
        assert any(".server" in one for one in said(document(TEXT.format(text)))), server


@pytest.mark.parametrize(
    "option",
    [
        *("", "-o", "vers=3,suid", "a b", "vers=", "=x", "vers=3\\nx", "a='b'", "user=root"),
        *("ro", "password=x", "credentials=/etc/shadow", "addr=192.0.2.1", "remount", "suid"),
    ],
)
def test_no_option_is_more_than_one_or_another_than_it_seems(document: Parse, option: str) -> None:
    text = f'nfs: {{server: nas, export: /b, mounted: Operator, options: ["{option}"]}}'
    assert any("spec.nfs.options[0] must be" in one for one in said(document(TEXT.format(text))))


@pytest.mark.parametrize(
    "export", ["b", "", "/a,b", "/a/../b", "/a//b", "/a\\nb", "/a:b", "/$(x)", "/a;b", "//a"]
)
def test_an_export_is_a_path(document: Parse, export: str) -> None:
    text = f'nfs: {{server: nas, export: "{export}", path: /mnt/b}}'
    assert any("spec.nfs.export must be" in one for one in said(document(TEXT.format(text))))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("share", value) for value in ("a/b", "a\\\\b", "..", "a,b", " a", "a%b", "a:b")),
        *(("directory", value) for value in ("../b", "a//b", "a\\\\b", "a,b", "a\\nb", "./a")),
        *(("username", value) for value in ("a,b", "EX\\\\a", "a\\nb", "a/b", "a%b")),
        *(("domain", value) for value in ("a b", "a,b", "-a", "a\\nb")),
    ],
)
def test_no_part_of_a_share_leads_elsewhere(document: Parse, field: str, value: str) -> None:
    fields = {"server": "nas", "share": "b", "username": "me", field: value}
    inner = ", ".join(f'{name}: "{text}"' for name, text in fields.items())
    text = f"smb: {{{inner}, mounted: Operator, passwordFrom: {{env: PASSWORD}}}}"
    assert any(f"spec.smb.{field} must be" in one for one in said(document(TEXT.format(text))))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("bucket", value) for value in ("ab", "Xen", "a_b", "a/b", "-ab", "a..b", "192.0.2.1")),
        *(("prefix", value) for value in ("a/../b", "a//b", "a b", "é", "/", "a\\nb", "./a")),
        *(("region", value) for value in ("a b", "-a", "a/b")),
        *(("endpoint", value) for value in ("s3.example.net", "https://a:b@c", "ftp://a")),
        *(("endpoint", value) for value in ("https://a/b", "https://a?b", "https://a:0")),
    ],
)
def test_no_part_of_a_bucket_leads_elsewhere(document: Parse, field: str, value: str) -> None:
    fields = {"endpoint": "https://s3.example.net", "bucket": "xen", field: value}
    inner = ", ".join(f'{name}: "{text}"' for name, text in fields.items())
    problems = said(document(TEXT.format(f"s3: {{{inner}, {KEYS}}}")))
    assert any(f"spec.s3.{field} must" in one for one in problems)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("accessMode: ReadOnly", "spec has no place | give one of local, nfs, smb and s3"),
        ("local: {path: /a}, nfs: {server: n, export: /a, path: /b}", "there are local and nfs"),
        ("nfs: {server: n, export: /a}", "has no path | say where the system mounts it"),
        ("nfs: {server: n, export: /a, path: /b, mounted: Operator}", "the operator chooses"),
        ("nfs: {server: n, export: /a, path: /b, options: [hard]}", "for mounted: Operator"),
        ("nfs: {server: n, share: /a, path: /b}", 'it is called "export" here'),
        ("nfs: {server: n, export: /a, vers: 4}", "write options: [vers=…]"),
        (f"smb: {{server: n, share: a, path: /b, {LOGIN}}}", "the system logs in"),
        ("smb: {server: n, share: a, mounted: Operator, username: me}", "or neither"),
        ("smb: {server: n, share: a, mounted: Operator, domain: X}", "but no username"),
        ("cifs: {server: n}", 'it is called "smb" here'),
        (f"s3: {{endpoint: http://s3.example.net, bucket: xen, {KEYS}}}", "insecure: true"),
        (f"s3: {{endpoint: https://a, bucket: xen, {KEYS}, insecure: true}}", "give caFile"),
        (f"s3: {{endpoint: http://127.0.0.1, bucket: xen, {KEYS}, caFile: /ca}}", "has caFile"),
        (f"s3: {{endpoint: https://a, bucket: x.y, {KEYS}, virtualHostStyle: true}}", "dots"),
        (f"s3: {{endpoint: https://a, bucket: xen, {KEYS}}}, layout: Files", "leave layout out"),
        ("local: {path: /a}, encryption: {keyFrom: {env: K}}, layout: Files", "encrypted whole"),
        ("local: {path: /a}, encryption: {secretRef: {name: x}}", '"keyFrom" here'),
        ("local: {path: /a}, identity: mine", "must be a uuid"),
        ("local: {path: /a}, limits: {maxRate: 5}", "with their unit, not 5"),
        ("azure: {}", "not supported yet | there are local, nfs, smb and s3"),
    ],
)
def test_mistakes_come_with_a_way_out(document: Parse, text: str, problem: str) -> None:
    problems = said(document(TEXT.format(text)))
    assert any(problem in one for one in problems), problems


@pytest.mark.parametrize(
    "text",
    [
        "local: {path: /a}, encryption: {key: hunter2}",
        "local: {path: /a}, encryption: {keyFrom: hunter2}",
        "local: {path: /a}, encryption: {encryptionKey: hunter2, kexFrom: {env: A}}",
        "local: {path: /a}, key: hunter2",
        "s3: {endpoint: https://a, bucket: xen, secretKey: hunter2}",
        "s3: {endpoint: https://a, bucket: xen, accessKeyFrom: hunter2}",
        "s3: {endpoint: https://a, bucket: xen, secretAccessKey: hunter2, regoin: x}",
        "smb: {server: n, share: a, mounted: Operator, username: me, password: hunter2}",
    ],
)
def test_no_key_is_shown(document: Parse, text: str) -> None:
    problems = read_manifest(document(TEXT.format(text))).problems
    assert problems
    assert "hunter2" not in repr(problems)
