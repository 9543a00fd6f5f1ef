"""Runs in the machine: cancels a write that hangs, and says how long that took.

arguments: as of guest_write.py, up to the mounted directory; a file that is there once the server
was stopped, which is to happen once this says `put 5`. The server is let go on once this says
whether the lock can be looked at.
"""

import asyncio
import sys
from pathlib import Path

from reconciler.catalog.layout import lock_key
from reconciler.catalog.lock import vm_lock
from reconciler.clock import SystemClock
from reconciler.ids import VmUuid
from reconciler.remotes.errors import RemoteError
from reconciler.remotes.open import open_remote
from reconciler.remotes.shares import NfsPlace, SmbPlace
from reconciler.remotes.threads import Patience

VM = VmUuid("11111111-2222-3333-4444-555555555555")
TRIES = 60
WITHIN_S = 120.0
PATIENT = Patience(hang_after_s=5 * WITHIN_S)  # whoever is held up so long was not cancelled
LOOK_AGAIN_S = 0.1
LOOKS = 20


async def main() -> None:
    kind, server, share, path, stopped = sys.argv[1:]
    place = (
        NfsPlace(server, share, path=path) if kind == "nfs" else SmbPlace(server, share, path=path)
    )
    remote = await open_remote("cellar", place, patience=PATIENT)
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
        before, looks = number, 0
        while looks < LOOKS:  # the server stands still
            await asyncio.sleep(LOOK_AGAIN_S)
            moved = number != before or not Path(stopped).exists()
            before, looks = number, 0 if moved else looks + 1
        print("stands still", flush=True)
        task.cancel()
        ended, _ = await asyncio.wait({task}, timeout=WITHIN_S)
        assert ended, "the cancelled work goes on"
        print("cancelled", flush=True)
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
