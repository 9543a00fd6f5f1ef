"""What a cluster refuses, and what it says: which field is wrong, and what would be right.

As `kubectl apply` meets it: the schema, its rules, and strict validation of fields.
"""

from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest
from clusters import Namespace
from ruamel.yaml import YAML

from reconciler.desired.envelope import API_VERSION
from reconciler.kube.resources import resource_of

UUID = "6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31"
POOL = "urls: [https://xcp1.example.net], passwordFrom: {env: XCP}"
SMB = "server: nas, share: backups"
S3 = "bucket: backups, accessKeyFrom: {env: A}, secretKeyFrom: {env: S}"
JOB = (
    "poolRefs: [{name: lab}], selector: {matchTags: [prod]}, targets: [{remoteRef: {name: nas}}],"
    ' schedules: [{name: night, cron: "0 2 * * *"}]'
)
RESTORE = "source: {vm: {name: web}}, target: {poolRef: {name: lab}}"


@dataclass(frozen=True)
class Wrong:
    """spec: of an object with a mistake. said: what the server must say of it."""

    kind: str
    spec: str
    said: tuple[str, ...]


def job(instead: str, *said: str) -> Wrong:
    """A good job, but for these fields."""
    return Wrong("BackupJob", replaced(JOB, instead), said)


def replaced(spec: str, instead: str) -> str:
    given = YAML(typ="safe").load(f"{{{instead}}}")
    kept = YAML(typ="safe").load(f"{{{spec}}}")
    return str({**kept, **given})[1:-1].replace("True", "true").replace("False", "false")


def schedule(fields: str, *said: str) -> Wrong:
    return job(f"schedules: [{{name: night, {fields}}}]", *said)


def of(kind: str) -> Callable[..., Wrong]:
    """Say of a kind what is wrong with a spec, and what the server must say of it."""
    return lambda spec, *said: Wrong(kind, spec, said)


pool = of("XenPool")
remote = of("BackupRemote")
restore = of("Restore")
run = of("BackupRun")

TABLE = [
    # ── pools ──
    pool("passwordFrom: {env: XCP}", "spec.urls", "Required value"),
    pool("urls: [], passwordFrom: {env: XCP}", "spec.urls", "at least 1 items"),
    pool(
        "urls: [xcp1], passwordFrom: {env: XCP}",
        "spec.urls[0]",
        "must be the address of a host; for example https://xcp1.example.net",
    ),
    pool(
        "urls: ['http://xcp1.example.net'], passwordFrom: {env: XCP}",
        "spec.urls[0]",
        "must begin with https://; the password would travel in clear",
    ),
    pool(
        "urls: ['https://root:pw@xcp1'], passwordFrom: {env: XCP}",
        "spec.urls[0]",
        "must be without user and password",
    ),
    pool(
        "urls: ['https://xcp1:65536'], passwordFrom: {env: XCP}",
        "spec.urls[0]",
        "must have a port between 1 and 65535",
    ),
    pool(
        "urls: [https://xcp1], passwordFrom: {env: XCP, file: /run/secrets/xcp}",
        "spec.passwordFrom",
        "exactly one of env, file and secretRef",
    ),
    pool(
        "urls: [https://xcp1], passwordFrom: {secretRef: {name: xcp}}",
        "spec.passwordFrom.secretRef.key",
        "Required value",
    ),
    pool(
        "urls: [https://xcp1], passwordFrom: {file: secrets/xcp}",
        "spec.passwordFrom.file",
        "must be an absolute path; for example /srv/backups",
    ),
    pool(f"{POOL}, password: hunter2", 'unknown field "spec.password"'),
    pool(
        f"{POOL}, maxConcurrentExports: 0",
        "spec.maxConcurrentExports",
        "greater than or equal to 1",
    ),
    pool(f"{POOL}, maxRate: fast", "spec.maxRate", "for example 100Mi"),
    pool(f"{POOL}, maxRate: 63Ki", "spec.maxRate", "must be at least 64Ki"),
    pool(f"{POOL}, tls: {{fingerprint: abc}}", "fingerprint", "64 hexadecimal"),
    # ── remotes ──
    remote("{}", "spec", "exactly one of local, nfs, smb and s3"),
    remote("local: {path: /srv/../etc}", "spec.local.path", "must be a path without . and .."),
    remote(
        "local: {path: /srv}, accessMode: readonly", "spec.accessMode", '"ReadWrite", "ReadOnly"'
    ),
    remote(
        "nfs: {server: nas, export: /srv}",
        "spec.nfs",
        "say where the system mounts it, or mounted: Operator",
    ),
    remote(
        "nfs: {server: nas, export: /srv, mounted: Operator, options: ['vers=4.2,soft']}",
        "spec.nfs.options[0]",
        "each in an item of its own",
    ),
    remote(
        f"smb: {{{SMB}, mounted: Operator, options: [password=x]}}",
        "spec.smb.options[0]",
        "use passwordFrom",
    ),
    remote(
        f"smb: {{{SMB}, mounted: Operator, username: backup}}",
        "spec.smb",
        "both username and passwordFrom, or neither",
    ),
    remote(
        f"s3: {{{S3}, endpoint: 'http://s3.example.net'}}",
        "spec.s3",
        "must have an endpoint that begins with https://",
    ),
    remote(
        f"s3: {{{S3}, endpoint: 'https://s3.example.net', insecure: true}}",
        "spec.s3",
        "to trust an authority of your own, give caFile",
    ),
    remote(
        f"s3: {{{S3}, endpoint: 'https://s3.example.net'}}, layout: Files",
        "spec",
        "objects cannot be changed in place; leave layout out",
    ),
    # ── jobs ──
    job("targets: []", "spec", "name at least one, or for snapshots alone write mode: Snapshot"),
    job("mode: Snapshot", "spec.targets", "nothing leaves the pool; remove it"),
    job("mode: delta", "spec.mode", '"Incremental", "Full", "Snapshot"'),
    job("selector: {}", "spec.selector", "chooses no VM; give names, matchTags or uuids"),
    job("selector: {all: true, names: [a]}", "spec.selector", "keep one or the other"),
    job(f"selector: {{uuids: [{UUID.upper()}]}}", "spec.selector.uuids[0]", "in lower case"),
    job("selector: {all: true, pools: [labb]}", "spec.selector.pools", "not in spec.poolRefs"),
    job("poolRefs: [{name: lab}, {name: lab}]", "spec.poolRefs[1]", "Duplicate value"),
    job("targets: [{}]", "spec.targets[0]", "exactly one of remoteRef and srRef"),
    job(
        "targets: [{remoteRef: {name: nas}}, {name: b, remoteRef: {name: nas}}]",
        "spec.targets",
        "lists a remote twice; one target is enough",
    ),
    job(
        "targets: [{srRef: {uuid: " + UUID + "}}], poolRefs: [{name: a}, {name: b}]",
        "spec.targets",
        "add its poolRef, or give the name",
    ),
    schedule("cron: '0 2 * *'", "spec.schedules[0].cron", "must have five fields; for example"),
    schedule("cron: '61 2 * * *'", "spec.schedules[0].cron", "no minute that is right; 0 to 59"),
    schedule("cron: '0 2 * * *', timeZone: Europe/Pari", "schedules[0].timeZone", "Europe/Paris"),
    schedule("cron: '@daily', targets: [nass]", "spec.schedules", "a target is called by its name"),
    schedule("cron: '@daily', startingDeadline: 1 hour", "startingDeadline", "for example 30m"),
    schedule("cron: '@daily', retention: {}", "schedules[0].retention", "give one, or leave"),
    schedule(
        "cron: '@daily', retention: {daily: 7, bucketKeeps: Oldest}",
        "schedules[0].retention",
        "last: 1 keeps it",
    ),
    job("retention: {dayly: 7}", 'unknown field "spec.retention.dayly"'),
    job("settings: {compression: Zstd}", "spec.settings.compression", "choose mode Full"),
    job("settings: {consistency: Memory}", "spec.settings.consistency", "consistency: Offline"),
    job(
        "settings: {slowDestination: {action: Detach}}",
        "spec.settings.slowDestination",
        "no limit; for example after: 2m",
    ),
    job(
        "settings: {timeouts: {run: 1h, perVM: 90m}}",
        "spec.settings.timeouts",
        "a run holds all its VMs",
    ),
    job("verification: {}", "spec.verification.maxAge", "Required value"),
    job("verification: {maxAge: 0d}", "spec.verification.maxAge", "must be longer than nothing"),
    job("verification: {maxAge: 30}", "spec.verification.maxAge", "must be of type string"),
    job("verification: {maxAge: 30d, level: Boot}", 'unknown field "spec.verification.level"'),
    job("suspend: 'yes'", "spec.suspend", "must be of type boolean"),
    # ── runs and restores ──
    run("jobRef: {name: n}, at: noon", "spec.at", "must be of type date-time"),
    restore(
        RESTORE.replace("name: web", f"name: web, uuid: {UUID}"),
        "spec.source.vm",
        "exactly one of uuid and name",
    ),
    restore(
        RESTORE.replace("}}, target", "}, point: yesterday}, target"),
        "spec.source.point",
        "must be latest, or a stamp such as 20260131T020000Z",
    ),
]


@pytest.fixture
def create(api: httpx.Client, namespace: Namespace) -> Callable[..., httpx.Response]:
    """Ask for an object to be made; with dry, nothing comes of it."""

    def create(kind: str, spec: str, *, dry: bool = True) -> httpx.Response:
        metadata = {"name": "one", "namespace": namespace.name}
        text = spec if spec == "{}" else f"{{{spec}}}"
        manifest = {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": metadata,
            "spec": YAML(typ="safe").load(text),
        }
        return api.post(
            resource_of(kind).path(namespace.name),
            params={"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry else {}),
            json=manifest,
        )

    return create


def test_each_mistake_is_refused_by_name_and_with_what_would_be_right(
    create: Callable[..., httpx.Response],
) -> None:
    for good in (
        Wrong("XenPool", POOL, ()),
        Wrong("BackupRemote", "local: {path: /srv}", ()),
        job(""),
        Wrong("Restore", RESTORE, ()),
    ):
        assert create(good.kind, good.spec).is_success, good
    faults = []
    for wrong in TABLE:
        answer = create(wrong.kind, wrong.spec)
        said = answer.json().get("message", "it was taken")
        lacking = [words for words in wrong.said if words not in said]
        if answer.is_success or lacking:
            faults.append(f"{wrong.kind} {wrong.spec}\n   lacks {lacking}\n   {said}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("kind", "spec", "change", "said"),
    [
        (
            "Restore",
            RESTORE,
            {"target": {"start": True}},
            "a restore is not changed, but for suspend; make another one",
        ),
        ("BackupRun", "jobRef: {name: n}", {"jobRef": {"name": "m"}}, "a run is not changed"),
        (
            "BackupRun",
            "jobRef: {name: n}, cancel: true",
            {"cancel": False},
            "a cancelled run stays cancelled",
        ),
        (
            "ProtectedVM",
            f"jobRef: {{name: n}}, vm: {UUID}",
            {"jobRef": {"name": "m"}},
            "the operator writes these",
        ),
    ],
)
def test_what_was_asked_for_once_is_not_changed(
    create: Callable[..., httpx.Response],
    api: httpx.Client,
    namespace: Namespace,
    kind: str,
    spec: str,
    change: dict,
    said: str,
) -> None:
    assert create(kind, spec, dry=False).is_success
    answer = api.patch(
        resource_of(kind).path(namespace.name, "one"),
        headers={"Content-Type": "application/merge-patch+json"},
        json={"spec": change},
    )
    assert said in answer.json()["message"]


def test_kubectl_shows_it_as_it_was_said(namespace: Namespace) -> None:
    said = namespace.kubectl.refused(
        "apply",
        "-f",
        "-",
        stdin=f"apiVersion: {API_VERSION}\nkind: XenPool\nmetadata: {{name: lab}}\n"
        "spec: {urls: [xcp1], passwordFrom: {}}\n",
    )
    assert "spec.passwordFrom: Invalid value" in said
    assert "must have exactly one of env, file and secretRef" in said
    assert "spec.urls[0]: Invalid value" in said
    assert "must be the address of a host; for example https://xcp1.example.net" in said
