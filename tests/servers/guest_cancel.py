"""Runs in the machine: cancels a write that hangs, and says how long that took.

arguments: as of guest_write.py, up to the mounted directory. Its server is stopped once it says
`put 5`, and let go on once it says whether the lock can be looked at.
"""

import asyncio
import sys
import time

from reconciler.catalog.layout import lock_key
from reconciler.catalog.lock import vm_lock
from reconciler.clock import SystemClock
from reconciler.ids import VmUuid
from reconciler.remotes.errors import RemoteError
from reconciler.remotes.open import open_remote
from reconciler.remotes.shares import NfsPlace, SmbPlace

VM = VmUuid("11111111-2222-3333-4444-555555555555")
TRIES = 60


async def main() -> None:
    kind, server, share, path = sys.argv[1:]
    place = (
        NfsPlace(server, share, path=path) if kind == "nfs" else SmbPlace(server, share, path=path)
    )
    remote = await open_remote("cellar", place)
    number = 0

    async def work() -> None:
        nonlocal number
        async with vm_lock(remote, VM, SystemClock()):
            while True:
                number += 1
                await remote.put(f"xo-vm-backups/{VM}/{number}.json", b"{}")
                print(f"put {number}", flush=True)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(work())
        before, standing_since = number, time.monotonic()
        while time.monotonic() - standing_since < 2.0:  # the server stands still
            await asyncio.sleep(0.1)
            if number != before:
                before, standing_since = number, time.monotonic()
        print("stands still", flush=True)
        began = time.monotonic()
        task.cancel()
        with_error = await asyncio.wait({task}, timeout=60)
        assert with_error[0], "not cancelled within a minute"
        print(f"cancelled after {time.monotonic() - began:.1f}", flush=True)
    try:
        await remote.stat(lock_key(VM))
        print("looked at", flush=True)
    except RemoteError as error:
        print(f"refused: {error}", flush=True)
    for _ in range(TRIES):
        try:
            async with vm_lock(remote, VM, SystemClock()):
                await remote.put(f"xo-vm-backups/{VM}/after.json", b"{}")
        except Exception as error:
            print(f"not yet: {error}", flush=True)
            await asyncio.sleep(1.0)
        else:
            print("healed", flush=True)
            break
    await remote.close()


if __name__ == "__main__":
    asyncio.run(main())
