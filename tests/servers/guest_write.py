"""Runs in the machine: writes a disk to a share as the product does, and says how it goes.

arguments: kind, server, share, mounted directory, name of the disk, MiB, seconds of patience.
Says `not yet: …` for each try to open the remote that fails, `wrote N` after each block,
`failed: …` for each try to write that fails, `done DIGEST` at last.
"""

import asyncio
import hashlib
import random
import sys
import time

from reconciler.remotes.errors import RemoteError
from reconciler.remotes.open import open_remote
from reconciler.remotes.remote import Remote
from reconciler.remotes.shares import NfsPlace, SharePlace, SmbPlace
from reconciler.remotes.threads import Patience

BLOCK = 2 * 1024 * 1024
TRIES = 60
PAUSE_S = 1.0


def block(seed: str, index: int) -> bytes:
    return random.Random(f"{seed}{index}").randbytes(BLOCK)


async def write(remote: Remote, name: str, count: int, number: int) -> str:
    digest = hashlib.sha256()
    temporary = f"disks/.{name}.{number}.partial"
    async with remote.create(temporary) as file:
        for index in range(count):
            content = block(name, index)
            await file.write([content], index * BLOCK)
            digest.update(content)
            print(f"wrote {index + 1}", flush=True)
        await file.sync()
    await remote.publish(temporary, f"disks/{name}")
    return digest.hexdigest()


async def opened(place: SharePlace, patience: Patience) -> Remote:
    for _ in range(TRIES):
        try:
            return await open_remote("cellar", place, patience=patience)
        except RemoteError as error:
            print(f"not yet: {error}", flush=True)
            await asyncio.sleep(PAUSE_S)
    raise AssertionError("the remote cannot be opened")


async def main() -> None:
    kind, server, share, path, name, mib, patience_s = sys.argv[1:]
    place = (
        NfsPlace(server, share, path=path) if kind == "nfs" else SmbPlace(server, share, path=path)
    )
    remote = await opened(place, Patience(hang_after_s=float(patience_s)))
    print(f"identity {remote.identity}", flush=True)
    for number in range(TRIES):
        began = time.monotonic()
        try:
            digest = await write(remote, name, int(mib) * 1024 * 1024 // BLOCK, number)
        except RemoteError as error:
            print(f"failed: after {time.monotonic() - began:.1f} s: {error}", flush=True)
            await asyncio.sleep(PAUSE_S)
        else:
            print(f"done {digest}", flush=True)
            break
    await remote.close()


if __name__ == "__main__":
    asyncio.run(main())
