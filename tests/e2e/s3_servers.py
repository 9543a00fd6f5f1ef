"""S3 servers on loopback for tests: two that others wrote, which disagree where S3 leaves room.

moto honours conditions on puts and checks no signatures; rclone checks them and ignores conditions.
Each listens on a free port, is ended at the end, and its output is shown if it does not come up.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY = "cellar-access-key"
SECRET_KEY = "cellar-secret-key"
BUCKET = "cellar"
PATIENCE_S = 60.0
_POLL_S = 0.05


@dataclass(frozen=True)
class S3Server:
    """process: to be stopped and continued. output: of the server, a file."""

    endpoint: str
    process: subprocess.Popen
    output: Path


def program(name: str) -> str:
    """A program of this environment."""
    return str(Path(sys.executable).with_name(name))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def moto_server(area: Path) -> Iterator[S3Server]:
    """area: a directory for its output."""
    port = free_port()
    command = [program("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with serving(command, port, area / "moto.log") as server:
        request = urllib.request.Request(f"{server.endpoint}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request, timeout=PATIENCE_S).close()
        yield server


@contextlib.contextmanager
def rclone_server(area: Path, *options: str, port: int = 0) -> Iterator[S3Server]:
    """area: a directory for its objects and output; what one left there, the next one serves."""
    port = port or free_port()
    root = area / "rclone"
    (root / BUCKET).mkdir(parents=True, exist_ok=True)
    command = [
        program("rclone"),
        *("serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"),
        # Its memory of directories keeps objects that are gone, if several wrote them at once.
        *("--dir-cache-time", "1ms"),
        *("--config", os.devnull, *options, str(root)),
    ]
    with serving(command, port, area / "rclone.log") as server:
        yield server


@contextlib.contextmanager
def serving(
    command: Sequence[str], port: int, output: Path, env: Mapping[str, str] | None = None
) -> Iterator[S3Server]:
    with output.open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env
        )
        try:
            _await_answer(process, port, output)
            yield S3Server(f"http://127.0.0.1:{port}", process, output)
        finally:
            process.kill()
            process.wait()


def _await_answer(process: subprocess.Popen, port: int, output: Path) -> None:
    """Whatever it answers: it is there."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=120).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            time.sleep(_POLL_S)
            continue
        return
    said = output.read_text(errors="replace")[-4000:]
    raise RuntimeError(f"no S3 server on port {port}; it said:\n{said}")
