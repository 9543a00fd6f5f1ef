"""Peak memory of a process that exports twelve disks at once, and how fast they come together."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks.export import write_and_sync
from benchmarks.pool import incompressible_image, lab_pool
from benchmarks.report import MIB, Figure

DISKS = 12
DISK_BYTES = 128 * MIB


def run(directory: str, note: Callable[[str], None]) -> Iterator[Figure]:
    images = [os.path.join(directory, f"disk{number}.raw") for number in range(DISKS)]
    for image in images:
        incompressible_image(image, DISK_BYTES)
    with lab_pool(directory, images) as pool:
        for image in images:
            os.unlink(image)
        target = os.path.join(directory, "remote")
        os.mkdir(target)
        limit = write_and_sync(os.path.join(directory, "limit"), DISKS * DISK_BYTES)
        os.sync()
        flight = subprocess.run(
            [sys.executable, "-m", "benchmarks.flight", pool.url, pool.username, target],
            input=pool.password + "\n",
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found = json.loads(flight.stdout)
    assert found["disks"] == DISKS and found["moved_bytes"] == DISKS * DISK_BYTES
    before = found["before_bytes"] / MIB
    note(f"memory: {before:.0f} MiB of the peak are there before the first disk moves")
    yield Figure(
        "memory", f"{DISKS} disks in flight", found["peak_bytes"] / MIB, "MiB", at_most=150
    )
    yield Figure(
        "memory",
        f"{DISKS} disks in flight, together",
        found["moved_bytes"] / MIB / found["seconds"],
        "MiB/s",
        DISKS * DISK_BYTES / MIB / limit,
        "MiB/s, write and fsync",
    )
