"""Child of the memory benchmarks: export all disks of a VM at once; print the peak of memory.

python -m benchmarks.flight URL USER REMOTE-DIRECTORY…       (the password comes on stdin)

Each disk is read once and goes to every remote.
"""

import asyncio
import json
import resource
import sys
import time

from benchmarks.export import IDENTITY, snapshot_disks
from reconciler.remotes.open import open_remote
from reconciler.transfer.fanout import fan_out
from reconciler.transfer.vhd_sink import VhdFileSink
from reconciler.xapi.client import XapiClient
from reconciler.xapi.disks import open_export


async def fly(url: str, username: str, password: str, directories: list[str]) -> dict[str, float]:
    remotes = [await open_remote(directory, directory) for directory in directories]
    moved = 0
    async with XapiClient([url], username, lambda: password) as client:
        disks = await snapshot_disks(client)
        before = _peak_bytes()

        async def export(number: int, disk: str) -> None:
            nonlocal moved
            sinks = {
                remote.name: VhdFileSink(remote, f".{number}.partial", IDENTITY)
                for remote in remotes
            }
            async with await open_export(client, disk) as stream:
                outcomes = await fan_out(stream, sinks)
            for outcome in outcomes.values():
                if isinstance(outcome, Exception):
                    raise outcome
                moved += outcome.data_bytes

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number, disk in enumerate(disks):
                group.create_task(export(number, disk))
        seconds = time.perf_counter() - started
    for remote in remotes:
        await remote.close()
    return {
        "disks": len(disks),
        "before_bytes": before,
        "peak_bytes": _peak_bytes(),
        "moved_bytes": moved,
        "seconds": seconds,
    }


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    url, username, *directories = sys.argv[1:]
    password = sys.stdin.readline().strip()
    print(json.dumps(asyncio.run(fly(url, username, password, directories))))
