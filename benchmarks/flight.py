"""Child of the memory benchmark: export all disks of a VM at once; print the peak of memory.

python -m benchmarks.flight URL USER REMOTE-DIRECTORY        (the password comes on stdin)
"""

import asyncio
import json
import resource
import sys
import time

from benchmarks.export import IDENTITY, snapshot_disks
from reconciler.remotes.open import open_remote
from reconciler.transfer.export import receive_vhd
from reconciler.xapi.client import XapiClient
from reconciler.xapi.disks import open_export


async def fly(url: str, username: str, password: str, directory: str) -> dict[str, float]:
    remote = await open_remote("bench", directory)
    moved = 0
    async with XapiClient([url], username, lambda: password) as client:
        disks = await snapshot_disks(client)
        before = _peak_bytes()

        async def export(number: int, disk: str) -> None:
            nonlocal moved
            async with await open_export(client, disk) as stream:
                received = await receive_vhd(stream, remote, f".{number}.partial", IDENTITY)
            moved += received.data_bytes

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number, disk in enumerate(disks):
                group.create_task(export(number, disk))
        seconds = time.perf_counter() - started
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
    url, username, directory = sys.argv[1:]
    print(json.dumps(asyncio.run(fly(url, username, sys.stdin.readline().strip(), directory))))
