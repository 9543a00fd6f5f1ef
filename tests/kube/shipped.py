"""The operator that is shipped, run as a pod would: with its own arguments, account and rights."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from clusters import Namespace

ACCOUNT = "reconciler"
POD = "reconciler-0"


@dataclass
class Shipped:
    """The operator as a process. log: what it says. port: where it listens."""

    process: "subprocess.Popen[bytes]"
    log: Path
    port: int

    def answers(self, path: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@contextmanager
def started(
    deployment: Mapping[str, Any], namespace: Namespace, directory: Path, **paths: Path
) -> Iterator[Shipped]:
    """Run the container's arguments, with what a pod would have replaced by what is here.

    paths: of what a pod would have mounted, by the name of its volume. It may not be forbidden
    anything that it tries.
    """
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    mounted = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    port, log = _free_port(), directory / "operator.log"
    args = [one.replace("$(POD_NAMESPACE)", namespace.name) for one in container["args"]]
    for shipped, ours in {
        mounted["state"]: str(directory / "state"),
        "0.0.0.0:8080": f"127.0.0.1:{port}",
        **{mounted[volume]: str(path) for volume, path in paths.items()},
    }.items():
        assert any(shipped in one for one in args), shipped
        args = [one.replace(shipped, ours) for one in args]
    environment = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(namespace.as_account(ACCOUNT).kubeconfig),
        "POD_NAMESPACE": namespace.name,
        "POD_NAME": POD,
    }
    command = [sys.executable, "-m", "reconciler", *args]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield Shipped(process, log, port)
        finally:
            process.send_signal(signal.SIGTERM)
    said = log.read_text()
    assert process.returncode == 0, said
    assert "forbidden" not in said.lower(), said


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])
