"""One disk from a pool to one, two and three file remotes at once, against writing as many files.

All remotes lie on one file system. The limit of n copies is measured right before each round: as
many files, written and synced one after the other by one thread. That is the limit of the rate,
and, with what receiving the disk once and dropping it takes, that of the processor's time: what
the kernel asks for a copy goes up severalfold when its memory is short or its disk is busy.
And the peak of memory with twelve disks on their way to three remotes.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass

from benchmarks.export import IDENTITY, receive_and_drop, snapshot_disks, write_file
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
class Took:
    """Seconds, by the clock and of the processors."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Round:
    """The same disk: as many files written, the disk received and dropped, and the two in one."""

    writing: Took
    receiving: Took
    fan_out: Took

    @property
    def rate_ratio(self) -> float:
        return self.writing.wall_s / self.fan_out.wall_s

    @property
    def cpu_ratio(self) -> float:
        return self.fan_out.cpu_s / (self.writing.cpu_s + self.receiving.cpu_s)


def run(directory: str, note: Callable[[str], None]) -> Iterator[Figure]:
    image = os.path.join(directory, "disk.raw")
    incompressible_image(image, SIZE)
    with lab_pool(directory, [image]) as pool:
        os.unlink(image)
        found = asyncio.run(_measured(pool, directory))
    for copies, rounds in found.items():
        work = f"1 GiB disk to {copies} remote{'s' if copies > 1 else ''}"
        # The disk of a shared machine is not the same from one minute to the next: ratios are of
        # one round each.
        rate = median([SIZE / MIB / entry.fan_out.wall_s for entry in rounds])
        limit = rate / median([entry.rate_ratio for entry in rounds])
        files = "a file" if copies == 1 else f"{copies} files"
        name = f"MiB/s, write and fsync of {files}"
        yield Figure("fanout", work, rate, "MiB/s", limit, name, at_least=0.8)
        cpu = median([entry.fan_out.cpu_s for entry in rounds]) / (SIZE / GIB)
        yield Figure("fanout", work, cpu, "CPU-s/GiB", at_most=CPU_AT_MOST[copies])
        limit = cpu / median([entry.cpu_ratio for entry in rounds])
        name = f"CPU-s/GiB, receive and drop, write and fsync of {files}"
        yield Figure("fanout", work, cpu, "CPU-s/GiB", limit, name)
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
                rounds.append(await _round(client, disk, remotes[:copies], directory))
    for remote in remotes:
        await remote.close()
    return found


async def _round(client: XapiClient, disk: str, remotes: list[Remote], directory: str) -> Round:
    files = [os.path.join(directory, f"limit{number}") for number in range(len(remotes))]

    async def write_all() -> None:
        for file in files:
            await asyncio.to_thread(write_file, file, SIZE)

    writing = await _timed(write_all())
    for file in files:
        os.unlink(file)
    receiving = await _timed(receive_and_drop(client, disk, SIZE))
    fan_out = await _timed(_fan_out(client, disk, remotes))
    for remote in remotes:
        await remote.delete(".new.partial")
    return Round(writing, receiving, fan_out)


async def _timed(work: Coroutine[None, None, object]) -> Took:
    os.sync()
    cpu, started = time.process_time(), time.perf_counter()
    await work
    return Took(time.perf_counter() - started, time.process_time() - cpu)


async def _fan_out(client: XapiClient, disk: str, remotes: list[Remote]) -> None:
    sinks = {remote.name: VhdFileSink(remote, ".new.partial", IDENTITY) for remote in remotes}
    async with await open_export(client, disk) as stream:
        outcomes = await fan_out(stream, sinks)
    for outcome in outcomes.values():
        assert not isinstance(outcome, Exception) and outcome.data_bytes == SIZE, outcome
