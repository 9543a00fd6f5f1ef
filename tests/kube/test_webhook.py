"""The webhook as a real API server asks it: what kubectl says, and what is let through."""

import base64
import json
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from clusters import Kubectl, Namespace
from kube_certificates import make_certificates
from operators import OperatorProcess, leader_among, operators, until
from rendering import MANIFESTS
from ruamel.yaml import YAML

POOL = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: XenPool
metadata: {name: lab}
spec: {urls: ["https://127.0.0.1:9"], passwordFrom: {env: PASSWORD}}
---
"""
REMOTE = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRemote
metadata: {name: cellar}
spec: {local: {path: /srv/none}}
---
"""
JOB = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata: {name: nightly}
spec:
  poolRefs: [{name: lab}]
  selector: {matchTags: [prod]}
  targets: [{remoteRef: {name: cellar}}]
  schedules: [{name: night, cron: "0 2 * * *", retention: {last: 3}}]
  suspend: true
"""
NEVER = JOB.replace("0 2 * * *", "0 2 30 2 *")
GROUP = "backup.reconciler.io"
SERVICE = "reconciler-webhook.backup-system.svc"
DOCUMENTED = MANIFESTS.parent / "docs" / "kubernetes.md"


@dataclass
class Asked:
    """A webhook of a test's own namespace. secret: where its certificate is mounted."""

    namespace: Namespace
    root: Path
    secret: Path = field(init=False)
    trusted: bytes = field(init=False, default=b"")
    url: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self.secret = self.root / "secret"
        self.secret.mkdir()
        self.certify()

    @property
    def kubectl(self) -> Kubectl:
        return self.namespace.kubectl

    @property
    def name(self) -> str:
        return f"reconciler-{self.namespace.name}"

    def certify(self) -> None:
        """Mount a new certificate of a new authority, and trust that one alone."""
        number = len(list(self.root.glob("certificates-*")))
        made = make_certificates(self.root / f"certificates-{number}")
        self.trusted = made.ca.read_bytes()
        made.server_key.replace(self.secret / "tls.key")
        made.server.replace(self.secret / "tls.crt")
        if self.url:
            self.register()

    def certify_by_hand(self) -> None:
        """As the documentation says, but for the name: nobody calls this one by a Service."""
        (command,) = re.findall(r"^openssl req .*$", DOCUMENTED.read_text(), re.MULTILINE)
        assert SERVICE in command
        words = command.replace(f"DNS:{SERVICE}", "IP:127.0.0.1").split()
        subprocess.run(words, cwd=self.root, check=True, capture_output=True, timeout=60)
        self.trusted = (self.root / "tls.crt").read_bytes()
        (self.root / "tls.key").replace(self.secret / "tls.key")
        (self.root / "tls.crt").replace(self.secret / "tls.crt")
        self.register()

    def ask(self, operator: OperatorProcess) -> None:
        """Have the API server ask this one, once it answers."""
        address = until(lambda: operator.said("webhook listening", "address"))
        self.url = f"https://{address}/validate"
        until(self.answers)
        self.register()

    def answers(self) -> bool:
        """Whether it has the certificate that is trusted."""
        context = ssl.create_default_context(cadata=self.trusted.decode())
        try:
            urllib.request.urlopen(self.url, timeout=60, context=context)
        except urllib.error.HTTPError as error:
            return error.code == 405  # nobody reads here
        except OSError:
            return False
        return False

    def register(self) -> None:
        """What is shipped, but for where it is: a Service leads nowhere here."""
        text = (MANIFESTS / "components" / "webhook" / "webhook.yaml").read_text()
        configuration = YAML(typ="safe").load(text)
        configuration["metadata"]["name"] = self.name
        (webhook,) = configuration["webhooks"]
        bundle = base64.b64encode(self.trusted).decode()
        webhook["clientConfig"] = {"url": self.url, "caBundle": bundle}
        here = {"kubernetes.io/metadata.name": self.namespace.name}
        webhook["namespaceSelector"] = {"matchLabels": here}
        webhook["timeoutSeconds"] = 30  # the machine may be busy; nothing here waits for it
        self.kubectl.apply(json.dumps(configuration))

    def forget(self) -> None:
        self.kubectl("delete", "validatingwebhookconfiguration", self.name, "--ignore-not-found")

    def until_asked(self) -> None:
        """An API server learns of a webhook, or of whom to trust, a moment after it is told."""
        unheard = NEVER.replace("nightly", "unheard-of")
        until(lambda: "never comes" in self.told(unheard, "--dry-run=server"))

    def told(self, manifest: str, *words: str) -> str:
        """What kubectl apply says on stderr, however it ends."""
        return self.kubectl.told("apply", "-f", "-", *words, stdin=manifest)

    def stalled(self, job: str) -> bool:
        found = self.kubectl.json("get", "bj", job).get("status", {}).get("conditions", [])
        return any(one["type"] == "Stalled" and one["status"] == "True" for one in found)


@pytest.fixture
def asked(near: Namespace, tmp_path: Path) -> Iterator[Asked]:
    made = Asked(near, tmp_path)
    yield made
    made.forget()


@contextmanager
def serving(asked: Asked, count: int = 1) -> Iterator[list[OperatorProcess]]:
    options = ("--webhook", str(asked.secret), "--webhook-listen", "127.0.0.1:0")
    with operators(asked.kubectl, asked.namespace.name, asked.root, count, *options) as replicas:
        yield replicas


def test_what_the_schema_cannot_say_is_said_before_it_is_kept(asked: Asked) -> None:
    kubectl = asked.kubectl
    with serving(asked) as (operator,):
        asked.ask(operator)
        asked.until_asked()

        # In one go, each after what it refers to: nothing is missing, and nothing is said.
        assert asked.told(POOL + REMOTE + JOB) == ""
        # In the other order: it is kept, and what is not there yet is named.
        other = JOB.replace("nightly", "other")
        said = asked.told(other.replace("name: cellar", "name: celar"))
        assert said == (
            "Warning: BackupJob/other: spec.targets[0].remoteRef.name: there is no BackupRemote"
            ' "celar" (did you mean "cellar"?)\n'
        ).replace("BackupJob/", f"BackupJob/{asked.namespace.name}/")
        # A place that is taken: the other may be about to go.
        assert "the path is that of" in asked.told(REMOTE.replace("name: cellar", "name: attic"))
        assert kubectl("get", "bj,bremote", "-o", "name").split() == [
            f"backupjob.{GROUP}/nightly",
            f"backupjob.{GROUP}/other",
            f"backupremote.{GROUP}/attic",
            f"backupremote.{GROUP}/cellar",
        ]

        said = kubectl.refused("apply", "-f", "-", stdin=NEVER)
        assert 'The BackupJob "nightly" is invalid' in said
        assert "spec.schedules[0].cron: " in said
        assert "names a date that never comes" in said
        tomorrow = ("annotate", "bj", "nightly", "--overwrite", f"{GROUP}/run-at=tomorrow")
        assert "for example 2026-01-31T02:00:00Z" in kubectl.refused(*tomorrow)
        assert kubectl.json("get", "bj", "nightly")["metadata"]["generation"] == 1

        run = "apiVersion: backup.reconciler.io/v1alpha1\nkind: BackupRun\nmetadata: {name: now}\n"
        assert asked.told(f"{run}spec: {{jobRef: {{name: nightly}}}}\n") == ""
        missing = run.replace("now", "then") + "spec: {jobRef: {name: nighly}}\n"
        assert 'did you mean "nightly"?' in asked.told(missing)
    assert operator.has_said("object refused")


def test_who_only_follows_answers_too(asked: Asked) -> None:
    with serving(asked, 2) as replicas:
        leader = leader_among(replicas, asked.kubectl)
        (follower,) = [each for each in replicas if each is not leader]
        asked.ask(follower)
        asked.until_asked()
        assert asked.told(POOL + REMOTE + JOB) == ""
        wanted = JOB.replace("nightly", "other").replace("name: lab", "name: lap")
        assert 'did you mean "lab"?' in asked.told(wanted)


def test_a_certificate_is_rotated_without_a_restart(asked: Asked) -> None:
    with serving(asked) as (operator,):
        asked.ask(operator)
        asked.until_asked()
        for renew in (asked.certify, asked.certify_by_hand):
            before = asked.trusted
            renew()
            assert asked.trusted != before
            until(asked.answers)
            asked.until_asked()
        assert operator.process.poll() is None


def test_while_nobody_answers_all_is_kept_and_told_in_status(asked: Asked) -> None:
    kubectl = asked.kubectl
    with serving(asked) as (operator,):
        asked.ask(operator)
        asked.until_asked()
        operator.kill()
        assert asked.told(POOL + REMOTE + NEVER) == ""
    with serving(asked) as (operator,):
        until(lambda: asked.stalled("nightly"))
        asked.ask(operator)
        asked.until_asked()
        # What is wrong already can be touched, suspended and mended, and not made worse.
        kubectl("annotate", "bj", "nightly", f"{GROUP}/reconcile=1")
        kubectl("label", "bj", "nightly", "team=shop")
        kubectl(
            "patch", "bj", "nightly", "--type=merge", "-p", '{"metadata":{"finalizers":["a/b"]}}'
        )
        said = asked.told(NEVER.replace("suspend: true", "suspend: false"))
        assert said.startswith("Warning: ")
        assert "never comes" in said
        assert "never comes" in asked.told(NEVER.replace("nightly", "another"))
        kubectl("delete", "bj", "nightly", "--wait=false")
        kubectl("patch", "bj", "nightly", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        kubectl("wait", "--for=delete", "bj/nightly", "--timeout=60s")
