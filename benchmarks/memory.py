"""Peak memory of a process that exports twelve disks at once, and how fast they come together."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.export import write_and_sync
from benchmarks.pool import incompressible_image, lab_pool
from benchmarks.report import MIB, Figure

DISKS = 12
DISK_BYTES = 128 * MIB


def run(directory: str, note: Callable[[str], None]) -> Iterator[Figure]:
    found = flight(directory, remotes=1)
    before = found.before_bytes / MIB
    note(f"memory: {before:.0f} MiB of the peak are there before the first disk moves")
    work = f"{DISKS} disks in flight"
    yield Figure("memory", work, found.peak_bytes / MIB, "MiB", at_most=150)
    yield Figure(
        "memory",
        f"{work}, together",
        found.moved_bytes / MIB / found.seconds,
        "MiB/s",
        found.moved_bytes / MIB / found.limit_s,
        "MiB/s, write and fsync",
    )


@dataclass(frozen=True)
class Flight:
    """limit_s: seconds to write the same bytes. before_bytes: memory before the first disk."""

    peak_bytes: float
    before_bytes: float
    moved_bytes: float
    seconds: float
    limit_s: float


def flight(directory: str, *, remotes: int) -> Flight:
    """Export all disks at once to so many remotes, in a process of its own."""
    images = [os.path.join(directory, f"disk{number}.raw") for number in range(DISKS)]
    for image in images:
        incompressible_image(image, DISK_BYTES)
    with lab_pool(directory, images) as pool:
        for image in images:
            os.unlink(image)
        targets = [os.path.join(directory, f"remote{number}") for number in range(remotes)]
        for target in targets:
            os.mkdir(target)
        total = DISKS * DISK_BYTES * remotes
        limit_s = write_and_sync(os.path.join(directory, "limit"), total)
        os.sync()
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.flight", pool.url, pool.username, *targets],
            input=pool.password + "\n",
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found = json.loads(child.stdout)
    assert found["disks"] == DISKS and found["moved_bytes"] == total
    return Flight(
        found["peak_bytes"],
        found["before_bytes"],
        found["moved_bytes"],
        found["seconds"],
        limit_s,
    )
