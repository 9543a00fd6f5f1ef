"""A pool in a box for benchmarks: the lab in a process of its own, so that its work is not ours."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

BLOCK = 2 * 1024 * 1024


@dataclass(frozen=True)
class LabPool:
    url: str
    username: str
    password: str


def incompressible_image(path: str, size: int) -> None:
    """Write a raw disk on which no two blocks are alike."""
    noise = bytearray(os.urandom(BLOCK))
    with open(path, "wb") as file:
        for number in range(size // BLOCK):
            noise[:8] = number.to_bytes(8, "little")
            file.write(noise)


@contextmanager
def lab_pool(directory: str, images: list[str], *knobs: str) -> Iterator[LabPool]:
    """Serve a pool with one VM that has these disks, until the body ends; knobs: NAME=NUMBER."""
    lab = os.path.join(directory, "lab")
    command = [sys.executable, "-m", "reconciler", "lab"]
    up = [*command, "up", "--dir", lab, *(f"--set={knob}" for knob in knobs)]
    serving = subprocess.Popen(up, stdout=subprocess.PIPE, text=True)
    try:
        assert serving.stdout is not None
        told = json.loads(serving.stdout.readline())
        subprocess.run(
            [*command, "import", "bench", *images, "--dir", lab],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        yield LabPool(told["url"], told["user"], told["password"])
    finally:
        serving.terminate()
        serving.wait()
