"""An operator with 1,000 jobs for 10,000 VMs: how soon all statuses stand, and what rest costs.

Needs a cluster with our kinds, named by $KUBECONFIG; without one it is left out. The pool is a lab
in a process of its own; there are no restore points, and no slot comes.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from benchmarks.report import Figure
from reconciler.kube.api import KubeApi
from reconciler.kube.login import Credentials
from reconciler.kube.resources import Resource, resource_of
from reconciler.lab.lab import Lab
from reconciler.lab.settings import Settings

JOBS, VMS = 1000, 10_000
IDLE_S = 300.0  # lists of so many objects come every few minutes
PATIENCE_S = 1500.0
_AT_ONCE = 16
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def run(directory: str, note: Callable[[str], None]) -> Iterator[Figure]:
    if "KUBECONFIG" not in os.environ:
        note("operator: left out, because KUBECONFIG names no cluster")
        return
    root = Path(directory)
    began = time.monotonic()
    _make_vms(root)
    note(f"operator: {VMS} VMs made in {time.monotonic() - began:.0f} s")
    with _lab(root) as pool:
        yield from asyncio.run(_measure(root, pool, note))


async def _measure(root: Path, pool: dict[str, str], note: Callable[[str], None]) -> list[Figure]:
    api = KubeApi(Credentials(), connections_max=_AT_ONCE)
    namespace = f"bench-{uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    await api.create(Resource("", "v1", "namespaces"), None, body)
    try:
        (root / "remote").mkdir()
        await _each(
            [
                lambda raw=raw: api.create(resource_of(raw["kind"]), namespace, raw)
                for raw in _objects(root, pool)
            ]
        )
        note(f"operator: {JOBS} jobs made in namespace {namespace}")
        with _operator(root, namespace, pool) as process:
            began = time.monotonic()
            written_s = await _all_written(api, namespace, began)
            start_cpu_s = _cpu_s(process)
            note(f"operator: statuses written, {_peak_bytes(process) >> 20} MiB so far")
            protected_s = await _all_protected(api, namespace, began)
            protected_cpu_s = _cpu_s(process) - start_cpu_s
            note(f"operator: ProtectedVMs made, {_peak_bytes(process) >> 20} MiB so far")
            versions = await _versions(api, namespace)
            await asyncio.sleep(15)  # what the start left to do is no rest
            before = _cpu_s(process)
            await asyncio.sleep(IDLE_S)
            idle = (_cpu_s(process) - before) / IDLE_S
            memory = _peak_bytes(process)
            changed = sum(
                versions.get(uid) != version
                for uid, version in (await _versions(api, namespace)).items()
            )
        return [
            Figure("operator", "start to all statuses", written_s, "s", at_most=60.0),
            Figure("operator", "start, of the processor", start_cpu_s, "s"),
            Figure("operator", "start to all ProtectedVMs", protected_s, "s", at_most=120.0),
            Figure("operator", "ProtectedVMs, of the processor", protected_cpu_s, "s"),
            Figure("operator", "memory, at most", memory / (1 << 20), "MiB", at_most=400.0),
            Figure("operator", "at rest, of a core", idle * 100, "%", at_most=3.0),
            Figure("operator", "statuses written at rest", changed, "", at_most=0.0),
        ]
    finally:
        for kind in ("BackupJob", "BackupRemote", "XenPool"):
            for raw in (await api.list(resource_of(kind), namespace)).items:
                await api.delete(resource_of(kind), namespace, raw["metadata"]["name"])
        await api.delete(Resource("", "v1", "namespaces"), None, namespace)
        await api.close()


def _make_vms(root: Path) -> None:
    (root / "disk.raw").write_bytes(bytes(1 << 20))
    with Lab.open(str(root / "lab"), settings=Settings(guest_boot_s=0.0)) as lab:
        lab.import_vm("vm", [str(root / "disk.raw")])
        (template,) = _refs(lab.call("VM.get_by_name_label", "vm"))
        for number in range(VMS):
            vm = lab.call("VM.clone", template, f"vm-{number:05}")
            lab.call("VM.set_tags", vm, [f"job-{number % JOBS}"])


def _refs(value: Any) -> list[str]:
    return list(value)


def _objects(root: Path, pool: dict[str, str]) -> Iterator[dict[str, Any]]:
    def made(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": name}
        version = "backup.reconciler.io/v1alpha1"
        return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}

    yield made("XenPool", "lab", {"urls": [pool["url"]], "passwordFrom": {"env": "LAB_PASSWORD"}})
    yield made("BackupRemote", "cellar", {"local": {"path": str(root / "remote")}})
    for number in range(JOBS):
        spec = {
            "poolRefs": [{"name": "lab"}],
            "selector": {"matchTags": [f"job-{number}"]},
            "targets": [{"remoteRef": {"name": "cellar"}}],
            "schedules": [{"name": "yearly", "cron": "0 2 1 1 *"}],
        }
        yield made("BackupJob", f"job-{number:04}", spec)


async def _each(calls: list[Callable[[], Awaitable[object]]]) -> None:
    waiting = list(calls)

    async def caller() -> None:
        while waiting:
            await waiting.pop()()

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(caller())


async def _all_written(api: KubeApi, namespace: str, began: float) -> float:
    while True:
        listed = (await api.list(resource_of("BackupJob"), namespace)).items
        found = time.monotonic() - began
        said = [raw.get("status", {}).get("protectedVMs", {}) for raw in listed]
        if all(each.get("matched") == VMS // JOBS for each in said):
            return found
        assert found < PATIENCE_S, f"{sum(map(bool, said))} of {JOBS} written"
        await asyncio.sleep(2)  # so that asking is not what takes the time


async def _all_protected(api: KubeApi, namespace: str, began: float) -> float:
    """Wait until every VM of every job has its object, and each says how it stands."""
    resource = resource_of("ProtectedVM")
    while True:
        found = time.monotonic() - began
        count = await asyncio.to_thread(_count, resource.path(namespace))
        # A list of them all costs the server seconds.
        if count == VMS and all(
            "status" in raw for raw in (await api.list(resource, namespace)).items
        ):
            return found
        assert found < PATIENCE_S, f"{count} of {VMS} made"
        await asyncio.sleep(2)


def _count(path: str) -> int:
    """Count objects without having them listed."""
    access = Credentials().access()
    with httpx.Client(
        base_url=access.server, headers=access.headers, verify=access.verify
    ) as client:
        answer = client.get(path, params={"limit": "1"}).raise_for_status().json()
    return len(answer["items"]) + int(answer["metadata"].get("remainingItemCount", 0))


async def _versions(api: KubeApi, namespace: str) -> dict[str, str]:
    return {
        raw["metadata"]["uid"]: raw["metadata"]["resourceVersion"]
        for kind in ("BackupJob", "ProtectedVM")
        for raw in (await api.list(resource_of(kind), namespace)).items
    }


@contextmanager
def _lab(root: Path) -> Iterator[dict[str, str]]:
    words = ["lab", "up", "--dir", str(root / "lab")]
    with _program(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())


@contextmanager
def _operator(
    root: Path, namespace: str, pool: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    words = ["operator", "-n", namespace, "--no-leader-election", "--state", str(root / "state")]
    environment = {**os.environ, "LAB_PASSWORD": pool["password"]}
    log = (root / "operator.log").open("wb")
    with log, _program(words, stderr=log, env=environment) as process:
        yield process


@contextmanager
def _program(words: list[str], **how: Any) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-m", "reconciler", *words], **how)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _cpu_s(process: "subprocess.Popen[bytes]") -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _peak_bytes(process: "subprocess.Popen[bytes]") -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak) * 1024
