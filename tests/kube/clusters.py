"""A cluster as the tests see it: kubectl as a user runs it, and namespaces of a test's own."""

import base64
import json
import os
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import httpx
from kube_programs import programs

PATIENCE_S = 120


@dataclass(frozen=True)
class Kubectl:
    """kubectl with a kubeconfig. area: a directory for what it remembers of the API."""

    kubeconfig: Path
    area: Path

    def __call__(self, *words: str, stdin: str = "") -> str:
        """Run it and return what it prints. Raises AssertionError if it fails."""
        ended = self._run(words, stdin)
        assert not ended.returncode, f"kubectl {' '.join(words)}:\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def refused(self, *words: str, stdin: str = "") -> str:
        """Run it and return what it says on stderr. Raises AssertionError if it succeeds."""
        ended = self._run(words, stdin)
        assert ended.returncode, f"kubectl {' '.join(words)} succeeded:\n{ended.stdout}"
        return ended.stderr

    def told(self, *words: str, stdin: str = "") -> str:
        """Run it and return what it says on stderr, such as warnings, however it ends."""
        return self._run(words, stdin).stderr

    def _run(self, words: tuple[str, ...], stdin: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.program, *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 2,
            env=os.environ | self.environment,
            check=False,
        )

    def json(self, *words: str) -> dict:
        """Run `kubectl … -o json`."""
        return json.loads(self(*words, "-o", "json"))

    def apply(self, text: str, *words: str) -> str:
        """Apply manifests as users do who want to know of mistakes."""
        return self("apply", "--validate=strict", "-f", "-", *words, stdin=text)

    @contextmanager
    def proxy(self) -> Iterator[str]:
        """The URL of a proxy that adds who we are."""
        command = [self.program, "proxy", "--port=0", "--accept-hosts=.*", "--reject-paths=^$"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | self.environment
        ) as proxy:
            assert proxy.stdout is not None
            said = proxy.stdout.readline()  # Starting to serve on 127.0.0.1:40437
            try:
                yield f"http://{said.split()[-1]}"
            finally:
                proxy.kill()

    @property
    def program(self) -> Path:
        return programs("control-plane") / "kubectl"

    @property
    def environment(self) -> dict[str, str]:
        """Variables for whoever runs it himself."""
        return {"KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.area / "kubectl")}


@dataclass(frozen=True)
class Cluster:
    """A cluster as its administrator reaches it. PREFIX: of the names of tests' namespaces."""

    PREFIX: ClassVar = "reconciler-test-"

    kubeconfig: Path
    area: Path

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.kubeconfig, self.area)

    def namespace(self, name: str = "") -> "Namespace":
        """Make a namespace, with a fresh name unless one is given."""
        name = name or f"{self.PREFIX}{uuid.uuid4().hex[:10]}"
        self.kubectl("create", "namespace", name)
        return Namespace(self, name, self.kubeconfig_for(name, namespace=name))

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """For calls as the administrator that kubectl is too slow for."""
        found, user = self._config["clusters"][0]["cluster"], self._config["users"][0]["user"]
        ca = base64.b64decode(found["certificate-authority-data"]).decode()
        with httpx.Client(
            base_url=found["server"],
            verify=ssl.create_default_context(cadata=ca),
            headers={"Authorization": f"Bearer {user['token']}"},
            timeout=PATIENCE_S,
            trust_env=False,
        ) as client:
            yield client

    def kubeconfig_for(self, name: str, *, namespace: str, token: str | None = None) -> Path:
        """Write a kubeconfig of our own: in a namespace, and with a token instead of our rights."""
        path = self.area / f"{name}.kubeconfig"
        cluster = self._config["clusters"][0]["cluster"]
        user = self._config["users"][0]["user"] if token is None else {"token": token}
        path.write_text(kubeconfig(cluster, user, namespace))
        path.chmod(0o600)
        return path

    @cached_property
    def _config(self) -> dict:
        return self.kubectl.json("config", "view", "--minify", "--raw", "--flatten")


@dataclass(frozen=True)
class Namespace:
    """A namespace of a test's own. kubeconfig: with all rights, and this namespace as default."""

    cluster: Cluster
    name: str
    kubeconfig: Path

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.kubeconfig, self.cluster.area)

    def as_account(self, account: str) -> Kubectl:
        """kubectl as a service account of this namespace, which is made if there is none."""
        existing = self.kubectl("get", "serviceaccount", "-o", "name").split()
        if f"serviceaccount/{account}" not in existing:
            self.kubectl("create", "serviceaccount", account)
        token = self.kubectl("create", "token", account, "--duration=4h").strip()
        path = self.cluster.kubeconfig_for(
            f"{self.name}-{account}", namespace=self.name, token=token
        )
        return Kubectl(path, self.cluster.area)


def kubeconfig(cluster: dict, user: dict, namespace: str) -> str:
    """The text of a kubeconfig with one cluster and one user."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": user}],
            "contexts": [
                {
                    "name": "tests",
                    "context": {"cluster": "tests", "user": "tests", "namespace": namespace},
                }
            ],
            "current-context": "tests",
        }
    )
