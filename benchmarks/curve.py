"""Whether exports get all that a pool gives them: total throughput against the pool's own curve.

The lab gives each export its share of what a XenServer gives: 30 MiB/s to one, 20 each to two, in
all growing until twelve. What is missing to the curve is what we add, the sync at the end included.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks.export import IDENTITY, snapshot_disks
from benchmarks.pool import LabPool, incompressible_image, lab_pool
from benchmarks.report import MIB, Figure
from reconciler.lab.settings import EXPORT_CURVE
from reconciler.lab.transfers import total_rate
from reconciler.remotes.open import open_remote
from reconciler.remotes.remote import Remote
from reconciler.transfer.export import receive_vhd
from reconciler.xapi.client import XapiClient
from reconciler.xapi.disks import open_export

TOGETHER = (1, 2, 4, 8, 12)
DISK_BYTES = 96 * MIB


def run(directory: str, note: Callable[[str], None]) -> Iterator[Figure]:
    image = os.path.join(directory, "disk.raw")
    incompressible_image(image, DISK_BYTES)
    with lab_pool(directory, [image] * max(TOGETHER), "curve_factor=1") as pool:
        os.unlink(image)
        seconds = asyncio.run(_flights(pool, directory))
    for count, taken in seconds.items():
        wanted = total_rate(EXPORT_CURVE, count) / MIB
        moved = count * DISK_BYTES / MIB / taken
        work = f"{count} disk{'s' if count > 1 else ''} at once"
        yield Figure("curve", work, moved, "MiB/s", wanted, "MiB/s, the pool", at_least=0.95)


async def _flights(pool: LabPool, directory: str) -> dict[int, float]:
    """Seconds that so many disks took together."""
    target = os.path.join(directory, "remote")
    os.mkdir(target)
    remote = await open_remote("bench", target)
    seconds = {}
    async with XapiClient([pool.url], pool.username, lambda: pool.password) as client:
        disks = await snapshot_disks(client)
        for count in TOGETHER:
            os.sync()
            started = time.perf_counter()
            await _fly(client, remote, disks[:count])
            seconds[count] = time.perf_counter() - started
    await remote.close()
    return seconds


async def _fly(client: XapiClient, remote: Remote, disks: Sequence[str]) -> None:
    async def export(number: int, disk: str) -> None:
        async with await open_export(client, disk) as stream:
            await receive_vhd(stream, remote, f".{number}.partial", IDENTITY)

    async with asyncio.TaskGroup() as group:
        for number, disk in enumerate(disks):
            group.create_task(export(number, disk))
    for number in range(len(disks)):
        await remote.delete(f".{number}.partial")
