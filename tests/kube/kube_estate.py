"""A pool of the lab, a directory as remote, and an operator in this process that works for both."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kopf
from clusters import Kubectl, Namespace

from reconciler.clock import SystemClock
from reconciler.desired.manifest import KINDS
from reconciler.kube.login import Credentials
from reconciler.kube.operator import Operator
from reconciler.kube.scope import Scope
from reconciler.lab.lab import Lab, Served
from reconciler.lab.settings import Settings

MIB = 1 << 20
PATIENCE_S = 120

PLACES = """\
apiVersion: v1
kind: Secret
metadata: {{name: lab}}
stringData: {{password: "{password}"}}
---
apiVersion: backup.reconciler.io/v1alpha1
kind: XenPool
metadata: {{name: lab}}
spec:
  urls: ["{url}"]
  passwordFrom: {{secretRef: {{name: lab, key: password}}}}
---
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRemote
metadata: {{name: cellar}}
spec:
  local: {{path: "{remote}"}}
---
"""
JOB = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata: {name: nightly}
spec:
  poolRefs: [{name: lab}]
  selector: {matchTags: [prod]}
  runOnCreate: true
  targets: [{remoteRef: {name: cellar}}]
  schedules: [{name: yearly, cron: "0 2 1 1 *", retention: {last: 3}}]
"""
VERIFIED = f"{JOB}  verification: {{maxAge: 1h}}\n"
"""The same job; what it keeps is read."""


@dataclass
class Estate:
    """One running VM, "web", of one disk of 3 MiB whose middle one is empty."""

    namespace: Namespace
    root: Path
    lab: Lab
    served: Served
    content: bytes

    @property
    def remote(self) -> Path:
        return self.root / "remote"

    @property
    def kubectl(self) -> Kubectl:
        return self.namespace.kubectl

    @property
    def places(self) -> str:
        return PLACES.format(url=self.served.url, password=self.served.password, remote=self.remote)

    @property
    def points(self) -> list[str]:
        """What is published on the remote, read by somebody who knows nothing of the operator."""
        return sorted(path.stem for path in self.remote.glob("xo-vm-backups/*/*.json"))

    @property
    def proven(self) -> list[str]:
        """Which points were read whole, as it is noted on the remote."""
        notes = self.remote.glob(".reconciler/proofs/*/*.json")
        return sorted(json.loads(path.read_text())["proof"]["stamp"] for path in notes)

    def is_restored_from(self, point: str) -> bool:
        """Restore the disk by the command line, from files with the same objects, and compare."""
        manifests, output = self.root / "manifests", self.root / "restored.raw"
        manifests.mkdir(exist_ok=True)
        secret = "secretRef: {name: lab, key: password}"
        places = self.places.partition("---\n")[2].replace(secret, "env: LAB_PASSWORD")
        (manifests / "all.yaml").write_text(places + JOB)
        words = ["restore", f"web@{point}", manifests, "--disk", "0", "--to-file", output]
        subprocess.run(
            [sys.executable, "-m", "reconciler", *words],
            env=os.environ | {"LAB_PASSWORD": self.served.password},
            check=True,
            timeout=PATIENCE_S,
        )
        content = output.read_bytes()
        # The pool rounds a disk's size up.
        return content == self.content.ljust(len(content), b"\0")

    def stands(self, kind: str, name: str) -> dict[str, Any]:
        """An object's status, its conditions by type."""
        status = self.kubectl.json("get", kind, name).get("status", {})
        conditions = {each["type"]: each for each in status.get("conditions", ())}
        return {**status, "conditions": conditions}

    def cell(self, kind: str, column: str) -> str:
        """What kubectl's wide list says of the only object of a kind; "" while there is none."""
        lines = self.kubectl("get", kind, "-o", "wide").splitlines()
        if not lines:
            return ""
        head, row = lines
        return row[head.index(f" {column} ") + 1 :].split("  ")[0].strip()

    def versions(self) -> dict[str, str]:
        """The resource version of each of our objects."""
        listed = self.kubectl.json("get", "backup")["items"]
        return {
            f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["resourceVersion"]
            for each in listed
        }

    def wait(self, condition: str, *what: str) -> None:
        self.kubectl("wait", f"--for={condition}", *what, f"--timeout={PATIENCE_S}s")


def make_estate(namespace: Namespace, root: Path, **settings: Any) -> Estate:
    """settings: of the lab, such as how fast it exports."""
    block = os.urandom(MIB)
    content = block + bytes(MIB) + block
    (root / "web.raw").write_bytes(content)
    (root / "remote").mkdir()
    quick = {"login_failure_delay_s": 0.0, "coalesce_delay_s": 0.05, "guest_boot_s": 0.0}
    lab = Lab.open(str(root / "lab"), settings=Settings(**quick, **settings))
    lab.import_vm("web", [str(root / "web.raw")], tags=["prod"])
    lab.power("web", "Running")
    return Estate(namespace, root, lab, lab.serve(), content)


@dataclass
class Working:
    """An operator at work, and its calls that change something."""

    operator: Operator
    _seen: int = field(default=0, init=False)

    @property
    def writes(self) -> int:
        calls = self.operator.api.calls
        return sum(count for (verb, _), count in calls.items() if verb not in ("get", "list"))

    async def ticks(self, count: int, disturb: Callable[[], object]) -> None:
        """Wait for so many reports more; `disturb` makes something happen that means nothing."""
        reconciler = self.operator.reconciler
        assert reconciler is not None
        for _ in range(count):
            version = reconciler.report.version
            await asyncio.to_thread(disturb)
            async with asyncio.timeout(PATIENCE_S):
                await reconciler.report.newer_than(version)

    async def rest(self, disturb: Callable[[], object]) -> None:
        """Wait until two ticks and three seconds pass without a write."""
        while True:
            writes = self.writes
            await self.ticks(2, disturb)
            await asyncio.sleep(3)
            if self.writes == writes:
                return


def credentials_of(kubectl: Kubectl, monkeypatch: Any) -> Credentials:
    """As of a program that was started with this kubeconfig."""
    monkeypatch.setenv("KUBECONFIG", str(kubectl.kubeconfig))

    def find() -> kopf.ConnectionInfo | None:
        return kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())

    return Credentials(find)


@asynccontextmanager
async def working(credentials: Credentials, namespace: str, root: Path) -> AsyncIterator[Working]:
    """Run an operator in this process for the namespace."""
    operator = Operator(
        credentials,
        Scope(tuple(KINDS), (namespace,)),
        SystemClock(),
        records=root / "history.sqlite",
        owner="tests",
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(operator.run())
        yield Working(operator)
        task.cancel()


async def until(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Wait for something to be so that no `kubectl wait` can say; return what it is."""
    deadline = time.monotonic() + timeout_s
    while not (found := await asyncio.to_thread(condition)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    return found
