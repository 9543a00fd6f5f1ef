"""Runs in the machine: says what a share cannot do, one finding a line.

arguments: mounted directory.
"""

import asyncio
import sys

from reconciler.remotes.open import open_remote


async def main() -> None:
    remote = await open_remote("cellar", sys.argv[1], mount_point=True)
    for finding in await remote.findings():
        print(f"{'grave' if finding.grave else 'known'}: {finding.what}")
    await remote.close()


if __name__ == "__main__":
    asyncio.run(main())
