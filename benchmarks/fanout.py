"""One disk from a pool to one, two and three file remotes at once, against writing it to one.

All remotes lie on one file system, so n of them can have an n-th of its write limit each: that is
the limit of each row. And the peak of memory with twelve disks on their way to three remotes.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.export import IDENTITY, snapshot_disks, write_and_sync
from benchmarks.memory import DISKS, flight
from benchmarks.pool import LabPool, incompressible_image, lab_pool
from benchmarks.report import GIB, MIB, Figure, median
from reconciler.remotes.open import open_remote
from reconciler.remotes.remote import Remote
from reconciler.transfer.fanout import fan_out
from reconciler.transfer.vhd_sink import VhdFileSink
from reconciler.xapi.client import XapiClient
from reconciler.xapi.disks import open_export

SIZE = GIB
ROUNDS = 3
COPIES = (1, 2, 3)
CPU_AT_MOST = {1: 1.1, 2: 2.0, 3: 3.0}


@dataclass(frozen=True)
class Round:
    """Seconds for the same disk. write_s: one copy, by one thread, nothing else."""

    write_s: float
    fan_out_s: float
    cpu_s: float


def run(directory: str, note: Callable[[str], None]) -> Iterator[Figure]:
    image = os.path.join(directory, "disk.raw")
    incompressible_image(image, SIZE)
    with lab_pool(directory, [image]) as pool:
        os.unlink(image)
        found = asyncio.run(_measured(pool, directory))
    for copies, rounds in found.items():
        work = f"1 GiB disk to {copies} remote{'s' if copies > 1 else ''}"
        rate = median([SIZE / MIB / entry.fan_out_s for entry in rounds])
        # The disk of a shared machine is not the same from one minute to the next.
        ratio = median([entry.write_s * copies / entry.fan_out_s for entry in rounds])
        name = "MiB/s, write and fsync" + (f" / {copies}" if copies > 1 else "")
        yield Figure("fanout", work, rate, "MiB/s", rate / ratio, name, at_least=0.8)
        cpu = median([entry.cpu_s for entry in rounds]) / (SIZE / GIB)
        yield Figure("fanout", work, cpu, "CPU-s/GiB", at_most=CPU_AT_MOST[copies])
    memory = os.path.join(directory, "memory")
    os.mkdir(memory)
    peak = flight(memory, remotes=max(COPIES))
    work = f"{DISKS} disks to {max(COPIES)} remotes"
    note(f"fanout: {peak.before_bytes / MIB:.0f} MiB of the peak are there before the first disk")
    yield Figure("fanout", work, peak.peak_bytes / MIB, "MiB", at_most=300)


async def _measured(pool: LabPool, directory: str) -> dict[int, list[Round]]:
    """Take the sizes of a party in turn, so that a slow minute is everybody's."""
    remotes = []
    for number in range(max(COPIES)):
        target = os.path.join(directory, f"remote{number}")
        os.mkdir(target)
        remotes.append(await open_remote(f"bench{number}", target))
    found: dict[int, list[Round]] = {copies: [] for copies in COPIES}
    async with XapiClient([pool.url], pool.username, lambda: pool.password) as client:
        (disk,) = await snapshot_disks(client)
        for _ in range(ROUNDS):
            for copies, rounds in found.items():
                limit = os.path.join(directory, "limit")
                write_s = await asyncio.to_thread(write_and_sync, limit, SIZE)
                rounds.append(await _round(client, disk, remotes[:copies], write_s))
    for remote in remotes:
        await remote.close()
    return found


async def _round(client: XapiClient, disk: str, remotes: list[Remote], write_s: float) -> Round:
    os.sync()
    cpu, started = time.process_time(), time.perf_counter()
    sinks = {remote.name: VhdFileSink(remote, ".new.partial", IDENTITY) for remote in remotes}
    async with await open_export(client, disk) as stream:
        outcomes = await fan_out(stream, sinks)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    for outcome in outcomes.values():
        assert not isinstance(outcome, Exception) and outcome.data_bytes == SIZE, outcome
    for remote in remotes:
        await remote.delete(".new.partial")
    return Round(write_s, seconds, cpu_s)
